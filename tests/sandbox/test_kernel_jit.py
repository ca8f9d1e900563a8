import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.errors import CompileFailed
from sandbox.kernel import jit, program
from sandbox.kernel.jit import ENTRIES, compile_entries, entries_to_compile, entry_digest
from sandbox.native.cache import CodeCache

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The compiled entries in a directory that may be spoiled."""
    real, copy = jit.kernel_cache(), CodeCache(tmp_path / "kernel")
    program.entry_addresses()
    for name in ENTRIES:
        copy.put(entry_digest(name), real.get(entry_digest(name)))
    monkeypatch.setattr(jit, "kernel_cache", lambda: copy)
    monkeypatch.setattr(jit, "_linked", {})
    return copy


def test_entries_on_disk_are_linked_and_no_compiler_is_started(copied, monkeypatch):
    monkeypatch.setattr(jit, "command", lambda *_: ["false"])
    assert entries_to_compile() == []
    assert len(set(program.entry_addresses().tolist())) == len(ENTRIES)


@pytest.mark.parametrize("spoil", ["a changed byte", "another entry's code", "no file"])
def test_an_entry_that_is_not_what_it_should_be_is_compiled_again(copied, monkeypatch, spoil):
    file = copied.directory / f"{entry_digest('decide')}.code"
    if spoil == "a changed byte":
        file.write_bytes(file.read_bytes()[:-1] + b"!")
    elif spoil == "no file":
        file.unlink()
    else:
        copied.put(entry_digest("decide"), copied.get(entry_digest("expire")))
    asked = []
    monkeypatch.setattr(jit, "compile_entries", lambda names: asked.append(list(names)) or [])
    with pytest.raises(CompileFailed):
        program.entry_addresses()
    assert asked == [["decide"]]


def test_a_compile_process_that_fails_is_reported(monkeypatch):
    monkeypatch.setattr(jit, "command", lambda *_: ["false"])
    with pytest.raises(CompileFailed):
        list(compile_entries(["decide"]))


def test_a_simulation_imports_no_compiler():
    code = (
        "import sys\nsys.path.insert(0, 'tests/sandbox')\nimport small_worlds as worlds\n"
        "from sandbox.engine import load_policy\nfrom sandbox.policies import default_source\n"
        "worlds.run(worlds.world(1), load_policy(default_source(), engine='compiled'))\n"
        "sys.exit('numba' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
