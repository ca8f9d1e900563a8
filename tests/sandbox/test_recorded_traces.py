"""Law 6 on recorded traces: macro-steps equal single steps on each, features and invariants on.

A stretch of every file is run; with EVOLVER_WHOLE_TRACES set, the first MOST requests of it.
"""

import gzip
import io
import itertools
import os
import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_worlds as worlds

from evolver.library import read
from sandbox.capacity import pair
from sandbox.cluster import ClusterSpec, load_cluster
from sandbox.engine import load_policy
from sandbox.replay import default_policy
from sandbox.simulation import Setup
from sandbox.verifier import verify
from telemetry.capacity_readers import read_capacity
from telemetry.readers import read_trace

HERE = Path(__file__).parent
SHARED = HERE.parents[1].parent / "shared" / "traces"
FILES = sorted(path.name for path in SHARED.glob("requests/*"))
WHOLE = "EVOLVER_WHOLE_TRACES" in os.environ
MOST = 20_000

VALUES = '"""Keeps what is deep and was hit."""\n\n\ndef evict(entry, instance, memory):\n'
VALUES += "    return entry.hits / (1.0 + entry.age_s) + 0.001 * entry.depth_tokens\n"


@dataclass(frozen=True)
class Case:
    """How a trace is run, and what must have happened for the run to count.

    Attributes:
        requests: of the stretch.
        rate: requests a second that the stretch is brought to.
        kv: KV of an instance, as a multiple of what the 95th percentile of requests needs.
        policy: of the hostile ones, of the library, or text; the default policy when empty.
        changes: to the tables of the cluster file.
        seen: totals that are above 0 afterwards.
    """

    requests: int = 3000
    rate: float = 8.0
    kv: float = 1.6
    cluster: str = "edge-8b"
    policy: str = ""
    changes: dict[str, Any] = field(default_factory=dict)
    capacity: str = ""
    seen: tuple[str, ...] = ("preemptions",)


PIPELINE = {
    "engine": {"max_pipeline_parallel_size": 2, "max_num_seqs": 32, "length_spread": 0.4},
    "speculation": {"depth": 2, "max_depth": 4}, "finetune": {"share": 0.2, "kv_share": 0.1},
    "replica": [{"pool": 0, "tp": 1, "pp": 2, "count": 2}],
}  # fmt: skip
SAMPLES = {"samples": {"count": 4, "needed": 2, "check_every_tokens": 100}}
CLASSES = {
    "class": [
        {"name": "short", "prompt_max_tokens": 1500, "deadline_s": 1.0, "drop_late": True},
        {"name": "long", "prompt_min_tokens": 4000, "offline": True, "max_hold_s": 60.0},
    ]
}  # fmt: skip
ELASTIC = {
    "pool": [
        {"gpu": "A100", "count": 2},
        {"gpu": "L40S", "count": 2, "elastic": True, "max_count": 6, "provision_s": 5.0},
    ],
    "switch": {"start_s": 2.0, "drain_s": 5.0, "grace_s": 1.0, "detect_s": 0.5},
}  # fmt: skip
CASES = {
    "agentic_coding_weka.tar.gz": Case(500, 2.0, 1.3, "h100-8b", seen=("cached_tokens",)),
    "alibaba_genai_lora.csv.gz": Case(800, 300.0, 1.6, policy="curious"),
    "alibaba_genai_qps.tar.gz": Case(
        3000, 100.0, 3.0, "mixed-8b", "flips", {"tick": {"monitoring_s": 2.0}}, seen=("flips",),
    ),
    "azure2023_code.csv.gz": Case(2000, 8.0, 2.5, "h100-8b", "twists", PIPELINE),
    "azure2023_conv.csv.gz": Case(
        1500,
        changes={"engine": {"preemption": "swap", "max_num_seqs": 16}},
        seen=("preemptions", "swaps"),
    ),
    "lmcache_agent_trace.tar.gz": Case(policy="prefix_affinity", seen=("cached_tokens",)),
    "lmsys_arena_vtc.csv.gz": Case(
        700, 20.0, 2.0, "mixed-8b", "moves", seen=("preemptions", "migrations"),
    ),
    "mooncake_conversation.jsonl.gz": Case(
        1500, 4.0, 1.3, "h100-8b-pd", seen=("transfers", "cached_tokens"),
    ),
    "mooncake_synthetic.jsonl.gz": Case(
        1500, 4.0, 1.3, "h100-8b", VALUES, {"engine": {"scheduler_reserve_full_isl": False}},
        seen=("preemptions", "cached_tokens"),
    ),
    "servegen_diurnal_m-small.jsonl.gz": Case(
        4000, 20.0, 2.0, "edge-8b", "buys", ELASTIC, "skypilot_aws_v100_4node_2023-08.tar.gz",
        seen=("preemptions", "reconfigurations"),
    ),
    "servegen_native_onoff_m-small.tar.gz": Case(
        500, 8.0, 2.0, "h100-8b", "deep", PIPELINE,
    ),
    "servegen_native_reason_deepseek-r1.tar.gz": Case(
        150, 8.0, 2.0, "h100-8b", "prunes", SAMPLES, seen=("preemptions", "samples_pruned"),
    ),
    "servegen_onoff_m-small.jsonl.gz": Case(
        3000, 12.0, 2.0, "edge-8b", "", CLASSES, seen=("preemptions", "rejected"),
    ),
    "servegen_reason_deepseek-r1.jsonl.gz": Case(
        150, 8.0, 2.0, "h100-8b", "curious", SAMPLES, seen=("samples_started",),
    ),
}  # fmt: skip


