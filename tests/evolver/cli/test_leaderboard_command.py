"""`evolver leaderboard`: what it refuses before anything runs."""

from importlib.resources import files

import pytest

from evolver.leaderboard import jobs


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--entry", "mine"], "--entry NAME=FILE"),
        (["--entry", "mine=nowhere.py"], "no file nowhere.py"),
        (["--scenario", "nowhere"], "technique-sipipe"),
        (["--html", "nowhere/board.html"], "no folder"),
    ],
)
def test_what_is_wrong_is_said_at_once(evolver, options, words):
    done = evolver("leaderboard", "--quick", *options)
    assert done.code != 0
    assert words in done.err


def test_the_name_of_a_library_policy_is_taken(evolver, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def route(request, instances, memory):\n    return instances[0].id\n")
    done = evolver("leaderboard", "--quick", "--entry", f"glia={path}")
    assert "glia is taken" in done.err


def test_no_two_entries_and_no_two_scenarios_have_one_name(evolver, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def route(request, instances, memory):\n    return instances[0].id\n")
    done = evolver("leaderboard", "--entry", f"mine={path}", "--entry", f"mine={path}")
    assert "Two entries are called mine" in done.err
    copy = tmp_path / "copy.toml"
    shipped = files("evolver.leaderboard") / "scenarios" / "technique-fsa.toml"
    copy.write_text(shipped.read_text())
    done = evolver("leaderboard", "--scenario", "technique-fsa", "--scenario", copy)
    assert "Two scenarios are called technique-fsa" in done.err


def test_an_entry_that_is_no_policy_is_named(evolver, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import os\n\n\ndef route(request, instances, memory):\n    return 0\n")
    done = evolver("leaderboard", "--quick", "--entry", f"mine={path}")
    assert "The entry mine is refused" in done.err
    assert f"evolver check {path}" in done.err


def test_scenarios_that_fail_are_said_at_the_end(evolver, tmp_path, monkeypatch):
    ran = jobs.Ran([], {"technique-fsa": "it ended with crash"})
    monkeypatch.setattr(jobs, "run_board", lambda *_, **__: ran)
    page = tmp_path / "board.html"
    done = evolver("leaderboard", "--scenario", "technique-fsa", "--html", page, "-o", "json")
    assert done.code == 1
    assert done.json["failed"] == dict(ran.failed)
    assert "1 of 1 scenarios failed: technique-fsa" in done.err
    assert "it ended with crash" in page.read_text()
