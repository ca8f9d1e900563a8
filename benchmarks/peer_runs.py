"""How each simulator is run on a directory that holds one trace in every format.

`Runner`s take that directory and give what the process used and what the simulator found: mean
latencies in seconds, requests finished, share of prompt tokens from a cache. Only ours also says
the processor time it took to read and to simulate.
"""

from __future__ import annotations

import csv
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peer_environments import Cost, PeerUnavailable, last_line, run_measured

from sandbox.cluster import ClusterSpec
from sandbox.profiles import load_profile

SEED = 1
GPU, MODEL, ENGINES = "H100", "Llama-3.1-8B", 4
BUDGET, SEATS, BLOCK = 2048, 256, 16
OUR_REPEATS = 20  # one run of ours is too short for a clock
TRACE, VIDUR_TRACE, TABLES = "trace.jsonl", "trace.csv", "steps.npz"

Found = dict[str, float]
Runner = Callable[[Path], tuple[Cost, Found]]


@dataclass(frozen=True)
class Entry:
    """One simulator under one router."""

    name: str
    router: str
    run: Runner


def entries(pythons: dict[str, Path], shared: bool) -> Iterator[Entry]:
    """What can run here.

    Args:
        pythons: interpreters of the peers that are installed.
        shared: whether prompts share prefixes; caching is on in every simulator then, else off.
    """
    yield Entry("ours", "round robin", ours("round_robin", shared))
    yield Entry("ours", "prefix affinity", ours("prefix_affinity", shared))
    if "dynamo" in pythons:
        python = pythons["dynamo"]
        yield Entry("dynamo replay", "round robin", dynamo(python, None, shared))
        yield Entry("dynamo replay", "kv router", dynamo(python, {}, shared))
        own = dynamo(python, None, shared, tables=False)
        yield Entry("dynamo, own timing", "round robin", own)
    if "aisimulate" in pythons:
        yield Entry("aisimulate predict", "its default", aisimulate(pythons["aisimulate"], shared))
    if "vidur" in pythons and not shared:
        yield Entry("vidur", "round robin", vidur(pythons["vidur"]))


def cluster(shared: bool) -> ClusterSpec:
    """Our side of the comparison."""
    return ClusterSpec.model_validate(
        {
            "name": "peers",
            "model": MODEL,
            "pool": [{"gpu": GPU, "count": ENGINES, "node_size": 1}],
            "replica": [{"pool": 0, "tp": 1, "count": ENGINES}],
            "engine": {
                "max_num_batched_tokens": BUDGET,
                "max_num_seqs": SEATS,
                "enable_prefix_caching": shared,
            },
        }
    )


def ours(policy: str, shared: bool) -> Runner:
    """Our simulator; it clocks itself, as a run is shorter than the noise of the start-up."""

    def run(place: Path) -> tuple[Cost, Found]:
        job = {"trace": str(place / TRACE), "policy": policy, "shared": shared}
        cost, printed = run_measured([sys.executable, __file__, json.dumps(job)], Path.cwd())
        return cost, _answer(printed)

    return run


def run_ours(job: dict[str, Any]) -> Found:
    """In a child: read the trace, simulate it, and simulate it again for the clock.

    `reading_s` and `simulating_s` are processor time; the latter is a mean of many runs.
    """
    from evolver.library import read
    from sandbox.engine import load_policy
    from sandbox.hardware import build_hardware
    from sandbox.metrics import measure
    from sandbox.replay import default_policy
    from sandbox.simulation import Setup, simulate
    from sandbox.verifier import verify
    from telemetry.readers import read_trace

    started = time.process_time()
    trace = read_trace(job["trace"], format="mooncake")
    reading_s = time.process_time() - started
    spec = cluster(job["shared"])
    policy = load_policy(verify(read(job["policy"]), job["policy"]), engine="compiled")
    setup = Setup(trace, spec, seed=SEED, stop_s=20.0 * trace.span_s + 3600.0)
    outcome = simulate(setup, policy, default_policy())
    started = time.process_time()
    for _ in range(OUR_REPEATS):
        simulate(setup, policy, default_policy())
    simulating_s = (time.process_time() - started) / OUR_REPEATS
    measured = measure(outcome, setup, build_hardware(spec))
    means = {name: values["mean"] for name, values in measured.latencies.items()}
    return {
        **means,
        "finished": measured.numbers["finished"],
        "cached": measured.numbers["cached_share"],
        "reading_s": reading_s,
        "simulating_s": simulating_s,
    }


def dynamo(
    python: Path, router: dict[str, Any] | None, shared: bool, tables: bool = True
) -> Runner:
    """Dynamo's offline replay, with our step times as its tables, or with its own polynomial."""

    def run(place: Path) -> tuple[Cost, Found]:
        engine: dict[str, Any] = {
            "num_gpu_blocks": load_profile(GPU, MODEL, 1).kv_capacity_tokens // BLOCK,
            "block_size": BLOCK,
            "max_num_seqs": SEATS,
            "max_num_batched_tokens": BUDGET,
            "enable_prefix_caching": shared,
        }
        if tables:
            path = {"path": str(place / TABLES)}
            timing = {"type": "external", "provider": "dynamo_profile", "config": path}
            engine["timing_model"] = timing
        job = {"trace": str(place / TRACE), "engine": engine, "workers": ENGINES, "router": router}
        jobs = place / "jobs.json"
        jobs.write_text(json.dumps([job]), "utf-8")
        script = Path(__file__).with_name("peer_dynamo.py")
        cost, printed = run_measured([str(python), str(script), str(jobs)], place)
        return cost, _answer(printed)

    return run


