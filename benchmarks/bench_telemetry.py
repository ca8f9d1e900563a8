"""How fast requests become segments on one core, how small they are, and how fast they are read.

Run by `make bench-telemetry`. The writer is given columns, as the daemon gives them; the collector
is given the JSON lines of a gateway; reading is all columns of all rows, digests checked. Each
figure is the median of the repetitions, in processor time and in wall time of one process; what
was asked of the collector is 50,000 records a second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from telemetry import generate, load_profile
from telemetry.request_rows import base64_of, parse_lines
from telemetry.requests import Requests
from telemetry.segments import Collector, SegmentLimits, SegmentWriter, read, trace_of

ASKED = 50_000
BLOCK_TOKENS, MOST_BLOCKS = 64, 256
BATCH = 500  # rows that a process appends at once


def main() -> None:
    """Write, collect and read the same requests, and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--profile", default="azure2023_conv")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    lines = lines_of(options.profile, options.requests, options.seed)
    text = "\n".join(lines) + "\n"
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(f"{len(lines):,} requests of {options.profile}, seed {options.seed}, "
          f"{len(text) / len(lines):.0f} bytes a line of the log; {machine}")  # fmt: skip
    requests = parse_lines(lines).requests
    print(f"{np.diff(requests.block_offsets).mean():.1f} block hashes a request\n")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "requests.jsonl").write_text(text)
        for name, run in (
            ("writer alone", lambda to: wrote(to, requests)),
            ("JSON lines to segments", lambda to: collected(to, work / "requests.jsonl")),
        ):
            show(name, measured(run, work, options.repetitions), len(lines))
        held = next(work.glob("held*0"))
        size = sum(path.stat().st_size for path in held.glob("*.parquet"))
        show("read", measured(lambda _: read(held), work, options.repetitions), len(lines))
        found = read(held)
        show("trace_of", measured(lambda _: trace_of(found), work, options.repetitions), len(found))
        assert len(found) == len(lines)
        print(f"\n{size / len(lines):.1f} bytes a record in segments, {len(text) / size:.1f} times "
              f"smaller than the log; asked: {ASKED:,} a second")  # fmt: skip


def lines_of(profile: str, count: int, seed: int) -> list[str]:
    """The log of a gateway in front of such traffic, sessions and block hashes included."""
    trace = generate(load_profile(profile), n=count, seed=seed)
    random = np.random.default_rng(seed)
    opening = [random.bytes(8) for _ in range(MOST_BLOCKS)]
    return [line(trace, row, random, opening) for row in range(count)]


def line(trace, row: int, random: np.random.Generator, opening: list[bytes]) -> str:  # noqa: ANN001
    """One line; a third of a prompt is what many begin with, the rest is its own."""
    prompt, output = int(trace.prompt_tokens[row]), int(trace.output_tokens[row])
    blocks = min(prompt // BLOCK_TOKENS, MOST_BLOCKS)
    hashes = [*opening[: blocks // 3], *(random.bytes(8) for _ in range(blocks - blocks // 3))]
    ttft_s, e2e_s = float(random.exponential(0.3)), float(0.3 + 0.02 * output)
    return json.dumps({
        "arrived_unix_s": 1.7e9 + float(trace.arrival_s[row]), "endpoint": "chat",
        "outcome": "ok", "status": 200, "stream": True, "prompt_tokens": prompt,
        "output_tokens": output, "usage": True, "tenant": int(random.integers(50)) << 55,
        "session": int(random.integers(2**62)), "attempts": 1,
        "instance_id": int(random.integers(16)), "sequence": 12, "digest": "3f" * 32,
        "waited_s": ttft_s / 9, "ttft_s": ttft_s, "e2e_s": ttft_s + e2e_s, "arm": "",
        "compared": "", "online": True, "prefix": int(random.integers(2**62)),
        "prefix_tokens": 128, "decision": f"3f5b2c1d-{row}", "turn": 0, "max_output_tokens": 1024,
        "prompt_estimate_tokens": prompt, "cached_tokens": 0, "weight": 1.0,
        "last_token_s": ttft_s + e2e_s, "block_tokens": BLOCK_TOKENS,
        "blocks": base64_of(hashes),
    }, separators=(",", ":"))  # fmt: skip


def wrote(folder: Path, requests: Requests) -> None:
    """All rows appended in batches, ticking as if 5,000 came each second."""
    batches = [requests.take(np.arange(at, min(at + BATCH, len(requests))))
               for at in range(0, len(requests), BATCH)]  # fmt: skip
    with SegmentWriter(folder, SegmentLimits()) as writer:
        for place, batch in enumerate(batches):
            writer.append(batch)
            writer.tick(time.time() + place * BATCH / 5000)


def collected(folder: Path, log: Path) -> None:
    """A whole log tailed, as a collector does that was started late."""
    with SegmentWriter(folder, SegmentLimits()) as writer:
        collector = Collector(writer, [log])
        while collector.poll():
            pass
        collector.close()


def measured(
    run: Callable[[Path], object], work: Path, repetitions: int
) -> list[tuple[float, float]]:
    """Processor and wall seconds of each repetition, in a folder of its own."""
    found = []
    for number in range(repetitions):
        to = Path(tempfile.mkdtemp(dir=work)) / f"{number}"
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        run(to)
        found.append((time.process_time() - cpu_s, time.perf_counter() - wall_s))
        if to.exists():
            to.rename(work / f"held{len(list(work.iterdir()))}0")
    return found


def show(name: str, times: list[tuple[float, float]], rows: int) -> None:
    """A line of the table."""
    cpu_s, wall_s = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{name:<24}{rows / cpu_s:>12,.0f} a second of processor time"
          f"{rows / wall_s:>12,.0f} a second of wall time", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
