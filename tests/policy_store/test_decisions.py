"""Approving, activating, taking back: what each decision does to states and slots."""

import pytest

from policy_store import Alias, State
from policy_store.errors import ForbiddenMove, InvalidInput, NothingLive, StaleDecision


def state(store, digest):
    return store.show(digest).version.state


def live(store, deployment="default"):
    return tuple(store.slot(alias, deployment).digest for alias in (Alias.ACTIVE, Alias.LAST_GOOD))


def test_approval_names_the_evidence_it_saw(store, evaluated):
    digest = evaluated()
    store.approve(digest[:8], by="ada", note="beats the best baseline")
    entry = store.history(digest)[-1]
    assert (entry.actor, entry.note) == ("ada", "beats the best baseline")
    assert entry.details["evidence"] == [store.show(digest).evidence[0].digest]


def test_a_policy_without_evidence_is_not_approved(store, proposed):
    digest = proposed()
    store.record_verified(digest, by="verifier")
    with pytest.raises(ForbiddenMove, match="verified cannot become approved"):
        store.approve(digest, by="ada", note="trust me")


@pytest.mark.parametrize(("by", "note"), [("ada", " "), ("", "because"), ("ada", "n" * 5000)])
def test_a_decision_has_a_decider_and_a_reason(store, evaluated, by, note):
    digest = evaluated()
    with pytest.raises(InvalidInput):
        store.approve(digest, by=by, note=note)
    assert state(store, digest) is State.EVALUATED


def test_activation_keeps_the_one_before_as_last_good(store, approved, go_live):
    first, second = approved(), approved()
    go_live(first)
    activation = go_live(second)
    assert (activation.sequence, activation.last_good) == (2, first)
    assert live(store) == (second, first)
    assert (state(store, first), state(store, second)) == (State.RETIRED, State.ACTIVE)


def test_only_approved_policies_go_live(store, evaluated):
    digest = evaluated()
    with pytest.raises(ForbiddenMove, match="only an approved policy goes live"):
        store.activate(digest, 0, by="ada", note="now")
    with pytest.raises(ForbiddenMove, match="only an approved policy goes live"):
        store.place(digest, Alias.CANARY, 0, by="ada", note="now")


def test_stale_activation_changes_nothing(store, approved, go_live):
    first, second = approved(), approved()
    go_live(first)
    before = store.audit.verify().entries
    with pytest.raises(StaleDecision, match="from sequence 0 to 1"):
        store.activate(second, 0, by="ada", note="late")
    assert live(store) == (first, None)
    assert store.audit.verify().entries == before


def test_rollback_walks_back_to_the_built_in_default(store, approved, go_live):
    first, second, third = approved(), approved(), approved()
    for digest in (first, second, third):
        go_live(digest)
    assert store.rollback(by="ada", note="slow").digest == second
    assert live(store) == (second, first)
    assert store.rollback(by="ada", note="slow").digest == first
    assert store.rollback(by="ada", note="slow").digest is None
    with pytest.raises(NothingLive, match="built-in default"):
        store.rollback(by="ada", note="again")
    assert store.slot().sequence == 6


def test_rollback_skips_what_lost_its_approval(store, approved, go_live):
    first, second, third = approved(), approved(), approved()
    for digest in (first, second, third):
        go_live(digest)
    store.eject(second, by="watchdog", note="raised", kind="ERROR")
    assert live(store) == (third, first)
    assert store.rollback(by="ada", note="slow").digest == first


def test_a_rejected_policy_deep_in_the_history_is_no_fallback(store, approved, go_live):
    first, second, third = approved(), approved(), approved()
    for digest in (first, second, third):
        go_live(digest)
    store.reject(first, by="ada", note="no longer")
    store.rollback(by="ada", note="slow")
    assert live(store) == (second, None)


def test_rolled_back_policy_needs_a_new_approval(store, approved, go_live):
    digest = approved()
    go_live(digest)
    store.rollback(by="ada", note="slow")
    with pytest.raises(ForbiddenMove):
        go_live(digest)
    store.approve(digest, by="ada", note="it was the network")
    assert go_live(digest).digest == digest


