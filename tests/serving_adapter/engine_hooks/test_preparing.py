"""What a policy passes before its engine hooks may decide."""

import numpy as np
import pytest

from sandbox.policies import default_text
from serving_adapter.engine_hooks.preparing import prepare_engine_policy
from serving_adapter.errors import PolicyUnusable

HEAD = '"""For a test."""\n\n'


def hook(name: str, body: str) -> str:
    first = "instance" if name == "tune" else "request, instance"
    return f"{HEAD}def {name}({first}, memory):\n    {body}\n"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (hook("priority", "return instance.step_time_s"), "needed a number"),
        (hook("priority", "return INF"), "priority gave inf"),
        (hook("priority", "return 1.0 / request.keyed_count"), "priority: it divided by zero"),
        (hook("priority", "memory[1] += 1.0\n    return memory[int(63 * memory[1])]"), "index"),
        (hook("admit", "return memory[request.prompt_tokens] > 0.0"), "admit"),
        (hook("tune", "memory[instance.running_requests] = 1.0"), "tune"),
        ("import os\n", "cannot go live"),
    ],
)
def test_what_faults_on_synthetic_rows_never_goes_live(source, reason):
    with pytest.raises(PolicyUnusable, match=reason):
        prepare_engine_policy(source, engine="interpreted")


def test_the_default_policy_passes_and_starts_with_empty_memory():
    ready = prepare_engine_policy(default_text(), engine="interpreted")
    assert ready.loaded.hooks == {"priority", "admit", "tune"}
    assert ready.router is None
    assert not np.any(ready.memory)
