"""`evolver doctor`: healthy as installed, and what it says when something is wrong."""

import pytest

from evolver.cli.doctor_command import version_problem


def test_this_installation_is_healthy(evolver):
    done = evolver("doctor")
    assert done.code == 0
    assert "Everything is in place." in done.out


def test_json_lists_every_finding(evolver, home):
    document = evolver("doctor", "-o", "json").json
    texts = {finding["text"] for finding in document["findings"]}
    assert f"{home} (environment)" in texts
    topics = {finding["topic"] for finding in document["findings"]}
    assert document["healthy"] is True
    assert {"Python", "numba", "EVOLVER_HOME", "store", "simulator", "packages"} <= topics


def test_a_store_that_is_none_is_wrong(evolver, home):
    home.mkdir()
    (home / "store.db").write_text("not a database, but long enough to be looked at" * 50)
    done = evolver("doctor")
    assert done.code == 1
    assert "1 thing is wrong." in done.out


def test_a_setting_that_nothing_reads_is_noted(evolver, monkeypatch):
    monkeypatch.setenv("EVOLVER_HOEM", "x")
    done = evolver("doctor")
    assert done.code == 0
    assert "EVOLVER_HOEM" in done.out


def test_a_shadowed_package_is_wrong(evolver, tmp_path, monkeypatch):
    (tmp_path / "telemetry").mkdir()
    (tmp_path / "telemetry" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert evolver("doctor").code == 1


@pytest.mark.parametrize(("name", "version", "word"), [
    ("litellm", "1.82.7", "malicious"),
    ("litellm", "1.82.8", "malicious"),
    ("litellm", "1.83.9", "holes"),
    ("litellm", "1.84.0", ""),
    ("litellm", "1.106.2", ""),
    ("RestrictedPython", "8.1", "holes"),
    ("RestrictedPython", "9.0", ""),
])
def test_versions_with_known_holes_are_wrong(name, version, word):
    problem = version_problem(name, version)
    assert word in problem
    assert bool(problem) is bool(word)


def test_a_home_that_is_a_file_is_wrong(evolver, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EVOLVER_HOME", str(tmp_path / "file"))
    done = evolver("doctor", "-o", "json")
    assert done.code == 1
    assert "is not a folder" in done.out


def test_every_layer_of_isolation_is_listed(evolver):
    findings = evolver("doctor", "-o", "json").json["findings"]
    layers = [f["text"] for f in findings if f["topic"] == "isolation"]
    assert {"files", "calls", "user"} <= {text.split(":")[0] for text in layers}


def test_a_layer_that_there_is_not_cannot_be_accepted(evolver, monkeypatch):
    monkeypatch.setenv("EVOLVER_ACCEPT_MISSING", "walls")
    done = evolver("doctor")
    assert done.code == 1
    assert "No layer of isolation is called 'walls'" in " ".join(done.out.split())
