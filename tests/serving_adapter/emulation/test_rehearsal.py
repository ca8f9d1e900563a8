"""A swap between two real policies under load over emulated engine processes."""

from functools import partial

from serving_adapter.activation import prepare_policy
from serving_adapter.emulation.fleet import EngineSpec
from serving_adapter.emulation.load import LoadRequest
from serving_adapter.emulation.rehearsal import rehearse

ONE_ENGINE = '''
"""Everything to the first row by id."""


def route(request, instances, memory):
    lowest = instances[0].id
    for inst in instances:
        lowest = min(lowest, inst.id)
    return lowest
'''
SPREAD = '''
"""Fewest requests queued and running."""


def route(request, instances, memory):
    best, fewest = instances[0].id, INF
    for inst in instances:
        load = inst.queued_requests + inst.running_requests
        if load < fewest:
            best, fewest = inst.id, load
    return best
'''


async def test_law_8_a_swap_under_load_loses_nothing_and_takes_effect():
    requests = [LoadRequest(0.1 * index, 300, 12) for index in range(40)]
    swapped = []
    report = await rehearse(
        requests,
        ONE_ENGINE,
        SPREAD,
        specs=[EngineSpec(time_scale=8.0)] * 2,
        prepare=partial(prepare_policy, engine="interpreted"),
        on_swap=lambda: swapped.append(True),
    )
    under = {
        policy: {one.instance for one in report.served if one.policy == policy}
        for policy in (report.before.policy, report.after.policy)
    }
    assert (report.failed, swapped) == (0, [True])
    assert len(report.served) > 80  # requests kept coming while the second policy was made ready
    assert {one.policy for one in report.served[-40:]} == {report.after.policy}
    assert list(under.values()) == [{0}, {0, 1}]
    assert report.before.ttft_p95_s > 0
