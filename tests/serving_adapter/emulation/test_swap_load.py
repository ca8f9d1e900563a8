"""The load that swaps: what it publishes, and that requests of any door are sent once each."""

import asyncio

import pytest

from serving_adapter.activation import prepare_policy
from serving_adapter.admission import Admission
from serving_adapter.emulation.load import LoadRequest, Served
from serving_adapter.emulation.swap_load import Publisher, send_all, swap_under_load, to_host
from serving_adapter.emulation.swap_policies import FAULTY, SOUND, one_in_three_faulty
from serving_adapter.errors import PolicyUnusable
from serving_adapter.facts import RequestFacts
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable
from serving_adapter.safety.ejection import EjectionKind

REQUESTS = [LoadRequest(0.01 * number, 20 + number, 4) for number in range(30)]


def interpreted(source, parameters=None):
    return prepare_policy(source, parameters, engine="interpreted")


def test_every_third_policy_is_faulty_and_no_two_are_the_same():
    texts = [one_in_three_faulty(turn) for turn in range(1, 25)]
    assert len(set(texts)) == 24
    kinds = ["".join(text.splitlines()[:1]) for text in texts]
    assert set(kinds[2::3]) == {text.splitlines()[0] for text in FAULTY}
    assert {*kinds[0::3], *kinds[1::3]} == {text.splitlines()[0] for text in SOUND}


@pytest.mark.parametrize("source", [*SOUND, *FAULTY], ids=lambda text: text.splitlines()[0])
def test_faulty_ones_go_live_and_only_then_break(new_host, source):
    host = new_host(prepare=interpreted)
    asyncio.run(host.swap(source, 1))
    for number in range(60):
        host.route(RequestFacts(arrived_s=host.now_s(), prompt_tokens=20 + number))
    assert (host.metrics.ejections(EjectionKind.ERROR) == 1) == (source in FAULTY)


async def test_snapshots_rise_while_any_function_sends_the_load(signing_key):
    publisher = Publisher(signing_key)
    host = PolicyHost(
        InstanceTable(), prepare=interpreted, admission=Admission(publisher.trusted)
    )
    host.table.add()

    async def send(request):
        decision = host.route(RequestFacts(arrived_s=host.now_s(), prompt_tokens=10))
        return Served(
            request, 200, decision.instance_id == 0, 0, 0, 4, decision.sequence, decision.digest
        )

    load = send_all(REQUESTS, send)
    report = await swap_under_load(load, publisher, to_host(host), every_s=0.02)
    assert [one.sequence for one in report.snapshots] == [*range(1, len(report.snapshots) + 1)]
    assert host.live.sequence == len(report.snapshots) > 3
    assert [one.request for one in report.served] == REQUESTS
    assert any(snapshot.canary for snapshot in report.snapshots)


async def test_what_the_sender_raises_or_never_answers_is_a_failed_request():
    async def send(request):
        if request.prompt_tokens == 20:
            raise RuntimeError("gone")
        await asyncio.Event().wait()

    served = await send_all(REQUESTS[:3], send, max_wall_s=0.1)
    assert [one.ok for one in served] == [False] * 3


async def test_a_snapshot_that_cannot_be_published_ends_the_load(signing_key):
    ended = asyncio.Event()

    async def load():
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    published = []

    async def publish(snapshot):
        if published:
            raise PolicyUnusable("no")
        published.append(snapshot)

    with pytest.raises(PolicyUnusable):
        await swap_under_load(load(), Publisher(signing_key), publish, every_s=0.01)
    assert ended.is_set()
