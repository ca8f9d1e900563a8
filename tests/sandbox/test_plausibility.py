from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_worlds as worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.cluster import load_cluster
from sandbox.hardware import build_hardware
from sandbox.kernel.state import FINISHED, QUEUED, REJECTED
from sandbox.outcome_bytes import outcome_from_bytes, outcome_length, outcome_to_bytes
from sandbox.plausibility import ImplausibleOutcome, check_outcome
from sandbox.replay import default_policy
from sandbox.simulation import Setup, outcome_at_end, simulate
from telemetry.generator import generate
from telemetry.profile import load_profile

HERE = Path(__file__).parent
HOSTILE = sorted(worlds.HOSTILE)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(HOSTILE))
def test_law_1_an_honest_outcome_is_always_plausible(seed, name):
    world = worlds.world(seed)
    sim = worlds.run(world, worlds.policy(name))
    if sim is not None:
        outcome = outcome_at_end(sim, world.setup)
        check_outcome(outcome, world.setup, build_hardware(world.setup.cluster))


@pytest.fixture(scope="module")
def setup():
    trace = generate(load_profile("azure2023_conv"), n=300, seed=3)
    return Setup(trace, load_cluster("edge-8b"), stop_s=0.8 * trace.span_s)


@pytest.fixture(scope="module")
def outcome(setup):
    return simulate(setup, default_policy(), default_policy())


def test_an_outcome_survives_the_way_through_bytes(setup, outcome):
    data = outcome_to_bytes(outcome, setup.cluster)
    again = outcome_from_bytes(data, len(setup.trace), setup.cluster)
    assert len(data) == outcome_length(len(setup.trace), setup.cluster)
    assert outcome_to_bytes(again, setup.cluster) == data
    check_outcome(again, setup, build_hardware(setup.cluster))


def with_row(outcome, **values):
    """The first finished request changed; a callable is given what was."""
    row = int(np.flatnonzero(outcome.state == FINISHED)[0])
    changed = {}
    for name, value in values.items():
        changed[name] = getattr(outcome, name).copy()
        old = changed[name][row]
        changed[name][row] = value(old) if callable(value) else value
    return replace(outcome, **changed)


def with_total(outcome, name, change):
    totals = np.array([outcome.totals], outcome.totals.dtype)
    totals[name] = change(totals[name])
    return replace(outcome, totals=totals[0])


LIES = {
    "sooner done": lambda o: with_row(o, finish=lambda t: t - (t >> 2)),
    "sooner begun": lambda o: with_row(o, first=lambda t: t >> 1),
    "entered later": lambda o: with_row(o, entered=lambda t: t + 10**11),
    "never came": lambda o: with_row(o, state=0, entered=-1, first=-1, finish=-1),
    "never ended": lambda o: with_row(o, finish=-1),
    "still queued": lambda o: with_row(o, state=QUEUED, finish=-1),
    "rejected unseen": lambda o: with_row(o, state=REJECTED),
    "a state that there is not": lambda o: with_row(o, state=77),
    "a slot that there is not": lambda o: with_row(o, engine=10**6),
    "no slot": lambda o: with_row(o, engine=-1),
    "hidden preemptions": lambda o: with_row(o, preempted=lambda k: k + 1),
    "time beyond the clock": lambda o: with_row(o, finish=2**63 - 1),
    "a run cut short": lambda o: with_total(o, "integrated", lambda t: t - 1),
    "one more finished": lambda o: with_total(o, "finished", lambda k: k + 1),
    "cheaper": lambda o: with_total(o, "price_usd", lambda x: 0.9 * x),
    "dearer": lambda o: with_total(o, "price_usd", lambda x: 1.1 * x),
    "fewer GPUs": lambda o: with_total(o, "gpu_ps", lambda x: 0.9 * x),
    "no number": lambda o: with_total(o, "loading_ps", lambda x: x * np.nan),
    "more lost than there was": lambda o: with_total(o, "blocked_ps", lambda x: x + 1e30),
    "below zero": lambda o: with_total(o, "fuel", lambda k: -k - 1),
    "more cached than asked": lambda o: with_total(o, "cached_tokens", lambda k: k + 2**40),
    "a fault of no kind": lambda o: with_total(
        with_total(o, "faults", lambda k: k + 1), "first_fault", lambda _: 99
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_dishonest_outcome_is_found_out(lie, setup, outcome):
    with pytest.raises(ImplausibleOutcome):
        check_outcome(LIES[lie](outcome), setup, build_hardware(setup.cluster))
