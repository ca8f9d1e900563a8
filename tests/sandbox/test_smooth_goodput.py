"""Smooth goodput is exact: the kernel's closed form against a reader who takes token by token.

And the two ways of gaming goodput that its paper (arXiv 2410.14257) shows do not raise it: tokens
held back so that they come evenly, and requests given up when they are late.
"""

from dataclasses import replace

import numpy as np
import pytest
import small_worlds as worlds

from sandbox.cluster import ClusterSpec
from sandbox.engine import load_policy
from sandbox.hardware import build_hardware
from sandbox.kernel import state
from sandbox.metrics import measure
from sandbox.plausibility import check_outcome
from sandbox.replay import default_policy
from sandbox.request_spec import SloSpec
from sandbox.simulation import Setup, simulate
from sandbox.verifier import verify
from telemetry.trace import Trace, TraceMeta

PS = state.PS_PER_S


def waited_ps(times, first_due, pace):
    """Picoseconds that a reader waits in all: a late token resets the clock."""
    due, waited = first_due, 0
    for at in times:
        waited += max(at - due, 0)
        due = max(at, due) + pace
    return waited


def tokens_out(sim):
    """How many tokens each request has so far."""
    rows = sim.requests
    out, decoding = rows["done"].astype(np.int64), rows["decoding"]
    count = sim.instances["count"][rows["instance"][decoding]]
    out[decoding] += count - rows["enter_count"][decoding]
    return out


def token_times(small, loaded):
    """(rows at the end, when each token of each request came out), step by step."""
    times, sim = None, None
    for sim in worlds.stepped(small, loaded):
        times = times or [[] for _ in sim.requests]
        known = np.array([len(row) for row in times])
        for r in np.flatnonzero(tokens_out(sim) > known):
            times[r].append(int(sim.totals["now"][0]))
    return sim, times


def impatient(seed, pace_s):
    small = worlds.world(seed, macro=False)
    slo = SloSpec(ttft_s=0.2, tpot_s=pace_s)
    cluster = small.setup.cluster.model_copy(update={"slo": slo, "samples": None})
    return replace(small, setup=replace(small.setup, cluster=cluster))


WORLDS = ((3, "default"), (5, "moves"), (10, "deep"))


def with_least_room(prepared):
    """As many ends as there may be readers, and one more: they are sorted out all the time."""

    def small(world, loaded):
        sim = prepared(world, loaded)
        return sim._replace(leads=sim.leads[:, : sim.settings[0]["max_seqs"] + 1].copy())

    return small


@pytest.mark.parametrize("room", ["ample", "least"])
@pytest.mark.parametrize(("seed", "name"), WORLDS)
def test_the_closed_form_is_what_a_reader_waits(seed, name, room, monkeypatch):
    if room == "least":
        monkeypatch.setattr(worlds, "prepared", with_least_room(worlds.prepared))
    loaded = default_policy() if name == "default" else worlds.policy(name)
    sim, times = token_times(impatient(seed, 0.01), loaded)
    rows, limits = sim.requests, sim.settings[0]
    done = np.flatnonzero(rows["state"] == state.FINISHED)
    waited = 0
    for r in done:
        pace, entered = int(limits["pace"][rows["class_id"][r]]), int(rows["entered"][r])
        assert len(times[r]) == rows["output"][r]
        assert rows["behind"][r] == max(at - pace * j for j, at in enumerate(times[r]))
        first_due = entered + round(limits["ttft_slo"][rows["class_id"][r]] * PS)
        exact = waited_ps(times[r], first_due, pace)
        assert max(int(rows["behind"][r]) - first_due, 0) == exact
        waited += exact > 0
    assert waited > 0


IN_WAVES = '''"""Lets nobody in while anybody runs, so that no prompt comes between two tokens."""


def admit(request, instance, memory):
    return instance.decoding_requests == 0
'''
GIVES_UP = '''"""Refuses who would have to wait longer than was promised."""

SURE = 0.6

def route(request, instances, memory):
    inst = instances[0]
    ahead = inst.queued_prompt_tokens + inst.prefill_backlog_tokens + request.prompt_tokens
    if ahead > SURE * request.ttft_slo_s * inst.prefill_tokens_per_s:
        return REJECT
    return inst.id
'''


def measured(text, gap_s, pace_s):
    """A hundred prompts that come evenly, under the default policy and under another."""
    cluster = ClusterSpec.model_validate({
        "model": "Llama-3.1-8B", "pool": [{"gpu": "H100", "count": 1}],
        "slo": {"ttft_s": 1.0, "tpot_s": pace_s, "e2e_s": 30.0},
    })  # fmt: skip
    n, hardware = 100, build_hardware(cluster)
    trace = Trace.of(
        TraceMeta(name="even"), arrival_s=np.arange(n) * gap_s, prompt_tokens=np.full(n, 6000),
        output_tokens=np.full(n, 60), span_s=n * gap_s,
    )  # fmt: skip
    setup = Setup(trace, cluster)
    found = []
    for policy in (default_policy(), load_policy(verify(text), engine="interpreted")):
        outcome = simulate(setup, policy, default_policy())
        check_outcome(outcome, setup, hardware)
        found.append(measure(outcome, setup, hardware).flat())
    return found


def test_holding_tokens_back_evens_them_out_and_gains_nothing():
    plain, gamed = measured(IN_WAVES, 0.2, 0.02)
    assert gamed["tpot_p99_s"] < 0.6 * plain["tpot_p99_s"]
    assert gamed["smooth_goodput"] < 0.5 * plain["smooth_goodput"]
    assert gamed["reader_loss_s"] > plain["reader_loss_s"]


def test_giving_requests_up_raises_what_counts_them_and_not_what_readers_lose():
    plain, gamed = measured(GIVES_UP, 0.05, 0.06)
    assert gamed["rejected"] > 10
    assert gamed["goodput_rps"] > 1.2 * plain["goodput_rps"]
    assert gamed["reader_loss_s"] > 1.2 * plain["reader_loss_s"]
