"""Rules at work on a store: what is approved, by whom, how often, and what never is."""

import threading
from dataclasses import replace

import pytest
from deciders import PROCESSES, let_rules_decide
from measurements import SOURCE, measurements

from policy_store import Origin
from policy_store.errors import ForbiddenMove, InvalidInput, RuleRefused, StaleDecision, UnknownRule
from policy_store.lifecycle import State
from policy_store.records import Alias, Role
from policy_store.rule_application import apply_rules, judged
from policy_store.store import PolicyStore
from sandbox.evidence import Outcome

RULE = """
name = "any-to-canary"
action = "canary"
weight = 0.1
touches = "anything"
most_a_day = 1
may_be_missing = ["fairness"]

[gain_percent]
active = 3
"""
SHADOW = RULE.replace("any-to-canary", "any-to-shadow").replace(
    '"canary"\nweight = 0.1', '"shadow"'
)


@pytest.fixture
def measure(store):
    """A policy as a search leaves it; each is another one."""
    numbers = iter(range(1, 100))

    def make(outcome=Outcome.IMPROVED, **fields):
        values = {"name": "c", "origin": Origin.MUTATOR, "author": "mutator",
                  "contract_version": 1, "parameters": {"KNEE": float(next(numbers))}}  # fmt: skip
        digest = store.propose(SOURCE, **(values | fields)).digest
        store.record_verified(digest, by="verifier")
        document = measurements(digest, outcome=outcome).document()
        store.attach_evidence(digest, document, by="simulator")
        return digest

    return make


def state(store, policy):
    return store.show(policy).version.state


def install(store, text=RULE):
    return store.rules.install(text, "ada", "we looked at a month of these")


def test_a_rule_approves_and_says_on_what(store, measure):
    installed = install(store)
    policy = measure()
    applied = apply_rules(store, policy)
    assert (applied.rule, applied.trial) == ("any-to-canary", Alias.CANARY)
    slot = store.slot(Alias.CANARY)
    assert (slot.digest, slot.weight) == (policy, 0.1)
    entry = next(one for one in store.history(policy) if one.action == "approved")
    assert entry.actor == "rule:any-to-canary"
    assert entry.details["rule"]["digest"] == installed.digest
    assert "begins at" in entry.note
    assert "begins at" in entry.details["conditions"]["gain over active"]
    assert [one.subject for one in store.rules.deeds("any-to-canary")] == [policy]
    assert store.audit.verify().intact


def test_without_rules_nothing_is_said_or_decided(store, measure):
    policy = measure()
    assert apply_rules(store, policy).said == ""
    assert judged(store, "default", policy) == ()
    assert state(store, policy) is State.EVALUATED


def test_what_was_measured_before_the_rule_needs_a_command(store, measure):
    policy = measure()
    install(store)
    applied = apply_rules(store, policy)
    assert applied.rule is None
    assert "before the rule was installed" in applied.said
    assert apply_rules(store, policy, asked=True).rule == "any-to-canary"


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.IMPROVED}))
def test_a_rule_overrides_no_verdict(store, measure, outcome):
    install(store)
    policy = measure(outcome)
    assert apply_rules(store, policy, asked=True).rule is None
    assert state(store, policy) is State.EVALUATED


@pytest.mark.parametrize("deed", ["reject", "eject", "rollback"])
def test_what_was_decided_against_once_is_a_persons_to_approve(store, measure, deed):
    install(store)
    policy = measure()
    if deed == "reject":
        store.reject(policy, "ada", "no")
    else:
        store.approve(policy, "ada", "yes")
        store.activate(policy, 0, "ada", "yes")
        store.rollback("ada", "slow") if deed == "rollback" else store.eject(policy, "host", "bad")
    before = state(store, policy)
    applied = apply_rules(store, policy, asked=True)
    assert applied.rule is None
    assert {"waits", "clean"} <= {one.name for one in applied.judgements[0].failed}
    assert state(store, policy) is before


