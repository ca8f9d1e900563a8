"""The program as a whole: help, exit codes, streams, and what a person is told about errors."""

import json
import os
import subprocess
import sys

import pytest

from evolver.cli import app, installation

HEAVY = ("aiohttp", "litellm", "numba", "numpy", "openai", "pydantic", "ray", "sqlalchemy")


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom evolver.cli import main\nmain(['--help'])\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_help_leads_with_examples(evolver):
    done = evolver("replay", "--help")
    assert done.code == 0
    assert done.out.index("evolver replay requests.csv.gz") < done.out.index("Options:")


@pytest.mark.parametrize("command", ["demo", "trace", "replay", "check", "evolve", "policy",
                                     "status", "doctor"])
def test_every_command_has_help(evolver, command):
    assert evolver(command, "--help").out.startswith(f"Usage: evolver {command}")


def test_a_mistyped_command_is_usage_and_says_what_to_type(evolver):
    done = evolver("replai")
    assert (done.code, done.out) == (2, "")
    assert "No such command 'replai'" in done.err
    assert "next:  evolver --help" in done.err


def test_a_defect_is_kept_in_a_file_and_not_shown(evolver, home, monkeypatch):
    def broken():
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("evolver.cli.status_command.open_store", broken)
    done = evolver("status")
    (log,) = (home / "logs").iterdir()
    assert done.code == 70
    assert "Traceback" not in done.err
    assert str(log) in done.err.replace("\n", "")
    assert "unforeseen" in log.read_text()


def test_a_file_that_cannot_be_written_is_one_sentence(evolver, trace_file, tmp_path):
    (tmp_path / "p.json").mkdir()
    done = evolver("trace", "fit", trace_file, "-o", str(tmp_path / "p.json"))
    assert done.code == 1
    assert "is a directory" in done.err


def test_an_interrupt_ends_with_130(evolver, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("evolver.cli.status_command.open_store", interrupted)
    assert evolver("status").code == 130


def test_a_reader_that_has_seen_enough_is_no_error():
    code = "import sys; from evolver.cli import main; sys.exit(main(['policy','list','--library']))"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=environment) as child:
        child.stdout.close()
        assert child.wait(60) == 0
        assert b"Traceback" not in child.stderr.read()


def test_quiet_keeps_notes_back_wherever_it_stands(evolver, trace_file, tmp_path):
    first = evolver("--quiet", "trace", "fit", trace_file, "-o", tmp_path / "a.json")
    second = evolver("trace", "fit", trace_file, "-o", tmp_path / "b.json", "-q")
    loud = evolver("trace", "fit", trace_file, "-o", tmp_path / "c.json")
    assert (first.err, second.err) == ("", "")
    assert "next:" in loud.err


def test_no_color_means_no_escapes(home, trace_file):
    code = f"from evolver.cli import main; main(['trace', 'info', {str(trace_file)!r}])"
    environment = {**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "", "EVOLVER_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment,
                          check=True)
    assert b"\x1b[3" not in done.stdout


def test_a_shadowed_package_is_said_at_once(tmp_path, monkeypatch, evolver):
    (tmp_path / "sandbox").mkdir()
    (tmp_path / "sandbox" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    (sentence,) = installation.shadowed()
    assert f"The package sandbox comes from {tmp_path}" in sentence
    assert "warning: The package sandbox" in evolver("--version").err


def test_a_form_is_asked_for_with_a_file(evolver, trace_file, tmp_path):
    done = evolver("trace", "info", trace_file, "--out", tmp_path / "x")
    assert done.code == 2
    assert "add -o html or -o json" in done.err


def test_json_is_one_document_with_its_schema(evolver):
    done = evolver("status", "-o", "json", "-q")
    assert json.loads(done.out)["schema"] == 1
    assert app.ORDER[0] == "demo"


@pytest.mark.parametrize(("redirect", "code"), [(">&-", 0), (">/dev/full", 1)])
def test_an_output_that_takes_nothing_is_no_defect(home, trace_file, redirect, code):
    program = "from evolver.cli import main; import sys; sys.exit(main(sys.argv[1:]))"
    line = f'"$0" -c "$1" -q trace info "$2" {redirect}'
    done = subprocess.run(["sh", "-c", line, sys.executable, program, trace_file],
                          capture_output=True, env={**os.environ, "EVOLVER_HOME": str(home)})
    assert (done.returncode, b"defect" in done.stderr) == (code, False)
