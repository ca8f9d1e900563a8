"""What a rule does with its own trial: no more than it says, and nothing with anybody else's."""

from datetime import timedelta

import pytest
from measurements import SOURCE, measurements

from policy_store import Origin
from policy_store.errors import Fenced, StaleDecision
from policy_store.lifecycle import State
from policy_store.records import Alias, Ejection, HostReport
from policy_store.rule_application import apply_rules
from policy_store.rule_trials import Fate, course_of, follow, witness_of

RULE = """
name = "any"
action = "canary"
weight = 0.1
touches = "anything"
most_a_day = 9
may_be_missing = ["fairness"]
[gain_percent]
active = 3
"""
TERMS = RULE + "[trial]\npromote_after_requests = 100\nend_after_hours = 2\n"


def measured(store, knee):
    digest = store.propose(
        SOURCE, name="c", origin=Origin.MUTATOR, author="m", contract_version=1,
        parameters={"KNEE": knee},
    ).digest  # fmt: skip
    store.record_verified(digest, by="verifier")
    store.attach_evidence(digest, measurements(digest).document(), by="simulator")
    return digest


@pytest.fixture
def policy(store):
    return measured(store, 1.0)


@pytest.fixture
def canary(store, policy):
    """A canary that a rule started; called with the rule's text."""

    def start(text=TERMS):
        store.rules.install(text, "ada", "looked at")
        assert apply_rules(store, policy, asked=True).trial is Alias.CANARY
        return store.slot(Alias.CANARY)

    return start


def says(store, slot, standing="open", requests=200, host="h1", ejections=(), deployment="default"):
    facts = {"canary": slot.digest, "canary_standing": standing, "canary_requests": requests,
             "control_requests": requests}  # fmt: skip
    now = store.rules.now()
    store.report_host(
        HostReport(host, deployment, slot.sequence, None, now, ejections, facts)
    )


def thrown(store, slot):
    return Ejection(slot.digest, slot.sequence, "LATENCY", "p99 over twice the control's",
                    store.rules.now())  # fmt: skip


def course(store, slot, later=timedelta(0)):
    now = store.rules.now()
    witness = witness_of(store.hosts(), slot, slot.changed_at, now - timedelta(minutes=1))
    return course_of(store, slot, witness, now + later)


def test_proven_better_on_enough_requests_it_becomes_active(store, policy, canary):
    slot = canary()
    says(store, slot, "better", 60)
    says(store, slot, "better", 60, host="h2")
    found = course(store, slot)
    assert found.fate is Fate.PROMOTE
    assert follow(store, found)
    assert store.slot().digest == policy
    assert store.slot(Alias.CANARY).digest is None
    entry = store.history(policy)[-1]
    assert (entry.action, entry.actor) == ("activated", "rule:any")
    assert "120 requests" in entry.note
    assert entry.details["rule"]["installed_by"] == "ada"
    assert store.audit.verify().intact


def test_what_was_compared_with_an_earlier_active_policy_undoes_no_persons_decision(
    store, canary
):
    slot, another = canary(), measured(store, 2.0)
    store.approve(another, "ada", "good")
    says(store, slot, "better")
    found = course(store, slot)
    store.activate(another, store.slot().sequence, "ada", "this one from now on")
    with pytest.raises(StaleDecision, match="another policy became active"):
        follow(store, found)
    left = course(store, slot)
    assert left.fate is Fate.PERSON
    assert "a person decides between the two" in left.reason
    assert store.slot().digest == another


@pytest.mark.parametrize(
    ("text", "standings", "fate"),
    [
        (TERMS, [("better", 60)], Fate.WAIT),  # too few
        (TERMS, [("better", 200), ("open", 5)], Fate.WAIT),  # not all say so
        (TERMS, [], Fate.WAIT),
        (RULE, [("better", 200)], Fate.PERSON),  # the rule does not promote
        (RULE, [("worse", 200)], Fate.TAKE_BACK),
        (TERMS, [("better", 200), ("worse", 20)], Fate.TAKE_BACK),
    ],
)
def test_what_hosts_say_decides_and_the_rule_bounds_it(store, canary, text, standings, fate):
    slot = canary(text)
    for number, (standing, requests) in enumerate(standings):
        says(store, slot, standing, requests, host=f"h{number}")
    assert course(store, slot).fate is fate


