"""`evolver check`: admitted or refused, with every reason and the line it is about."""

FAULTY = '''"""Divides by what may be zero."""


def route(request, instances, memory):
    return instances[0].id + int(1.0 / instances[0].queued_requests)
'''


def test_an_admitted_policy_shows_cost_tunables_and_fields(evolver, policy_file):
    done = evolver("check", policy_file)
    assert done.code == 0
    assert "mine.py is accepted." in done.out
    assert all(word in done.out for word in ("route", "WEIGHT", "queued_requests", "Smoke run"))


def test_json_has_the_agreed_shape(evolver, policy_file):
    document = evolver("check", policy_file, "--no-run", "-o", "json").json
    assert (document["schema"], document["accepted"], document["refusals"]) == (1, True, [])
    assert document["cost"]["route"] > 0
    assert len(document["digest"]) == 64


def test_a_refused_policy_exits_with_one_and_every_reason(evolver, refused_file):
    done = evolver("check", refused_file, "-o", "json")
    document = done.json
    assert done.code == 1
    assert document["accepted"] is False
    assert set(document["refusals"][0]) == {"line", "code", "reason", "mend"}
    assert (document["cost"], document["digest"]) == (None, None)


def test_a_refusal_shows_the_line_as_written(evolver, refused_file):
    done = evolver("check", refused_file)
    assert "line 1  import os" in done.out
    assert f"type: evolver check {refused_file}" in done.err


def test_a_policy_that_fails_while_it_runs_is_refused(evolver, tmp_path):
    path = tmp_path / "faulty.py"
    path.write_text(FAULTY)
    done = evolver("check", path, "-o", "json")
    (refusal,) = done.json["refusals"]
    assert done.code == 1
    assert (refusal["code"], refusal["line"]) == ("smoke-run", 4)
    assert "divided by zero" in refusal["reason"]


def test_a_missing_file_is_usage(evolver):
    done = evolver("check", "nothing.py")
    assert done.code == 2
    assert "There is no file nothing.py" in done.err


def test_what_is_no_text_is_usage(evolver, tmp_path):
    (tmp_path / "x.py").write_bytes(b"\xff\xfe\x00")
    done = evolver("check", tmp_path / "x.py")
    assert done.code == 2
    assert "is not UTF-8 text" in done.err


def test_control_characters_of_a_file_never_reach_the_terminal(evolver, tmp_path):
    (tmp_path / "x.py").write_text('import os  # \x1b[31mred\n')
    assert "\x1b[31m" not in evolver("check", tmp_path / "x.py").out
