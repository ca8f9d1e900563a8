"""What a plan changes, and in which order: pure functions, checked over generated fleets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import contract
from sandbox.records import new_rows
from serving_adapter.actuators.difference import difference, waves
from serving_adapter.actuators.replicas import (
    ALL_LENGTHS,
    PoolSpec,
    Replica,
    ReplicaSpec,
    Shape,
    duties_of,
    specs_of,
)
from serving_adapter.errors import PlanRefused

SPECS = st.builds(
    lambda pool, tp, role, low: ReplicaSpec(
        shape=Shape(pool=pool, tp=tp), role=role, length_low_tokens=low
    ),
    st.integers(0, 1),
    st.sampled_from([1, 2]),
    st.sampled_from([contract.MIXED, contract.PREFILL, contract.DECODE]),
    st.sampled_from([0, 1000]),
)
STATES = st.sampled_from([(True, False), (True, False), (False, False), (False, True)])
FLEETS = st.lists(st.tuples(SPECS, STATES), max_size=6).map(
    lambda rows: [
        Replica(name=f"r{number}", spec=spec, ready=ready, failed=failed)
        for number, (spec, (ready, failed)) in enumerate(rows)
    ]
)
PLANS = st.lists(SPECS, max_size=6)


def specs_after(found):
    return [*(r.spec for r in found.keep), *(c.spec for c in found.change), *found.start]


@given(FLEETS, PLANS, st.booleans())
def test_every_replica_has_one_fate_and_every_entry_one_replica(present, wanted, flips):
    found = difference(present, wanted, flips=flips)
    fates = [*found.keep, *(c.replica for c in found.change), *found.stop]
    assert sorted(r.name for r in fates) == sorted(r.name for r in present)
    assert sorted(map(repr, specs_after(found))) == sorted(map(repr, wanted))
    assert all(r in found.stop for r in present if r.failed)
    for change in found.change:
        assert change.replica.spec.shape == change.spec.shape
        assert flips or change.replica.spec.role == change.spec.role
    for spec in found.start:  # nothing is started beside a replica that could be used
        assert not any(r.spec.shape == spec.shape for r in found.stop if flips and not r.failed)


@given(FLEETS, PLANS, st.booleans())
def test_an_equal_plan_changes_nothing_and_the_same_question_has_the_same_answer(
    present, wanted, flips
):
    alive = [replica for replica in present if not replica.failed]
    assert difference(alive, [r.spec for r in reversed(alive)], flips=flips).nothing
    assert difference(present, wanted, flips=flips) == difference(present, wanted, flips=flips)


@given(FLEETS, PLANS, st.integers(0, 8), st.integers(0, 8))
def test_waves_fit_the_pools_and_never_leave_traffic_alone(present, wanted, first, second):
    pools = [PoolSpec(gpu="A", gpus=first), PoolSpec(gpu="B", gpus=second)]
    todo = difference(present, wanted, flips=False)
    there = {replica.name: replica.spec for replica in present}
    serving = {replica.name: replica.spec for replica in present if replica.ready}
    floor = duties_of(serving.values())
    try:
        order = waves(todo, pools)
    except PlanRefused:
        return
    for number, wave in enumerate(order):
        for place, spec in enumerate(wave.start):
            there[f"new {number} {place}"] = serving[f"new {number} {place}"] = spec
            pool = spec.shape.pool
            used = sum(s.shape.gpus for s in there.values() if s.shape.pool == pool)
            assert used <= pools[pool].gpus
        changes = {change.replica.name: change.spec for change in wave.change}
        there |= changes
        serving |= {name: changes[name] for name in changes.keys() & serving.keys()}
        for replica in wave.stop:
            del there[replica.name]
            serving.pop(replica.name, None)
        if number < len(order) - 1:
            assert floor <= duties_of(serving.values())
    assert floor <= duties_of(there.values())
    assert sorted(map(repr, there.values())) == sorted(map(repr, wanted))


ONE, TWO = ReplicaSpec(), ReplicaSpec(shape=Shape(tp=2))


def test_with_room_new_ones_start_first_and_without_it_one_by_one():
    present = [Replica(name="a", spec=ONE), Replica(name="b", spec=ONE)]
    todo = difference(present, [TWO], flips=False)
    roomy = waves(todo, [PoolSpec(gpu="A", gpus=4)])
    tight = waves(todo, [PoolSpec(gpu="A", gpus=3)])
    assert [(len(wave.start), len(wave.stop)) for wave in roomy] == [(1, 2)]
    assert [(len(wave.start), len(wave.stop)) for wave in tight] == [(0, 1), (1, 1)]


@pytest.mark.parametrize(
    ("wanted", "gpus", "word"),
    [([], 4, "nobody"), ([TWO], 2, "lacks"), ([ReplicaSpec(role=contract.DECODE)], 4, "nobody")],
)
def test_what_would_leave_traffic_alone_is_refused(wanted, gpus, word):
    todo = difference([Replica(name="a", spec=ONE)], wanted, flips=False)
    with pytest.raises(PlanRefused, match=word):
        waves(todo, [PoolSpec(gpu="A", gpus=gpus)])


def test_a_plan_record_is_read_as_the_policy_filled_it():
    plan = new_rows(contract.Plan, 1)[0]
    rows = plan["replicas"]
    plan["n_replicas"] = 1
    rows[0]["tp"], rows[0]["pp"], rows[0]["pool"] = 2, 1, 1
    rows[0]["length_high_tokens"], rows[0]["share"] = ALL_LENGTHS, 1.0
    pools = [PoolSpec(gpu="A100"), PoolSpec(gpu="H100")]
    assert specs_of(plan, pools) == (ReplicaSpec(shape=Shape(pool=1, gpu="H100", tp=2)),)
    rows[0]["pool"] = 2
    with pytest.raises(PlanRefused, match="no such"):
        specs_of(plan, pools)
