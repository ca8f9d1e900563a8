"""The debug mode finds what is broken: a running simulation is damaged, and it must say what."""

from pathlib import Path

import pytest
import small_worlds as worlds

from sandbox.kernel import state
from sandbox.kernel.invariants import BROKEN
from sandbox.kernel.program import Program
from sandbox.replay import default_policy
from sandbox.simulation import _complaint

HERE = Path(__file__).parent


def busy():
    """A simulation in the middle of its work: something runs, and a cache holds something."""
    for seed in range(1000):
        sim = worlds.prepared(worlds.world(seed, mode="open", capacity=None), default_policy())
        program = Program(sim)
        if not program.start():
            continue
        while program.run(1):
            instances = program.sim.instances
            if instances["running"].max() >= 2 and instances["blocks_cached"].max() > 0:
                return program
    raise AssertionError("no world gets busy")


def busiest(sim):
    return sim.instances[int(sim.instances["running"].argmax())]


def caching(sim):
    return int(sim.instances["blocks_cached"].argmax())


def first_running(sim):
    return sim.requests[busiest(sim)["run_head"]]


DAMAGE = {
    101: lambda sim: sim.totals["finished"].__iadd__(1),
    102: lambda sim: sim.totals["outstanding"].__isub__(100),
    103: lambda sim: first_running(sim).__setitem__("state", state.QUEUED),
    104: lambda sim: sim.totals["held"].__isub__(1),
    202: lambda sim: sim.requests["finish"].__setitem__(sim.requests["state"] == state.RUNNING, 1),
    203: lambda sim: sim.router_seen.__setitem__((0, 0), 10**18),
    301: lambda sim: busiest(sim).__setitem__("blocks_total", 1),
    302: lambda sim: busiest(sim).__setitem__("max_seqs", 1),
    303: lambda sim: busiest(sim)["bins"].__setitem__(0, 50),
    304: lambda sim: sim.gpus["instance"].__setitem__(slice(None), -1),
    305: lambda sim: sim.pools["free"].__iadd__(1),
    306: lambda sim: sim.instances["blocks_cached"].__setitem__(caching(sim), 10**6),
    310: lambda sim: busiest(sim).__setitem__("blocks_used", busiest(sim)["blocks_used"] - 1),
}


@pytest.mark.parametrize("number", DAMAGE)
def test_damage_is_named(number):
    program = busy()
    DAMAGE[number](program.sim)
    program.run(1)
    assert program.sim.totals["broken"][0] == number


def test_a_run_that_breaks_a_law_says_which_and_what_to_do():
    words = _complaint(301, 17)
    assert BROKEN[301] in words
    assert "17 events" in words
    assert "report it" in words