def aisimulate(python: Path, shared: bool) -> Runner:
    """`aisimulate predict`, with step times from the kernel tables it ships."""

    def run(place: Path) -> tuple[Cost, Found]:
        blocks = load_profile(GPU, MODEL, 1).kv_capacity_tokens // BLOCK
        cache = {
            "block_size": BLOCK,
            "prefix_caching": shared,
            "capacity": {"type": "fixed", "blocks": blocks},
        }
        worker = {
            "parallelism": {"replicas": ENGINES},
            "scheduler": {"max_batched_tokens": BUDGET, "max_sequences": SEATS},
            "kv_cache": cache,
        }
        source = {"type": "trace", "paths": [str(place / TRACE)], "format": "mooncake"}
        settings = {
            "traffic": {"source": source, "load": {"type": "trace_timestamps"}},
            "engine": {
                "mode": "aggregated",
                "model": f"meta-llama/Meta-{MODEL}",
                "hardware": f"{GPU.lower()}_sxm",
                "backend": "vllm",
                "workers": {"aggregated": worker},
            },
        }
        file = place / "predict.yaml"
        file.write_text(json.dumps(settings), "utf-8")  # JSON is YAML
        command = [str(python.with_name("aisimulate")), "predict", "-c", str(file)]
        command += ["--format", "json", "--overwrite"]
        cost, printed = run_measured(command, place)
        return cost, _aisimulate_found(_answer(printed))

    return run


def _aisimulate_found(report: Found) -> Found:
    return {
        "ttft_s": report["mean_ttft_ms"] / 1e3,
        "tpot_s": report["mean_tpot_ms"] / 1e3,
        "e2e_s": report["mean_e2e_latency_ms"] / 1e3,
        "finished": report["completed_requests"],
        "cached": report["prefix_cache_reused_ratio"],
    }


def vidur(python: Path) -> Runner:
    """Vidur with its chunked-prefill scheduler; its step times come from Hugging Face."""
    options = {
        "replica_config_device": GPU.lower(),
        "replica_config_model_name": "meta-llama/Meta-Llama-3-8B",
        "cluster_config_num_replicas": ENGINES,
        "global_scheduler_config_type": "round_robin",
        "replica_scheduler_config_type": "sarathi",
        "sarathi_scheduler_config_chunk_size": BUDGET,
        "sarathi_scheduler_config_batch_size_cap": SEATS,
        "request_generator_config_type": "trace_replay",
        "trace_request_generator_config_prefill_scale_factor": 1,
        "trace_request_generator_config_time_scale_factor": 1,
        "trace_request_generator_config_max_tokens": 131_072,
    }
    off = ("store_plots", "enable_chrome_trace", "write_json_trace")

    def run(place: Path) -> tuple[Cost, Found]:
        command = [str(python), "-m", "vidur.main"]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        command += ["--trace_request_generator_config_trace_file", str(place / VIDUR_TRACE)]
        command += [f"--no-metrics_config_{name}" for name in off]
        cost, _ = run_measured(command, place)
        return cost, vidur_found(place)

    return run


def vidur_found(place: Path) -> Found:
    """Means of the newest `request_metrics.csv` below a directory.

    Raises:
        PeerUnavailable: there is none, or it lacks a column.
    """
    files = sorted(place.rglob("request_metrics.csv"), key=lambda file: file.stat().st_mtime)
    try:
        with files[-1].open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        ttft = [float(row["prefill_e2e_time"]) for row in rows]
        e2e = [float(row["request_e2e_time"]) for row in rows]
        steps = [max(float(row["request_num_decode_tokens"]) - 1.0, 1.0) for row in rows]
    except (IndexError, KeyError, ValueError) as error:
        raise PeerUnavailable("vidur wrote no request metrics that can be read") from error
    tpot = [(end - first) / n for first, end, n in zip(ttft, e2e, steps, strict=True)]
    means = {"ttft_s": ttft, "tpot_s": tpot, "e2e_s": e2e}
    return {
        **{name: statistics.fmean(values) for name, values in means.items()},
        "finished": float(len(rows)),
        "cached": 0.0,
    }


def _answer(printed: str) -> Found:
    """The JSON object of the last line that a child printed."""
    try:
        found = json.loads(printed.strip().splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise PeerUnavailable(f"it printed no result but: {last_line(printed)}") from error
    if not isinstance(found, dict):
        raise PeerUnavailable(f"it printed no result but: {last_line(printed)}")
    return found


if __name__ == "__main__":
    print(json.dumps(run_ours(json.loads(sys.argv[1]))))
