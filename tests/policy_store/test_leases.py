"""One leader at a time, by the database's clock, with a number that fences who was paused."""

import threading
import time

import pytest

from policy_store import PolicyStore
from policy_store.daemon_book import Entry, Episode
from policy_store.errors import Fenced, InvalidInput, StaleDecision

NAME = "daemon:default"


def test_one_holds_it_and_renews_it_and_others_wait(store):
    lease = store.leases.hold(NAME, "a", 30.0)
    assert (lease.fencing, lease.taken) == (1, True)
    assert store.leases.hold(NAME, "b", 30.0) is None
    again = store.leases.hold(NAME, "a", 30.0)
    assert (again.fencing, again.taken) == (1, False)
    assert 29.0 < store.leases.state(NAME).left_s <= 30.0


def test_who_finds_it_run_out_takes_it_with_a_higher_number(store):
    paused = store.leases.hold(NAME, "a", 0.05)
    time.sleep(0.1)
    lease = store.leases.hold(NAME, "b", 30.0)
    assert (lease.fencing, lease.taken) == (2, True)
    assert store.leases.hold(NAME, "a", 30.0) is None
    store.leases.release(paused)  # which is another's by now
    assert store.leases.state(NAME).left_s > 0


def test_given_back_it_is_free_at_once(store):
    store.leases.release(store.leases.hold(NAME, "a", 3000.0))
    assert store.leases.hold(NAME, "b", 30.0).fencing == 2


@pytest.mark.parametrize("ttl_s", [0.0, -1.0, float("nan"), 1e9])
def test_a_lease_of_no_time_is_refused(store, ttl_s):
    with pytest.raises(InvalidInput):
        store.leases.hold(NAME, "a", ttl_s)


def test_of_many_who_want_it_at_once_one_has_it(store_url):
    held, ready = [], threading.Barrier(6)

    def want(holder):
        with PolicyStore.open(store_url) as store:
            ready.wait(30)
            held.append(store.leases.hold(NAME, holder, 30.0))

    threads = [threading.Thread(target=want, args=(f"h{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(held) == 6
    assert [one.fencing for one in held if one is not None] == [1]


def test_a_paused_leader_that_wakes_writes_nothing(store):
    paused = store.leases.hold(NAME, "a", 0.05)
    seen = store.daemons.read("default")
    time.sleep(0.1)
    leader = store.leases.hold(NAME, "b", 30.0)
    entry = Entry("daemon:default", "daemon_waits", "because")
    with pytest.raises(Fenced):
        store.daemons.move(paused, seen, "evolving", {}, entry)
    assert store.daemons.read("default") == seen
    assert not store.audit.entries(action="daemon_waits")
    assert store.daemons.move(leader, seen, "evolving", {}, entry).version == 1


def test_a_step_is_whole_or_not_at_all_and_from_what_was_seen(store):
    lease = store.leases.hold(NAME, "a", 30.0)
    seen, now = store.daemons.read("default"), store.rules.now()
    entry = Entry("daemon:default", "daemon_evolves", "drift", details={"units": 2.0})
    episode = Episode("default", 1, now, facts={"why": "drift"})
    with pytest.raises(InvalidInput):
        store.daemons.move(lease, seen, "evolving", {"bad": float("nan")}, entry, episode)
    assert store.daemons.read("default").version == 0
    assert store.daemons.episodes("default") == ()
    state = store.daemons.move(lease, seen, "evolving", {"tries": 0}, entry, episode)
    assert (state.step, state.version, state.episode) == ("evolving", 1, 1)
    with pytest.raises(StaleDecision):
        store.daemons.move(lease, seen, "watching", {})
    (kept,) = store.daemons.since("default", now)
    assert (kept.number, kept.outcome, kept.facts) == (1, None, {"why": "drift"})
    (said,) = store.audit.entries(actor="daemon:default")
    assert (said.action, said.note, said.deployment) == ("daemon_evolves", "drift", "default")
    assert store.audit.verify().intact
