"""`evolver leaderboard`: what it refuses before anything runs."""

from importlib.resources import files

import pytest


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
