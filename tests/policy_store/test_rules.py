"""What a rule's text may say, and how a rule judges what it is shown."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from measurements import measurements

from policy_store.errors import RuleRefused
from policy_store.lifecycle import State
from policy_store.records import Origin
from policy_store.rule_text import EXAMPLE, MAX_CHARS, read_rule, sentence_of
from policy_store.rules import Action, Facts, judge
from sandbox.changes import changes
from sandbox.evidence import Contender, Gate, GateStatus, Outcome, Role

NOW = datetime(2031, 5, 7, 9, 30, tzinfo=UTC)  # a Wednesday
RULE = 'name = "r"\naction = "approve"\ntouches = "anything"\nmost_a_day = 2\n'
GAIN = "[gain_percent]\nactive = 1\n"
POLICY = "KNEE = 0.5\ndef route(request, instances, memory):\n    return 1 if KNEE > 0.1 else 2\n"


def test_the_example_is_a_rule_and_its_sentence_says_all_of_it():
    rule = read_rule(EXAMPLE)
    assert (rule.action, rule.weight, rule.hours) == (Action.CANARY, 0.05, (8, 17))
    said = sentence_of(rule)
    for words in ("5 % of traffic", "3 % or more against the active", "0.5 % or more", "8 sealed",
                  "24 h ago", "nothing but constants", "the mutator or a model", "8:00 until 17:00",
                  "Monday to Friday", "4 times in 24 hours",
                  "no other canary"):  # fmt: skip
        assert words in said, words


def test_the_sentence_says_what_else_a_rule_may_say():
    text = RULE.replace('"anything"', '["route", "tune"]').replace("= 2", "= 1")
    said = sentence_of(read_rule(text + 'weekdays = ["sun", "mon"]\norigins = ["person"]\n' + GAIN))
    for words in ("without starting it", "nothing but route and tune", "by a person",
                  "On Monday and Sunday at any hour, at most once", "0 % or more"):  # fmt: skip
        assert words in said, said
    shadow = RULE.replace('"approve"', '"shadow"') + "replace = true\n" + GAIN
    assert "in place of another shadow" in sentence_of(read_rule(shadow))


def test_what_a_rule_does_not_say_is_the_cautious_choice():
    rule = read_rule(RULE + GAIN)
    assert rule.origins == (Origin.MUTATOR, Origin.LLM)
    assert (rule.may_be_missing, rule.replace, rule.evidence_hours) == ((), False, 168.0)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("x = ", 1, "no TOML"),
        (RULE + "least = 3\n" + GAIN, 5, "least is not known"),
        (RULE + GAIN + "p99 = 1\n", 7, "p99 is not known"),
        (RULE.replace("2", "0") + GAIN, 4, "whole number from 1"),
        (RULE.replace("2", "true") + GAIN, 4, "most_a_day is True"),
        (RULE.replace("2", "2.0") + GAIN, 4, "whole number"),
        (RULE.replace("2", "9" * 400) + GAIN, 4, "very large"),
        (RULE.replace('"approve"', '"promote"') + GAIN, 2, "approve, shadow, canary"),
        (RULE.replace('"approve"', '"canary"') + GAIN, 6, "weight is missing"),
        (RULE + "weight = 0.1\n" + GAIN, 5, "no meaning"),
        (RULE.replace('"r"', '"Rule:1"') + GAIN, 1, "no name"),
        (RULE.replace('"anything"', "[]") + GAIN, 3, "list of some of"),
        (RULE.replace('"anything"', '["route", "route"]') + GAIN, 3, "list of 2"),
        (RULE.replace('"anything"', '"all"') + GAIN, 3, "a list of hooks"),
        (RULE + "hours_utc = [9]\n" + GAIN, 5, "two different hours"),
        (RULE + "hours_utc = [9, 25]\n" + GAIN, 5, "two different hours"),
        (RULE + "weekdays = [1]\n" + GAIN, 5, "list of some of mon"),
        (RULE + "may_be_missing = [3]\n" + GAIN, 5, "list of gates"),
        (RULE + "replace = 1\n" + GAIN, 5, "true or false"),
        (RULE + 'origins = ["all"]\n' + GAIN, 5, "list of some of"),
        (RULE + "evidence_hours = nan\n" + GAIN, 5, "a number from"),
        (RULE + GAIN.replace("= 1", "= 1e309"), 6, "active is inf"),
        (RULE + GAIN.replace("= 1", "= -inf"), 6, "active is -inf"),
        (RULE + GAIN.replace("= 1", "= 1979-05-27"), 6, "a number from"),
        (RULE + "gain_percent = 3\n", 5, "is no table"),
        (RULE, 4, "active is missing"),
        (RULE + "# \u202e evil\n" + GAIN, 5, "U+202E"),
        (RULE + "# \u200b\n" + GAIN, 5, "U+200B"),
        ("x = 1\x00", 1, "U+0000"),
        ("a" * (MAX_CHARS + 1), 1, "shorten"),
        ("x = " + "[" * (MAX_CHARS - 4), 1, "TOML"),
        ("a." * 2000 + "b = 1", 1, ""),
        ("[" * 3 + "x]]]", 1, "no TOML"),
        ("x = " + "9" * 4090, 1, ""),
        ("\u202e", 1, "U+202E"),
        ("'\\u202e' = 1\n" + RULE + GAIN, None, "not known"),
        ("", 1, "missing"),
    ],
)  # fmt: skip
def test_a_text_that_is_no_rule_is_refused_with_its_line_and_a_mend(text, line, words):
    with pytest.raises(RuleRefused) as caught:
        read_rule(text)
    said = str(caught.value)
    assert words in said
    assert line is None or caught.value.line == line, said
    assert said.isascii()
    assert len(said) < 400


@pytest.fixture
def facts():
    return Facts(
        policy="a" * 64, state=State.EVALUATED, origin=Origin.MUTATOR, author="mutator",
        evidence=measurements("a" * 64), doubts=(), elsewhere=False,
        measured_at=NOW - timedelta(hours=1),
        measured_from=NOW - timedelta(hours=2), active_since=NOW - timedelta(days=3),
        change=changes(POLICY, POLICY.replace("0.5", "0.6")), against=(), installed_by="ada",
        installed_at=NOW - timedelta(days=1), approved_today=0, holder=None, now=NOW,
    )  # fmt: skip


@pytest.fixture
def rule():
    text = EXAMPLE.replace("origins =", 'may_be_missing = ["fairness"]\norigins =')
    return read_rule(text)


def failing(rule, facts, **options):
    return [one.name for one in judge(rule, facts, **options).failed]


def test_a_rule_applies_when_everything_holds(rule, facts):
    judgement = judge(rule, facts)
    assert judgement.fires, judgement.failed
    assert all(one.reason.endswith(".") for one in judgement.conditions)


def test_each_condition_alone_keeps_a_rule_from_applying(rule, facts):
    evidence = facts.evidence
    failed = replace(evidence, gates=(Gate("ttft_p99", GateStatus.FAIL, "worse"),))
    own = {"origin": Origin.PERSON, "author": "ada"}
    people = replace(rule, origins=(*rule.origins, Origin.PERSON))
    structure = changes(POLICY, POLICY.replace("else 2", "else 3"))
    for name, changed_rule, changed in [
        ("waits", rule, {"state": State.REJECTED}),
        ("clean", rule, {"against": ("rolled_back",)}),
        ("verdict", rule, {"evidence": replace(evidence, outcome=Outcome.INCONCLUSIVE)}),
        ("verdict", rule, {"doubts": ("Its verdict is inconclusive, not improved.",)}),
        ("compared with active", rule, {"elsewhere": True}),
        ("gates", replace(rule, may_be_missing=()), {}),
        ("gain over active", replace(rule, gain_active=6.8), {}),
        ("gain over people", replace(rule, gain_human=2.0), {}),
        ("compared with active", rule, {"active_since": NOW - timedelta(hours=1.5)}),
        ("touches", rule, {"change": structure}),
        ("touches", rule, {"change": None}),
        ("touches", replace(rule, touches=("migrate",)), {}),
        ("origin", rule, {"origin": Origin.PERSON, "author": "eve"}),
        ("own work", people, own),
        ("sealed units", replace(rule, sealed_units=11), {}),
        ("age", rule, {"measured_at": NOW - timedelta(hours=25), "measured_from": NOW - timedelta(
            hours=26), "installed_at": NOW - timedelta(days=2)}),
        ("age", rule, {"measured_at": NOW + timedelta(hours=1)}),
        ("after", rule, {"installed_at": NOW - timedelta(minutes=30)}),
        ("hours", replace(rule, hours=(10, 17)), {}),
        ("hours", replace(rule, weekdays=("thu",)), {}),
        ("a day", rule, {"approved_today": 4}),
        ("place", rule, {"holder": "abcdefabcdef"}),
    ]:  # fmt: skip
        assert failing(changed_rule, replace(facts, **changed)) == [name]
    assert "verdict" in failing(rule, replace(facts, evidence=failed))
    nothing = replace(facts, evidence=None, measured_at=None, measured_from=None)
    assert "verdict" in failing(rule, nothing)


def test_no_rule_can_be_written_that_overrides_a_verdict(rule, facts):
    lenient = replace(
        rule, touches="anything", gain_active=0.0, origins=tuple(Origin), most_a_day=100,
        may_be_missing=("fairness", "ttft_p99"), replace=True, weekdays=rule.weekdays, hours=None,
    )  # fmt: skip
    for outcome in set(Outcome) - {Outcome.IMPROVED}:
        said = replace(facts, evidence=replace(facts.evidence, outcome=outcome))
        assert not judge(lenient, said, asked=True).fires


def test_the_lower_end_counts_against_every_human_and_through_every_role(rule, facts):
    ratios = {Role.ACTIVE: 1.09, Role.BEST_HUMAN: 1.05, Role.BEST_HUMAN_HINDSIGHT: 1.04}
    low = 100 * -math.expm1(-(math.log(ratios[Role.BEST_HUMAN_HINDSIGHT]) - 0.02))
    assert failing(replace(rule, gain_human=low - 0.01), facts) == []
    assert failing(replace(rule, gain_human=low + 0.01), facts) == ["gain over people"]
    only = facts.evidence.contenders[0]
    both = Contender(Role.ACTIVE, "active", "b" * 64, only.time, 90.0, (Role.BEST_HUMAN,))
    evidence = replace(facts.evidence, contenders=(only, both), effects=facts.evidence.effects[:1])
    assert failing(replace(rule, gain_human=6.0), replace(facts, evidence=evidence)) == []
    unsealed = tuple(replace(one, sealed=False) for one in evidence.effects)
    assert "gain over active" in failing(
        rule, replace(facts, evidence=replace(evidence, effects=unsealed))
    )


def test_hours_may_go_over_midnight(rule, facts):
    night = replace(rule, hours=(22, 10))
    assert failing(night, facts) == []
    assert failing(night, replace(facts, now=NOW + timedelta(hours=1))) == ["hours"]


def test_asked_by_a_person_older_measurements_count(rule, facts):
    late = replace(facts, installed_at=NOW)
    assert failing(rule, late) == ["after"]
    assert failing(rule, late, asked=True) == []


def test_hooks_that_use_a_constant_that_moved_count_as_touched(rule, facts):
    assert failing(replace(rule, touches=("route",)), facts) == []
