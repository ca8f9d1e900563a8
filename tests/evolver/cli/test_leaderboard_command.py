"""`evolver leaderboard`: what it refuses before anything runs."""

import pytest


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--entry", "mine"], "--entry NAME=FILE"),
        (["--entry", "mine=nowhere.py"], "cannot be read"),
        (["--scenario", "nowhere"], "technique-sipipe"),
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