def head(path, folder, lines):
    """The beginning of a file, so that reading it takes no longer than running it."""
    small = folder / path.name
    if path.name.endswith(".jsonl.gz"):
        with gzip.open(path, "rt") as whole, gzip.open(small, "wt", compresslevel=1) as part:
            part.writelines(itertools.islice(whole, lines))
        return small
    if "weka" not in path.name:
        return path
    with tarfile.open(path) as whole, tarfile.open(small, "w") as part:
        for member in itertools.islice((m for m in whole if m.isfile()), 4):
            part.addfile(member, io.BytesIO(whole.extractfile(member).read()))
    return small


def stretch(name, case, folder):
    """The first requests of a file, brought to the case's rate."""
    path = SHARED / "requests" / name
    trace = read_trace(path if WHOLE else head(path, folder, 2 * case.requests))
    most = MOST if WHOLE else case.requests
    if most < len(trace):
        trace = trace.slice(0.0, float(np.nextafter(trace.arrival_s[most - 1], np.inf)))
    return trace.scale_rate(case.rate * max(trace.span_s, 1.0) / len(trace))


def loaded(name):
    if not name:
        return default_policy()
    text = worlds.HOSTILE.get(name) or (name if "\n" in name else read(name))
    return load_policy(verify(text, "under_test"), engine="interpreted")


def changed(cluster, changes):
    """The cluster with tables of its file replaced, engine settings one by one."""
    asked = cluster.model_dump(by_alias=True) | changes
    asked["engine"] = cluster.engine.model_dump() | changes.get("engine", {})
    return ClusterSpec.model_validate(asked)


def small_world(name, folder):
    case = CASES.get(name, Case())
    trace = stretch(name, case, folder)
    cluster = changed(load_cluster(case.cluster), case.changes)
    capacity = None
    if case.capacity:
        recorded = read_capacity(SHARED / "gpu" / case.capacity)
        from_s = float(recorded.time_s[len(recorded.time_s) // 2])
        capacity = pair(cluster, recorded, "L40S:1").slice(from_s, recorded.span_s)
    needed = np.quantile(trace.prompt_tokens + trace.output_tokens, 0.95) / 16
    setup = Setup(trace, cluster, capacity)
    return case, worlds.World(setup, int(case.kv * needed) + 1)


@pytest.mark.skipif(not FILES, reason="the reference traces are not on this machine")
@pytest.mark.parametrize("name", FILES or ["none"])
def test_law_6_on_a_recorded_trace(name, tmp_path):
    case, small = small_world(name, tmp_path)
    policy = loaded(case.policy)
    found = worlds.run(small, policy)
    single = replace(small, setup=replace(small.setup, macro=False))
    assert worlds.fate(found) == worlds.fate(worlds.run(single, policy))
    assert {key: found.totals[key][0] > 0 for key in case.seen} == dict.fromkeys(case.seen, True)
