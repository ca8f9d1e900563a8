"""`evolver experiment run`, `list` and `show`: published evaluations, tried by a command."""

import json

from small_scenario import FILE, NOTHING_NEW


def test_scenarios_are_listed_and_shown(evolver):
    done = evolver("experiment", "list", "-o", "json", "-q")
    names = [one["name"] for one in done.json["scenarios"]]
    assert "technique-sipipe" in names
    shown = evolver("experiment", "show", names[0], "-q")
    assert (shown.code, shown.err) == (0, "")
    assert "Decides: " in shown.out


def test_a_file_of_ones_own_runs_with_others_beside_it(evolver, tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(toml(FILE | NOTHING_NEW))
    done = evolver("experiment", "run", path, "-p", "default", "--tries", 0, "-o", "json", "-q")
    assert (done.code, done.err) == (0, "")
    own = done.json["system"][0]
    assert (own["metric"], own["mean"]) == ("e2e_mean_s", 1.0)
    assert [one["name"] for one in done.json["policies"]] == ["default", "default"]
    assert done.json["controls"][0]["kept"] is True
    assert done.json["shown"] is False


def test_what_is_not_there_is_said_with_what_there_is(evolver):
    done = evolver("experiment", "run", "nowhere")
    assert done.code != 0
    assert "technique-sipipe" in done.err


def toml(content):
    """Enough of TOML for one scenario: everything inline, nothing that is None."""
    return "".join(
        f"{key} = {value_of(value)}\n" for key, value in content.items() if value is not None
    )


def value_of(value):
    if isinstance(value, dict):
        pairs = ", ".join(f'"{key}" = {value_of(one)}' for key, one in value.items())
        return "{" + pairs + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(value_of, value)) + "]"
    return json.dumps(value)
