import asyncio
from functools import partial

import numpy as np
import pytest
from routing_policies import SHORTEST

from serving_adapter.activation import prepare_policy
from serving_adapter.decision import BUILT_IN_DIGEST, Outcome
from serving_adapter.errors import AdapterError
from serving_adapter.instances import InstanceTable
from serving_adapter.ray_serve.choosing import Candidate, Chooser, body_of
from serving_adapter.ray_serve.following import RouterSettings
from serving_adapter.request_log import RequestOutcome
from serving_adapter.safety.ejection import EjectionKind
from serving_adapter.safety.limits import UNWATCHED_ARM

BODY = {"prompt": "eight ch", "max_tokens": 7}


@pytest.fixture
def chooser(new_host):
    """Chooses by one-word policies; `told` has the decisions."""

    def build(**options):
        told = []
        table = InstanceTable(counts_flights=False)
        host = new_host(0, table=table, limits=UNWATCHED_ARM, **options)
        made = Chooser(host, max_hold_s=0.01, on_decision=lambda *one: told.append(one))
        return made, host, told

    return build


def replicas(*queues, stats=None):
    return [Candidate(f"r{k}", queue, stats or {}, 4) for k, queue in enumerate(queues)]


async def test_a_request_that_its_replica_did_not_take_keeps_its_version(chooser):
    choose, host, told = chooser()
    await host.swap("first", 1)
    request = choose.request("a", BODY)
    assert choose.choose(request, replicas(0, 0)) == "r0"
    await host.swap("last", 2)
    assert choose.choose(request, replicas(4, 0)) == "r1"
    assert choose.choose(request, replicas(4, 4)) == "r0"  # all were full: from the beginning
    assert {decision.sequence for _, decision, _ in told} == {1}
    assert choose.choose(choose.request("b", BODY), replicas(0, 0)) == "r1"


@pytest.mark.parametrize("leave", [
    lambda pending: pending.cancel(),
    lambda pending: pending.set_exception(RuntimeError("the deployment is gone")),
])  # fmt: skip
async def test_a_held_request_that_gets_no_replica_is_held_no_more(chooser, leave):
    choose, host, _ = chooser()
    await host.swap("hold", 1)
    request, pending = choose.request("a", None), asyncio.get_running_loop().create_future()
    pending.add_done_callback(partial(choose.left_while_pending, request))
    assert choose.choose(request, replicas(0)) is Outcome.HELD
    assert host.watchdog.held()
    leave(pending)
    await asyncio.sleep(0)
    assert not host.watchdog.held()
    assert request.visit.outcome is RequestOutcome.ABANDONED


async def test_a_policy_that_holds_has_its_time_then_the_built_in_places_the_request(chooser):
    now_s = [0.0]
    choose, host, told = chooser(clock=lambda: now_s[0])
    await host.swap("hold", 1)
    request = choose.request("a", None)
    assert choose.choose(request, replicas(0)) is Outcome.HELD
    assert host.watchdog.held()[told[0][1].digest].count == 1
    now_s[0] = 1.0
    assert choose.choose(request, replicas(0)) == "r0"
    assert (told[-1][1].digest, told[-1][1].reason) == (BUILT_IN_DIGEST, "held-too-long")
    assert not host.watchdog.held()
    await host.swap("reject", 2)
    assert choose.choose(choose.request("b", None), replicas(0)) is Outcome.REJECTED


async def test_rows_have_what_serve_knows_and_nothing_else(chooser):
    seen = []

    class Spy:
        def route(self, request, instances, memory, rotation, fuel):
            seen.append((request.copy(), instances.copy()))
            return int(instances["id"][0])

    from serving_adapter.activation import Ready

    choose, host, _ = chooser(prepare=lambda *_: Ready("d" * 64, Spy()))
    await host.swap("", 1)
    known = replicas(3, None)
    engine = {"running": 2, "waiting": 1, "kv_usage": 0.5, "kv_capacity_tokens": 100,
              "preemptions": True, "x": "y"}  # fmt: skip
    known[0] = Candidate("r0", 3, engine, 4)
    choose.choose(choose.request("a", BODY, session="s"), known)
    (request,), rows = seen[0]
    assert request["prompt_tokens"] == 2
    assert rows["running_requests"].tolist() == [2, -1]
    assert rows["queued_requests"].tolist() == [1, -1]
    assert rows["kv_used_tokens"].tolist() == [50, -1]
    assert rows["tenant_requests"].tolist() == [-1, -1]
    assert np.isnan(rows["mean_context_tokens"]).all()
    assert rows["max_num_seqs"].tolist() == [4, 4]
    choose.choose(choose.request("b", None), replicas(None)[:1])
    (request,), rows = seen[1]
    assert (request["prompt_tokens"], len(rows)) == (-1, 1)


