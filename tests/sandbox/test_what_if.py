"""What if: made-up fleets are ones that a policy could see, and sweeps move one signal only."""

import numpy as np
import pytest

from evolver.library import names, read
from sandbox import contract
from sandbox.engine import load_policy
from sandbox.frame import Caller
from sandbox.verifier import verify
from sandbox.what_if import (
    SIGNALS,
    STEPS,
    Case,
    CaseRefused,
    InstanceCase,
    Signal,
    Sweep,
)

CASE = Case((InstanceCase(), InstanceCase(queued_requests=0, running_requests=0, kv_use=0.0)))


@pytest.mark.parametrize("change", [
    {"prompt_tokens": 0}, {"prompt_tokens": float("nan")}, {"age_s": -1.0}, {"class_id": 8},
    {"instances": (InstanceCase(),)}, {"instances": (InstanceCase(),) * 9},
    {"instances": (InstanceCase(), InstanceCase(kv_use=1.5))},
    {"instances": (InstanceCase(), InstanceCase(decode_tokens_per_s=0.0))},
])  # fmt: skip
def test_what_is_out_of_bounds_is_refused(change):
    with pytest.raises(CaseRefused):
        Case(**{"instances": CASE.instances, **change})


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_sweep_moves_one_signal_of_one_instance_from_end_to_end(signal):
    sweep = Sweep(signal, 1)
    values, cases = sweep.values(), sweep.cases(CASE)
    bound = SIGNALS[signal]
    assert len(values) == len(cases) == STEPS
    assert (values[0], values[-1]) == (bound.low, bound.high)
    assert all(case.instances[0] == CASE.instances[0] for case in cases)
    assert [getattr(case.instances[1], signal.value) for case in cases] == list(values)


def test_an_instance_that_there_is_not_cannot_move():
    with pytest.raises(CaseRefused):
        Sweep(Signal.QUEUED, 2).cases(CASE)


def test_rows_are_those_of_engines_with_that_load():
    rows = CASE.instance_rows()
    assert rows["id"].tolist() == [0, 1]
    busy, idle = rows
    assert busy["kv_used_tokens"] == 0.4 * busy["kv_capacity_tokens"]
    assert (idle["context_tokens"], idle["mean_context_tokens"], idle["tenant_count"]) == (0, 0, 0)
    assert np.isnan(idle["tpot_slo_s"])
    hit = Case((InstanceCase(prefix_hit=0.5), InstanceCase()), prompt_tokens=1000)
    assert hit.instance_rows()["cached_prefix_tokens"].tolist() == [496, 0]


@pytest.mark.parametrize("name", [n for n in names() if "def route(" in read(n)])
def test_every_policy_of_the_library_decides_it(name):
    policy = load_policy(verify(read(name)), engine="interpreted", only={"route"})
    memory = np.zeros(contract.MEMORY_SLOTS)
    pick = Caller(policy).route(CASE.request_row(), CASE.instance_rows(), memory)
    assert pick in (0, 1, contract.HOLD, contract.REJECT)
