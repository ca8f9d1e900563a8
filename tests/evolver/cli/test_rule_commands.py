"""`evolver rule`: from a file to an approval nobody was asked for, and every refusal."""

from types import SimpleNamespace

import pytest
from measurements import SOURCE, measurements

from evolver.cli.evolve_command import _ruled
from evolver.cli.policies import open_store
from evolver.cli.screen import Screen
from policy_store import Origin, read_snapshot
from policy_store.keys import read_trusted
from policy_store.lifecycle import State
from policy_store.records import Alias, Role

NOTE = ("--note", "a month of these was fine")
RULE = """name = "to-canary"
action = "canary"
weight = 0.1
touches = "anything"
most_a_day = 4
may_be_missing = ["fairness"]
[gain_percent]
active = 3
"""


@pytest.fixture
def rule_file(tmp_path):
    path = tmp_path / "rule.toml"
    path.write_text(RULE)
    return path


@pytest.fixture
def winner(home):
    """A policy as a search files it; its digest."""
    numbers = iter(range(1, 10))

    def file():
        with open_store() as store:
            digest = store.propose(
                SOURCE, name="c", origin=Origin.MUTATOR, author="evolver", contract_version=1,
                parameters={"KNEE": float(next(numbers))},
            ).digest  # fmt: skip
            store.record_verified(digest, by="verifier")
            store.attach_evidence(digest, measurements(digest).document(), by="simulator")
        return digest

    return file


def state(policy):
    with open_store() as store:
        return store.show(policy).version.state


def test_a_rule_is_installed_listed_shown_and_removed(evolver, rule_file):
    assert "a person decides" in evolver("rule", "list").out
    done = evolver("rule", "install", rule_file, *NOTE)
    assert done.code == 0
    assert "installed rule to-canary" in done.out
    [listed] = evolver("rule", "list", "-o", "json").json["rules"]
    assert (listed["name"], listed["installed_by"], listed["text"]) == ("to-canary", "ada", RULE)
    assert "Nothing yet." in evolver("rule", "show", "to-canary").out
    assert "gain_percent" in evolver("rule", "show", "to-canary", "-o", "html").out
    assert evolver("rule", "remove", "to-canary", *NOTE).code == 0
    assert evolver("rule", "list", "-o", "json").json["rules"] == []
    [gone] = evolver("rule", "list", "--removed", "-o", "json").json["rules"]
    assert gone["removed_by"] == "ada"
    assert evolver("rule", "show", "to-canary").code == 2


def test_a_winner_is_approved_at_the_end_of_a_run(evolver, rule_file, winner, home):
    evolver("rule", "install", rule_file, *NOTE)
    policy = winner()
    applied = _ruled(Screen(quiet=True), SimpleNamespace(policy=policy))
    assert applied.said == f"rule to-canary approved {policy[:12]} and started it as the canary"
    with open_store() as store:
        assert store.slot(Alias.CANARY).digest == policy
    published = read_snapshot(home / "active.json", read_trusted(home / "trusted_keys.json"))
    assert published.active is None  # a canary changes nothing for the others
    assert policy[:12] in evolver("rule", "show", "to-canary").out
    assert _ruled(Screen(quiet=True), SimpleNamespace(policy=None)) is None


def test_without_a_usable_key_a_run_ends_all_the_same(evolver, rule_file, winner, home, capsys):
    evolver("rule", "install", rule_file, *NOTE)
    policy = winner()
    (home / "keys").mkdir()
    (home / "keys" / "signing.pem").write_text("no key")
    (home / "keys" / "signing.pem").chmod(0o600)
    assert _ruled(Screen(), SimpleNamespace(policy=policy)) is None
    assert "rules were not asked" in capsys.readouterr().err
    assert state(policy) is State.EVALUATED


def test_trying_decides_nothing_and_applying_does(evolver, rule_file, winner):
    policy = winner()
    tried = evolver("rule", "try", policy[:8], "--rule", rule_file, "-o", "json").json
    [judgement] = tried["judgements"]
    assert judgement["applies"], judgement
    assert evolver("rule", "apply", policy[:8]).out == "no rule is installed\n"
    evolver("rule", "install", rule_file, *NOTE)
    said = evolver("rule", "try", policy[:8]).out
    assert "does not apply" in said
    assert "before the rule was" in " ".join(said.split())
    assert state(policy) is State.EVALUATED
    assert "started it as the canary" in evolver("rule", "apply", policy[:8]).out
    assert state(policy) is State.CANARY
    again = evolver("rule", "apply", policy[:8])
    assert "does not apply. The policy is canary." in again.out


@pytest.mark.parametrize(
    ("text", "words"),
    [("x = 1", "Line 1 of the rule: x is not known"), ("# \u202e\n" + RULE, "U+202E"),
     ("\xff", None), (RULE.replace("= 3", "= nan"), "Line 8 of the rule: active is nan"),
     ("#" * 20_000, "larger than a rule")],
)  # fmt: skip
def test_a_file_that_is_no_rule_is_refused(evolver, tmp_path, text, words):
    path = tmp_path / "rule.toml"
    path.write_bytes(text.encode("latin-1" if words is None else "utf-8"))
    done = evolver("rule", "install", path, *NOTE)
    assert done.code == 2
    assert (words or "not UTF-8") in done.err
    with open_store() as store:
        assert store.rules.installed() == ()


def test_a_reviewer_installs_no_rule_from_the_command_line_either(evolver, rule_file):
    with open_store() as store:
        store.accounts.add("ada", Role.REVIEWER, by="root")
    done = evolver("rule", "install", rule_file, *NOTE)
    assert done.code == 1
    assert "ada is no admin" in done.err