def test_a_policy_by_hand_is_approved_only_where_the_rule_says_so(store, measure):
    install(store)
    by_hand = measure(origin=Origin.PERSON, author="eve")
    assert apply_rules(store, by_hand).rule is None
    install(store, SHADOW.replace("[gain", 'origins = ["person"]\n[gain'))
    own = measure(origin=Origin.PERSON, author="ada")  # who installed it
    assert apply_rules(store, own).rule is None
    assert apply_rules(store, by_hand, asked=True).rule == "any-to-shadow"


def test_measurements_against_what_was_active_before_do_not_count(store, measure):
    install(store)
    policy, other = measure(), measure()
    store.approve(other, "ada", "yes")
    store.activate(other, 0, "ada", "yes")
    applied = apply_rules(store, policy)
    assert "compared with active" in [one.name for one in applied.judgements[0].failed]
    later = measure()
    store.renew(store.slot().sequence, "ada", "still good")
    assert apply_rules(store, later).rule == "any-to-canary"


def test_measured_again_until_it_fits_is_a_persons_to_approve(store, measure):
    install(store)
    policy = measure(Outcome.INCONCLUSIVE)
    store.attach_evidence(policy, measurements(policy).document(), by="simulator")
    applied = apply_rules(store, policy)
    assert applied.rule is None
    assert "Earlier measurements said otherwise" in applied.said


def test_another_deployment_has_its_own_active_policy(store, measure):
    install(store)
    other = measure()
    store.approve(other, "ada", "yes")
    store.activate(other, 0, "ada", "yes", deployment="east")
    assert "not here" in apply_rules(store, measure(), "east").said
    assert apply_rules(store, measure()).rule


def test_a_running_trial_is_ended_only_where_the_rule_says_so(store, measure):
    install(store, SHADOW.replace("most_a_day = 1", "most_a_day = 9"))
    first, second = measure(), measure()
    assert apply_rules(store, first).rule
    assert "is the shadow now" in apply_rules(store, second).said
    store.rules.remove("any-to-shadow", "ada", "too strict")
    install(store, SHADOW.replace("[gain", "replace = true\n[gain").replace("= 1\n", "= 9\n"))
    assert apply_rules(store, measure()).rule
    assert state(store, first) is State.APPROVED


def test_the_first_rule_that_applies_decides(store, measure):
    install(store, SHADOW.replace("active = 3", "active = 50"))
    install(store)
    applied = apply_rules(store, measure())
    assert applied.rule == "any-to-canary"
    assert [one.fires for one in applied.judgements] == [False, True]


def test_a_removed_rule_stays_on_record_and_its_approvals_count(store, measure):
    install(store)
    apply_rules(store, measure())
    store.rules.remove("any-to-canary", "ben", "enough for now")
    assert store.rules.installed() == ()
    assert [one.removed_by for one in store.rules.removed()] == ["ben"]
    again = install(store, RULE.replace("[gain", "replace = true\n[gain"))
    applied = apply_rules(store, measure())
    assert again.id == 2
    assert [one.name for one in applied.judgements[0].failed] == ["a day"]
    actions = [one.action for one in store.audit.entries(limit=100)]
    assert actions.count("rule_installed") == 2
    [entry] = store.audit.entries(action="rule_removed")
    assert entry.details["rule"] == "any-to-canary"
    assert store.audit.entries(action="rule_installed")[0].details["text"] == RULE


def test_installing_and_removing_are_refused_where_they_should_be(store):
    with pytest.raises(RuleRefused):
        install(store, "name = 3")
    install(store)
    with pytest.raises(ForbiddenMove, match="is installed"):
        install(store)
    with pytest.raises(UnknownRule):
        store.rules.remove("another", "ada", "why not")
    with pytest.raises(InvalidInput):
        store.rules.remove("any-to-canary", "ada", " ")
    store.accounts.add("rev", Role.REVIEWER, by="ada")
    for deed in (lambda: store.rules.install(SHADOW, "rev", "x"),
                 lambda: store.rules.remove("any-to-canary", "rev", "x")):  # fmt: skip
        with pytest.raises(ForbiddenMove, match="no admin"):
            deed()


