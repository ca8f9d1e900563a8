"""What doors say they fill is what their own code fills, and what is proved with more stays out."""

import asyncio

import pytest
from told_signals import PAGE, rows_of, wrongly_told

from policy_store.snapshot import Approval, SnapshotPolicy
from sandbox import contract
from sandbox.identity import policy_digest
from sandbox.signal_profiles import signal_profile
from serving_adapter.errors import SignalsLacking
from serving_adapter.facts import FactReader
from serving_adapter.instances import InstanceFacts, InstanceTable
from serving_adapter.ray_serve.choosing import Candidate, Chooser
from serving_adapter.safety.limits import UNWATCHED_ARM
from telemetry.engine_signals import parse_signals

BODY = {"messages": [{"role": "user", "content": "word " * 400}], "max_tokens": 50, "user": "ada"}
HEADERS = {"x-session-id": "one"}
DECLARED = InstanceFacts(
    node=0, zone=0, max_num_seqs=64, token_budget=2048, prefill_tokens_per_s=1e4,
    step_base_s=0.01, step_per_seq_s=1e-4, step_per_context_s=1e-7,
)  # fmt: skip
READS_STEPS = """def route(request, instances, memory):
    best, least = HOLD, INF
    for inst in instances:
        if inst.step_base_s < least:
            best, least = inst.id, inst.step_base_s
    return best
"""


STATS = {"running": 3, "waiting": 1, "kv_usage": 0.25, "kv_capacity_tokens": 65536,
         "preemptions": 2, "unix_s": 1.0}  # fmt: skip


def seen_by_gateway(host, facts=None):
    """After two calls of a session and a scrape, while a third runs."""
    engine = host.table.add(facts)
    reader = FactReader()
    for _ in range(3):
        read = reader.read(BODY, HEADERS, host.now_s())
        flight = host.table.dispatch(engine, read, host.now_s())
        for count in (1, 3):
            host.table.tokens(flight, count, host.now_s() + count)
        host.table.scraped(engine, parse_signals(PAGE), host.now_s())
        reader.ended(read, engine, 4)
    host.route(reader.read(BODY, HEADERS, host.now_s()))
    return rows_of(host)


def seen_by_ray_serve(host):
    """The second call of a session, when the replica has reported."""
    chooser = Chooser(host)
    for number in ("first", "second"):
        request = chooser.request(number, BODY, "one")
        chooser.choose(request, [Candidate("replica", 2, STATS, 16)])
        chooser.served(request, "replica")
    return rows_of(host)


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("gateway", seen_by_gateway),
        ("gateway-declared", lambda host: seen_by_gateway(host, DECLARED)),
        ("ray-serve", seen_by_ray_serve),
    ],
)
def test_a_door_fills_what_its_profile_says_and_nothing_else(new_host, name, seen):
    profile = signal_profile(name)
    table = InstanceTable(counts_flights=name != "ray-serve")
    host = new_host(engines=0, table=table, limits=UNWATCHED_ARM)
    asyncio.run(host.swap("first", 1))
    assert wrongly_told(profile, seen(host)) == []


def measured(text, signals):
    digest = policy_digest(text, {}, contract.CONTRACT_VERSION)
    approved = Approval("ada", "a" * 64)
    return SnapshotPolicy(digest, text, {}, contract.CONTRACT_VERSION, approved, signals)


async def test_a_host_refuses_what_was_proved_with_signals_that_its_door_lacks(
    new_host, snapshot_of, tmp_path
):
    host = new_host(signals=signal_profile("gateway"))
    with pytest.raises(SignalsLacking, match=r"gateway does not tell: Instance\.step_base_s"):
        await host.apply(snapshot_of(1, measured(READS_STEPS, "full")))
    assert host.live.sequence == 0
    with pytest.raises(SignalsLacking, match="not known here"):
        await host.apply(snapshot_of(1, measured(READS_STEPS, "crystal-ball")))
    assert await host.apply(snapshot_of(1, measured(READS_STEPS, "gateway")))


async def test_what_nobody_measured_is_warned_of_and_what_it_reads_decides(
    new_host, snapshot_of, caplog
):
    host = new_host(signals=signal_profile("gateway"))
    assert await host.apply(snapshot_of(1, measured(READS_STEPS, None)))
    assert "Instance.step_base_s" in caplog.text
    declared = new_host(signals=signal_profile("gateway-declared"))
    assert await declared.apply(snapshot_of(1, measured(READS_STEPS, "full")))


async def test_a_canary_with_richer_signals_does_not_keep_the_active_policy_out(
    new_host, snapshot_of
):
    host = new_host(signals=signal_profile("gateway"))
    fine = measured("def route(request, instances, memory):\n    return instances[0].id\n", "full")
    snapshot = snapshot_of(1, fine, canary=(measured(READS_STEPS, "full"), 0.5))
    assert await host.apply(snapshot)
    assert host.live.active is not None
    assert host.live.canary is None
