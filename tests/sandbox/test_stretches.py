"""A run in stretches is the run in one piece, and who enters decides from its point on only."""

import numpy as np
import planned
import pytest

from sandbox.engine import load_policy
from sandbox.replay import default_policy
from sandbox.simulation import Setup, SimulationError, simulate
from sandbox.stretches import Stretches
from sandbox.verifier import verify

POOL = {"gpu": "H100", "count": 3, "node_size": 1}
QUICK = {"start_s": 2.0, "drain_s": 5.0}
ARRAYS = ("entered", "first", "finish", "state", "engine")


def planner(replicas):
    """Always asked; a plan of so many replicas. It counts in its memory how often it was."""
    hook = "def schedule(window, cluster, plan, new_plan, memory):\n"
    body = f"    memory[1] = memory[1] + 1.0\n    for k in range({replicas}):\n"
    text = f'"""{replicas}."""\n\n\n{planned.ALWAYS}{hook}{body}'
    text += "        add_replica(new_plan, 0, 1, 1, MIXED)\n"
    return load_policy(verify(text), engine="interpreted")


def setup(mode="open"):
    spec = planned.cluster(POOL, replica=[{"pool": 0, "tp": 1, "count": 1}], switch=QUICK)
    return Setup(planned.requests(120, 0.25), spec, mode=mode)


def in_stretches(given, *turns):
    """Each turn: from when on, and who decides; the first from the start."""
    run = Stretches(given, turns[0][1], default_policy())
    for time_s, policy in turns[1:]:
        assert run.run_to(time_s)
        run.enter(policy)
    return run


@pytest.mark.parametrize("mode", ["open", "backlog"])
def test_a_run_in_stretches_is_the_run_in_one_piece(mode):
    policy = planner(2)
    whole = simulate(setup(mode), policy, default_policy())
    run = Stretches(setup(mode), policy, default_policy())
    while run.run_to(run.now_s + 1.0):
        pass
    parts = run.outcome()
    assert all(np.array_equal(getattr(whole, name), getattr(parts, name)) for name in ARRAYS)
    assert whole.totals.tobytes() == parts.totals.tobytes()


def test_who_enters_is_asked_at_the_point_it_enters_at_with_fresh_memory():
    run = in_stretches(setup(), (0.0, planner(1)), (10.0, planner(2)))
    assert run.now_s == 10.0
    assert run.sim.plan[0]["n_replicas"] == 1
    assert run.sim.planner_memory[0].max() == 0.0
    run.run_to(11.0)
    assert (run.sim.plan[0]["n_replicas"], run.sim.planner_memory[0][1]) == (2, 1.0)


def test_nothing_before_an_entry_knows_of_it():
    old = in_stretches(setup(), (0.0, planner(1))).outcome()
    new = in_stretches(setup(), (0.0, planner(1)), (10.0, planner(3))).outcome()
    early = old.first < 10 * 10**12
    assert early.any()
    assert np.array_equal(old.first[early], new.first[early])
    assert new.totals["reconfigurations"] > old.totals["reconfigurations"]


def test_hooks_of_other_scopes_do_not_enter():
    run = in_stretches(setup(), (0.0, planner(1)))
    with pytest.raises(SimulationError, match="planner hooks only; leave out route"):
        run.enter(planned.newest())
