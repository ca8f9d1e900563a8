"""What Serve's processes wrote, and waiting for what they will do."""

import json
import time
from pathlib import Path


def lines_of(folder):
    """All decisions that the routers of a folder logged, in each one's order."""
    return {
        file.stem: [json.loads(line) for line in file.read_text().splitlines()]
        for file in sorted(Path(folder).glob("decisions-*.jsonl"))
    }


def until(condition, timeout_s=60.0):
    """Wait for what has to come; what it became."""
    end_s = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end_s, "it did not come about"
        time.sleep(0.05)
    return found