async def test_a_sessions_next_call_is_told_where_the_one_before_went(chooser):
    choose, host, _ = chooser()
    await host.swap("last", 1)
    first = choose.request("a", BODY, session="s")
    choose.served(first, choose.choose(first, replicas(0, 0)))
    again = choose.request("b", BODY, session="s")
    assert (again.facts.turn, again.facts.last_instance, again.facts.cached_tokens) == (1, 1, 2)


async def test_a_real_policy_takes_the_replica_with_the_fewest_requests(chooser):
    choose, host, _ = chooser(prepare=lambda *one: prepare_policy(*one, engine="interpreted"))
    await host.swap(SHORTEST, 1)
    assert choose.choose(choose.request("a", None), replicas(3, 1, 2)) == "r1"
    assert choose.choose(choose.request("b", None), replicas(0, 1, 2)[1:]) == "r1"


async def on_trial(chooser, snapshot_of, of_canary):
    """A canary on half of 100 sessions, all of whose requests end alike; host and decisions."""
    now_s = [0.0]
    choose, host, told = chooser(clock=lambda: now_s[0])
    await host.apply(snapshot_of(1, "last", canary=("first", 0.5)))
    for number in range(100):
        request = choose.request(str(number), BODY, session=str(number))
        name = choose.choose(request, replicas(0, 0))
        choose.served(request, name)
        now_s[0] += 1.0
        choose.ended(request, of_canary if name == "r0" else RequestOutcome.OK)
        choose.ended(request, RequestOutcome.BROKEN)  # only the first end counts
    host.watchdog.look()
    return host, [name for _, _, name in told]


async def test_a_canary_is_compared_with_its_control_as_behind_the_gateway(chooser, snapshot_of):
    host, names = await on_trial(chooser, snapshot_of, RequestOutcome.OK)
    trial = host.report().canary
    assert (trial.canary_requests, trial.control_requests) == (names.count("r0"), names.count("r1"))
    assert min(trial.canary_requests, trial.control_requests) > 0
    assert (trial.standing, trial.decisions) == ("open", 100)


async def test_a_canary_whose_replicas_die_is_taken_out(chooser, snapshot_of):
    host, _ = await on_trial(chooser, snapshot_of, RequestOutcome.ENGINE_ERROR)
    assert [one.kind for one in host.report().ejections] == [EjectionKind.REGRESS]


async def test_what_its_client_left_and_what_was_refused_ends_too(chooser):
    choose, host, _ = chooser()
    ended = []
    host.ended = lambda facts, record: ended.append((record.outcome, record.attempts))
    await host.swap("hold", 1)
    left = choose.request("a", BODY)
    choose.choose(left, replicas(0))
    assert host.watchdog.held()
    choose.ended(left, RequestOutcome.ABANDONED)
    assert not host.watchdog.held()
    await host.swap("reject", 2)
    choose.choose(choose.request("b", BODY), replicas(0))
    assert ended == [(RequestOutcome.ABANDONED, 0), (RequestOutcome.REJECTED, 0)]


def test_what_is_measured_of_a_request_whatever_class_it_has():
    class Chat:
        messages = ({"role": "user", "content": "four"},)
        max_tokens = 3

    assert body_of([Chat()]) == {"messages": [{"role": "user", "content": "four"}], "max_tokens": 3}
    assert body_of([{"prompt": "x", "model": "m"}]) == {"prompt": "x"}
    assert body_of([{"a": 1}]) is None
    assert body_of([]) is None


@pytest.mark.parametrize(
    "wrong",
    [{"snapshot": "a"}, {"snapshot": 1, "trust": "b"}, {"snapshot": "a", "trust": "b", "x": 1},
     {"snapshot": "a", "trust": "b", "poll_s": 0}, {"snapshot": "a", "trust": "b", "engine": "c"}],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(AdapterError):
        RouterSettings.read(wrong)
