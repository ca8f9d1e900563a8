"""Replays a CSV of your own requests under two policies, from Python.

    python examples/replay_your_trace.py [REQUESTS.csv]

The header is arrived_at,num_prefill_tokens,num_decode_tokens, times in seconds; the other formats
that are known are recognised as well. Without a file, a few hundred made-up requests are used. The
same from a shell:

    evolver replay REQUESTS.csv -p round_robin -p examples/own_policy.py
"""

from __future__ import annotations

import csv
import random
import sys
import tempfile
from pathlib import Path

from evolver import library
from sandbox.cluster import load_cluster
from sandbox.engine import load_policy
from sandbox.replay import at_load, replay
from sandbox.simulation import Setup
from sandbox.verifier import verify
from telemetry import read_trace, summarise

OWN_POLICY = Path(__file__).with_name("own_policy.py")


def main(path: Path) -> None:
    """Print the window, then a line for each policy."""
    trace = read_trace(path)
    print(*summarise(trace).describe(), sep="\n")
    cluster = load_cluster("edge-8b")
    scaled, report = at_load(trace, cluster, 0.8)
    print(report.sentence)
    sources = {"round_robin": library.read("round_robin"), "own_policy": OWN_POLICY.read_text()}
    policies = [(name, load_policy(verify(text, name))) for name, text in sources.items()]
    for result in replay(Setup(scaled, cluster), policies):
        seconds = result.metrics.latencies["e2e_s"]["mean"]
        print(f"{result.policy:<12} {seconds:6.2f} s end to end, mean of {result.requests}")


def made_up(path: Path) -> Path:
    """A few hundred requests at random times."""
    draw = random.Random(1)
    rows = sorted(draw.uniform(0.0, 120.0) for _ in range(400))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("arrived_at", "num_prefill_tokens", "num_decode_tokens"))
        writer.writerows((f"{at:.3f}", draw.randint(50, 3000), draw.randint(5, 500)) for at in rows)
    return path


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else made_up(Path(folder) / "requests.csv"))
