import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from evolver.library import read
from sandbox import contract
from sandbox.compiled import link_policy
from sandbox.errors import CompileFailed, PolicyRefused
from sandbox.frame import Caller
from sandbox.native import compiler as module
from sandbox.native.compiler import Compiler, machine_code
from sandbox.records import new_rows
from sandbox.verifier import verify
from sandbox.worker_child import Child

ROOT = Path(__file__).resolve().parents[2]
TEXT = "def route(request, instances, memory):\n    return instances[1].id\n"
OTHER = TEXT.replace("1", "0")
MORE = TEXT + "\n\ndef admit(request, instance, memory):\n    return request.turn < 3\n"


@pytest.fixture(scope="module")
def compiler():
    with Compiler() as one:
        yield one


def gone(pid, within_s=20.0):
    """Whether a process ends, or is a corpse that only its parent keeps."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_code_from_the_other_process_decides_here(compiler):
    source = verify(MORE)
    code = compiler.compile(MORE, only=("route",))
    assert set(code.hooks) == {"route"}
    instances = new_rows(contract.Instance, 2)
    instances["id"] = [7, 9]
    linked = link_policy(source, code, only=("route",))
    assert Caller(linked).route(new_rows(contract.Request, 1), instances) == 9


def test_what_the_verifier_refuses_reaches_no_compiler():
    with pytest.raises(PolicyRefused):
        Compiler().compile("import os\n")


def test_a_policy_that_takes_too_long_fails_and_the_next_one_compiles(compiler, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "_deadline_s", 0.001)
        with pytest.raises(CompileFailed, match=r"within 0\.001 s: make it simpler"):
            compiler.compile(TEXT)
    assert set(compiler.compile(TEXT).hooks) == {"route"}


def test_processor_time_is_what_a_policy_may_take_too_much_of(compiler, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "_cpu_s", 0.5)
        with pytest.raises(CompileFailed, match=r"within 0\.5 s of processor time"):
            compiler.compile(read("hexgen2"), only=("schedule",))  # takes seconds
    assert set(compiler.compile(TEXT).hooks) == {"route"}


def test_a_compiler_that_has_to_wait_for_a_processor_is_waited_for(compiler, monkeypatch):
    asked = Child.ask

    def late(child, *given, **limits):
        child.pause()
        threading.Timer(2.0, child.resume).start()
        return asked(child, *given, **limits)

    monkeypatch.setattr(Child, "ask", late)
    monkeypatch.setattr(compiler, "_cpu_s", 1.9)
    assert set(compiler.compile(TEXT).hooks) == {"route"}


@pytest.mark.parametrize("reply", ["nonsense", "of another policy", "of another hook"])
def test_an_answer_to_another_question_is_not_believed(compiler, monkeypatch, reply):
    answers = {
        "nonsense": b"\0" * 100,
        "of another policy": compiler.compile(OTHER).hooks["route"].to_bytes(),
        "of another hook": compiler.compile(MORE, only=("admit",)).hooks["admit"].to_bytes(),
    }
    monkeypatch.setattr(Child, "ask", lambda *_, **__: answers[reply])
    with pytest.raises(CompileFailed):
        compiler.compile(MORE, only=("route",))


def test_the_compiler_sees_nothing_of_a_policy_but_the_hook(compiler, monkeypatch):
    told, asked = [], Child.ask

    def watched(child, message, **limits):
        told.append(message)
        return asked(child, message, **limits)

    monkeypatch.setattr(Child, "ask", watched)
    compiler.compile("SECRET = 3\n" + MORE.replace("turn < 3", "turn < SECRET"))
    texts = [message.pop("lowered") for message in told]
    assert told == [{}, {}]
    assert ["h_route" in text for text in texts] == [True, False]
    assert not any("SECRET" in text for text in texts)


def test_a_killed_process_is_replaced(compiler):
    compiler.compile(TEXT)
    compiler._warm._process.kill()
    compiler._warm._process.wait()
    assert set(compiler.compile(OTHER).hooks) == {"route"}


def test_no_process_outlives_its_parent():
    code = (
        "from sandbox.native.compiler import Compiler\none = Compiler()\n"
        f"one.compile({TEXT!r})\nprint(one._warm._process.pid, flush=True)\ninput()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.send_signal(signal.SIGKILL)
    assert gone(pid)


class Counting(Compiler):
    """A compiler that says what it was asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def compile_hook(self, text):
        self.asked.append(text.hook)
        return super().compile_hook(text)


@pytest.fixture
def counting(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "code_directory", lambda kind: tmp_path / kind)
    with Counting() as one:
        monkeypatch.setattr(module._default, "get", lambda: one)
        yield one


def test_what_was_compiled_once_is_on_disk_until_somebody_changes_it(tmp_path, counting):
    first, again = machine_code(verify(TEXT)), machine_code(verify(TEXT))
    assert (first, counting.asked) == (again, ["route"])
    (file,) = (tmp_path / "policies").glob("*.code")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert machine_code(verify(TEXT)) is not None
    assert counting.asked == ["route"] * 2


def test_a_policy_with_one_new_hook_has_one_hook_compiled(counting):
    machine_code(verify(MORE))
    changed = "LIMIT = 3\n" + MORE.replace("turn < 3", "turn < LIMIT")
    assert set(machine_code(verify(changed)).hooks) == {"route", "admit"}
    machine_code(verify(changed.replace("LIMIT = 3", "LIMIT = 4").replace("LIMIT", "MOST")))
    assert counting.asked == ["route", "admit", "admit"]


def test_whoever_loads_a_policy_imports_no_compiler():
    code = (
        "import sys\nfrom sandbox.engine import load_policy\nfrom sandbox.verifier import verify\n"
        f"loaded = load_policy(verify({TEXT!r}), engine='compiled')\n"
        "sys.exit('numba' in sys.modules or loaded.engine != 'compiled')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
