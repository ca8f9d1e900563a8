"""Door 5 in a process of its own: LiteLLM's clients, callbacks and caches are a whole process's."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "litellm" / "router_cases.py"
LONGEST_S = 200


@pytest.mark.skipif(importlib.util.find_spec("litellm") is None, reason="LiteLLM is an extra")
def test_a_policy_picks_the_deployments_of_litellms_router():
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(CASES)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout[-4000:]