def test_a_host_that_fell_silent_is_no_witness(store, canary):
    slot = canary()
    says(store, slot, "better")
    now = store.rules.now()
    late = witness_of(store.hosts(), slot, slot.changed_at, now + timedelta(minutes=5))
    assert (late.standing, late.requests) == ("open", 0)


def test_what_a_host_threw_out_is_taken_back_everywhere(store, policy, canary):
    slot = canary()
    says(store, slot, "open", 3, ejections=(thrown(store, slot),))
    assert follow(store, course(store, slot))
    version = store.show(policy).version
    assert (version.state, store.slot(Alias.CANARY).digest) == (State.EJECTED, None)
    entry = store.history(policy)[-1]
    assert (entry.action, entry.actor, entry.details["kind"]) == ("ejected", "rule:any", "LATENCY")
    assert "p99 over twice" in entry.note


def test_what_was_promoted_and_then_thrown_out_is_rolled_back(store, policy, canary):
    slot = canary()
    says(store, slot, "better")
    follow(store, course(store, slot))
    active = store.slot()
    store.report_host(HostReport("h1", "default", active.sequence, None, store.rules.now(),
                                 (thrown(store, active),)))  # fmt: skip
    found = course(store, active)
    assert found.fate is Fate.TAKE_BACK
    assert follow(store, found)
    assert store.slot().digest is None
    assert store.show(policy).version.state is State.EJECTED


def test_an_ejection_of_an_earlier_try_does_not_count(store, policy, canary):
    first = canary()
    says(store, first, ejections=(thrown(store, first),))
    store.withdraw(Alias.CANARY, first.sequence, "ada", "again")
    store.place(policy, Alias.CANARY, store.slot(Alias.CANARY).sequence, "ada", "once more")
    again = store.slot(Alias.CANARY)
    assert not witness_of(store.hosts(), again, again.changed_at, again.changed_at).ejections


def test_neither_better_nor_worse_for_long_it_ends_and_stays_approved(store, policy, canary):
    slot = canary()
    says(store, slot)
    assert course(store, slot).fate is Fate.WAIT
    found = course(store, slot, timedelta(hours=3))
    assert found.fate is Fate.END
    assert follow(store, found)
    assert store.show(policy).version.state is State.APPROVED


def test_a_trial_that_a_person_started_is_that_persons(store, policy):
    store.rules.install(TERMS, "ada", "looked at")
    store.approve(policy, "ada", "good")
    slot = store.place(policy, Alias.CANARY, 0, "ada", "try", weight=0.1)
    says(store, slot, "worse", ejections=(thrown(store, slot),))
    found = course(store, slot)
    assert found.fate is Fate.PERSON
    assert "by ada" in found.reason
    assert not follow(store, found)
    assert store.slot(Alias.CANARY).digest == policy


def test_a_rule_that_was_removed_or_replaced_does_nothing_more(store, canary):
    slot = canary()
    says(store, slot, "better")
    found = course(store, slot)
    store.rules.remove("any", "ada", "no more")
    with pytest.raises(StaleDecision):
        follow(store, found)
    assert course(store, slot).fate is Fate.PERSON
    store.rules.install(TERMS, "ada", "the same name, another rule")
    assert course(store, slot).fate is Fate.PERSON
    assert store.slot().digest is None


def test_who_is_fenced_decides_nothing(store, policy, canary):
    slot = canary()
    says(store, slot, "better")

    def fenced(session):
        raise Fenced("another one leads")

    with pytest.raises(Fenced):
        follow(store, course(store, slot), fenced)
    says(store, slot, "worse")
    with pytest.raises(Fenced):
        follow(store, course(store, slot), fenced)
    assert store.slot(Alias.CANARY).digest == policy