def test_ejection_clears_every_deployment(store, approved, go_live):
    good, bad = approved(), approved()
    for deployment in ("east", "west"):
        go_live(good, deployment)
        go_live(bad, deployment)
    store.place(bad, Alias.CANARY, 0, by="ada", note="try", deployment="north")
    store.eject(bad, by="watchdog", note="IndexError", kind="ERROR")
    assert live(store, "east") == live(store, "west") == (good, None)
    assert store.slot(Alias.CANARY, "north").digest is None
    assert (state(store, good), state(store, bad)) == (State.ACTIVE, State.EJECTED)


def test_ejecting_again_writes_nothing(store, approved):
    digest = approved()
    store.eject(digest, by="host-1", note="slow", kind="SLOW")
    store.eject(digest, by="host-2", note="slow", kind="SLOW")
    assert [entry.action for entry in store.history(digest)].count("ejected") == 1


def test_after_an_ejection_the_fallback_is_not_the_active_policy_itself(store, approved, go_live):
    first, second = approved(), approved()
    for digest in (first, second, first):
        go_live(digest)
    store.eject(second, by="watchdog", note="raised")
    assert live(store) == (first, None)


def test_shadow_canary_active(store, approved):
    digest = approved()
    slot = store.place(digest, Alias.SHADOW, 0, by="ada", note="watch")
    assert (slot.digest, state(store, digest)) == (digest, State.SHADOW)
    store.place(digest, Alias.CANARY, 0, by="ada", note="5 %")
    assert state(store, digest) is State.CANARY
    assert store.slot(Alias.SHADOW).digest is None
    store.activate(digest, 0, by="ada", note="all of it")
    assert store.slot(Alias.CANARY).digest is None
    assert state(store, digest) is State.ACTIVE


def test_withdrawn_canary_stays_approved(store, approved):
    digest = approved()
    slot = store.place(digest, Alias.CANARY, 0, by="ada", note="5 %")
    with pytest.raises(StaleDecision):
        store.withdraw(Alias.CANARY, 0, by="ada", note="stop")
    emptied = store.withdraw(Alias.CANARY, slot.sequence, by="ada", note="stop")
    assert (emptied.digest, state(store, digest)) == (None, State.APPROVED)
    assert emptied.sequence > slot.sequence


def test_rejecting_a_canary_ends_it(store, approved):
    digest = approved()
    store.place(digest, Alias.CANARY, 0, by="ada", note="5 %")
    assert store.reject(digest, by="ada", note="no").state is State.REJECTED
    assert store.slot(Alias.CANARY).digest is None


def test_the_active_policy_is_rolled_back_not_rejected(store, approved, go_live):
    digest = approved()
    go_live(digest)
    with pytest.raises(ForbiddenMove, match="rolled_back"):
        store.reject(digest, by="ada", note="no")
    assert live(store) == (digest, None)


def test_a_policy_keeps_the_furthest_state_of_all_deployments(store, approved, go_live):
    one, other = approved(), approved()
    go_live(one, "east")
    store.place(one, Alias.CANARY, 0, by="ada", note="5 %", deployment="west")
    assert state(store, one) is State.ACTIVE
    go_live(other, "east")
    assert state(store, one) is State.CANARY


def test_rolled_back_here_it_is_no_last_good_elsewhere(store, approved, go_live):
    bad, other = approved(), approved()
    go_live(bad, "west")
    go_live(other, "west")
    go_live(bad, "east")
    store.rollback(by="ada", note="slow", deployment="east")
    assert live(store, "west") == (other, None)


def test_last_good_is_not_placed_by_hand(store, approved):
    with pytest.raises(InvalidInput, match="no trial"):
        store.place(approved(), Alias.LAST_GOOD, 0, by="ada", note="cheat")


def test_renewing_takes_a_new_sequence_and_keeps_the_way_back(store, approved, go_live):
    first, second = approved(), approved()
    go_live(first)
    go_live(second)
    live = store.renew(2, by="ada", note="still good")
    assert (live.sequence, live.digest, live.last_good) == (3, second, first)
    assert store.history(second)[-1].action == "renewed"
    assert store.rollback(by="ada", note="after all not").digest == first


def test_renewing_needs_something_active_and_a_fresh_look(store, approved, go_live):
    with pytest.raises(NothingLive, match="no renewal"):
        store.renew(0, by="ada", note="why not")
    go_live(approved())
    with pytest.raises(StaleDecision):
        store.renew(0, by="ada", note="too late")
