"""The phases of a request are whole: nothing negative, nothing left over, nothing twice."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sandbox.cluster import ClusterSpec
from sandbox.hardware import build_hardware
from sandbox.phases import phase_means
from telemetry.trace import Trace, TraceMeta

CLUSTER = ClusterSpec.model_validate(
    {"model": "Llama-3.1-8B", "pool": [{"gpu": "H100", "count": 1}]}
)
TRACE = Trace.of(
    TraceMeta(name="t"), arrival_s=[0.0, 1.0, 2.0], prompt_tokens=[10, 2000, 9],
    output_tokens=[5, 300, 1],
)  # fmt: skip
seconds = st.floats(0.0, 1e3)


def means(ttft, rest, preempted=(0, 0, 0)):
    ttft = np.array(ttft)
    done = np.array([True, True, False])
    return phase_means(TRACE, build_hardware(CLUSTER), done, ttft, ttft + rest, np.array(preempted))


@given(st.tuples(seconds, seconds), st.tuples(seconds, seconds))
def test_phases_add_up_to_the_mean_end_to_end_time(ttft, rest):
    found = means(ttft, rest)
    parts = [found[f"{name}_mean_s"] for name in ("prefill", "decode", "waiting", "slowed")]
    assert min(parts) >= -1e-9
    assert np.isclose(sum(parts), np.mean(np.add(ttft, rest)))


def test_preemption_is_what_slowed_those_that_were_preempted():
    found = means((1.0, 1.0), (50.0, 1e-3), preempted=(1, 0, 7))
    assert np.isclose(found["preemption_mean_s"], found["slowed_mean_s"])
    assert means((1.0, 1.0), (50.0, 50.0))["preemption_mean_s"] == 0.0