@pytest.mark.parametrize("meanwhile", ["removed", "rejected", "activated", "measured"])
def test_what_changes_between_judging_and_deciding_counts(store, measure, monkeypatch, meanwhile):
    install(store)
    policy, other = measure(), measure()
    store.approve(other, "ada", "yes")
    approve = store.approve
    deeds = {
        "removed": lambda: store.rules.remove("any-to-canary", "ada", "stop"),
        "rejected": lambda: store.reject(policy, "ada", "no"),
        "activated": lambda: store.activate(other, 0, "ada", "yes"),
        "measured": lambda: store.attach_evidence(
            policy, replace(measurements(policy), seed=7).document(), by="simulator"
        ),
    }

    def late(*arguments, **options):
        deeds[meanwhile]()
        return approve(*arguments, **options)

    monkeypatch.setattr(PolicyStore, "approve", lambda _, *a, **o: late(*a, **o))
    applied = apply_rules(store, policy)
    assert applied.rule is None
    assert applied.said
    assert state(store, policy) in (State.EVALUATED, State.REJECTED)
    assert store.slot(Alias.CANARY).digest is None


def test_a_cap_of_one_lets_one_of_two_processes_approve(store, store_url, measure):
    free = RULE.replace('"canary"\nweight = 0.1', '"approve"')  # no slot to race for, only the cap
    install(store, free)
    start, said = PROCESSES.Barrier(2), PROCESSES.SimpleQueue()
    racers = [
        PROCESSES.Process(target=let_rules_decide, args=(store_url, policy, start, said))
        for policy in (measure(), measure())
    ]
    for one in racers:
        one.start()
    for one in racers:
        one.join()
    assert {said.get(), said.get()} == {None, "any-to-canary"}
    assert len(store.rules.deeds("any-to-canary")) == 1


def test_many_threads_never_pass_the_cap(store, measure):
    install(store, RULE.replace('"canary"\nweight = 0.1', '"approve"').replace("= 1\n", "= 3\n"))
    policies, said = [measure() for _ in range(8)], list[str | None]()
    start = threading.Barrier(len(policies))

    def ask(policy):
        start.wait()
        said.append(apply_rules(store, policy).rule)

    threads = [threading.Thread(target=ask, args=(policy,)) for policy in policies]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert said.count("any-to-canary") == 3
    assert len(said) == 8


def test_the_cap_is_looked_at_inside_the_decision(store, measure, monkeypatch):
    install(store, RULE.replace('"canary"\nweight = 0.1', '"approve"'))
    first, second = measure(), measure()
    assert apply_rules(store, first).rule
    monkeypatch.setattr(type(store.rules), "approved_lately", lambda *_: 0)  # as judged too early
    held = apply_rules(store, second)
    assert held.judgements[0].fires
    assert held.rule is None
    assert "as many as it may" in held.said


def test_a_rule_of_another_time_that_cannot_be_read_stops_nothing(store, measure):
    from policy_store.tables import RuleRow

    with store._database.deciding() as session:
        session.add(RuleRow(id=1, name="old", text="level = 3", installed_by="ada",
                            installed_at=store.rules.now()))  # fmt: skip
    install(store)
    applied = apply_rules(store, measure())
    assert applied.rule == "any-to-canary"
    assert "cannot be read any more" in applied.judgements[0].conditions[0].reason


def test_a_stale_decision_is_no_rule(store, measure):
    """A person's decision with the same check is refused by it, too."""

    def held(*_):
        raise StaleDecision("held")

    policy = measure()
    with pytest.raises(StaleDecision, match="held"):
        store.approve(policy, "ada", "yes", check=held)
    assert state(store, policy) is State.EVALUATED


def test_measurements_of_another_policy_speak_for_nobody(store, measure):
    install(store)
    other = measure()
    policy = store.propose(SOURCE, name="p", origin=Origin.LLM, author="m", contract_version=1,
                           parameters={"KNEE": 0.75}).digest  # fmt: skip
    store.record_verified(policy, by="verifier")
    store.attach_evidence(policy, measurements(other).document(), by="simulator")
    applied = apply_rules(store, policy)
    assert applied.rule is None
    assert f"of another policy, {other[:12]}" in applied.said
