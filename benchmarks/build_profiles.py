"""Builds sandbox/profiles/tables.json from NVIDIA's measured kernel tables, and reports the fit.

Needs the `profiles` extra (Linux x86-64, Python 3.11 to 3.13); everything runs offline:

    uv run --extra profiles python benchmarks/build_profiles.py              # write the tables
    uv run --extra profiles python benchmarks/build_profiles.py --report     # fit residuals
    uv run --extra profiles python benchmarks/build_profiles.py --overhead   # against serving runs

aiconfigurator-core answers "how long is this forward pass" from kernels timed on real GPUs. Per
configuration this script asks it a few hundred times, fits the integer form that
`sandbox/profiles/profile.py` documents, and keeps what fits into GPU memory.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from aiconfigurator_core.sdk import perf_database
from aiconfigurator_core.sdk.engine import EngineHandle
from numpy.typing import NDArray
from profile_models import MODELS, Model, capacity_tokens, memory
from scipy.optimize import nnls

from sandbox.profiles import Gpu, gpus
from sandbox.profiles.catalog import SCHEMA
from sandbox.profiles.profile import ATTENTION_SHIFT

Floats = NDArray[np.float64]

TABLES = Path(__file__).resolve().parents[1] / "sandbox" / "profiles" / "tables.json"

PS_PER_MS = 1e9

TOKEN_GRID = [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1280, 1536,
              1792, 2048, 2560, 3072, 4096, 5120, 6144, 8192, 10240, 12288, 14336,
              16384]  # fmt: skip
BATCH_GRID = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384,
              448, 512, 640, 768, 1024]  # fmt: skip
CHUNKS = [16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]
PREFIXES = [0, 1024, 4096, 16384, 65536, 131072]
CONTEXTS = [128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072]

SYSTEMS = {"A100": "a100_sxm", "B200": "b200_sxm", "H100": "h100_sxm", "H200": "h200_sxm",
           "L40S": "l40s", "RTX-PRO-6000": "rtx_pro_6000_server"}  # fmt: skip


BACKENDS = ("vllm", "sglang", "trtllm")
# Batch 1 is slower than batch 128 in vLLM's B200 tables for this model, and twice what engines
# measure; SGLang's tables agree with measured serving.
BACKEND_OF = {("B200", "deepseek-v3"): ("sglang", "trtllm")}
PCIE_NOTE = (
    "All-reduce over PCIe was measured on one host and depends on its topology: a served "
    "Qwen3-32B on two RTX PRO 6000 was 13 ms a step slower at batch 128, as if all-reduce took "
    "3 to 4 times as long; on L40S the tables move 2 to 4 GB/s above TP2 and 19 at TP2. "
    "Calibrate first."
)


class Oracle:
    """The measured tables of one (system, model, TP, backend), in milliseconds."""

    def __init__(self, gpu: str, model: Model, tp: int, backend: str) -> None:
        system = SYSTEMS[gpu]
        options = {"tp_size": tp, **model.options}
        self.handle = EngineHandle.compile(model.path, system, backend, **options)
        release = perf_database.resolve_query_version(system, backend, "current")
        self.backend = f"{backend} {release}"
        # A missing table shows at the first question, not when the engine is compiled.
        self.prefill(1024, 0)
        self.decode(32, 1024)

    def prefill(self, chunk: int, prefix: int) -> float:
        """One step with one prefill chunk."""
        return float(self.handle.predict_prefill_latency(1, chunk + prefix, prefix))

    def decode(self, batch: int, context: int) -> float:
        """One decode step whose sequences read `context` cached tokens each."""
        return float(self.handle.decode_step_latency(batch, context, 2))

    def prefill_ops(self, chunk: int, prefix: int = 0) -> list[tuple[str, float, float, str]]:
        """The operators of one prefill step."""
        length = chunk + prefix
        return self.handle.run_static_per_op(batch_size=1, isl=length, osl=1, prefix=prefix)[0]

    def prefill_attention(self, chunk: int, prefix: int) -> float | None:
        """Prefill attention alone, or None where it was measured inside a larger block."""
        found = [op[1] for op in self.prefill_ops(chunk, prefix) if op[0] == "context_attention"]
        return sum(found) if found else None

    def mixed(self, chunk: int, prefix: int, batch: int, context: int) -> float | None:
        """One mixed step from its measured parts, or None where they are not separable."""
        attention = self.prefill_attention(chunk, prefix)
        if attention is None:
            return None
        shared = self.handle.mixed_step_breakdown(chunk, batch, chunk, 2, 0)[1]
        decode = [op[1] for op in self.handle.decode_step_per_op(batch, context, 2)
                  if op[0] == "generation_attention"]  # fmt: skip
        return float(shared + attention + sum(decode))

    def measured_share(self) -> float:
        """Share of the time in operators that were measured, wholly or in part."""
        ops = self.prefill_ops(2048) + self.handle.decode_step_per_op(32, 1024, 2)
        total = sum(op[1] for op in ops)
        return round(sum(op[1] for op in ops if op[3] != "empirical") / total, 3)


def all_reduce_ms(ops: list[tuple[str, float, float, str]]) -> float:
    """Time in all-reduces over the tensor-parallel group."""
    return sum(op[1] for op in ops if op[0].endswith(("_ar", "_ar_1", "_ar_2", "_allreduce")))


def rising(values: Floats) -> Floats:
    """Closest never-falling sequence in relative terms (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in np.log(values):
        mean, count = float(value), 1
        while pools and pools[-1][0] > mean:
            before, size = pools.pop()
            mean, count = (mean * count + before * size) / (count + size), count + size
        pools.append((mean, count))
    return np.exp(np.repeat([m for m, _ in pools], [c for _, c in pools]))


def fit_attention(oracle: Oracle) -> tuple[Floats, Callable[[int, int], float]]:
    """Least squares, relative to the whole step, of prefill attention; ms per token squared.

    Where attention is no operator of its own only its growth with the prefix can be seen, and the
    quadratic term is half the prefix term, because a chunk attends to half of itself on average.
    """
    rows, target = [], []
    separable = oracle.prefill_attention(1024, 0) is not None
    for chunk in CHUNKS:
        alone = oracle.prefill(chunk, 0)
        for prefix in PREFIXES[0 if separable else 1 :]:
            total = oracle.prefill(chunk, prefix)
            part = oracle.prefill_attention(chunk, prefix) if separable else total - alone
            terms = [chunk * prefix, chunk * chunk, chunk, 1.0]
            rows.append([term / total for term in (terms if separable else terms[:1])])
            target.append(max(0.0, part or 0.0) / total)
    found, _ = nnls(np.array(rows), np.array(target))
    found = found[:3] if separable else np.array([found[0], found[0] / 2, 0.0])
    scaled = np.rint(found * PS_PER_MS * 2**ATTENTION_SHIFT)

    def attention(chunk: int, prefix: int) -> float:
        per_token = scaled[0] * prefix + scaled[1] * chunk + scaled[2]
        return float(per_token * chunk / 2**ATTENTION_SHIFT / PS_PER_MS)

    return scaled, attention


def between(grid: list[int]) -> list[int]:
    """The grid and points inside its cells: kernels are fastest at round sizes, steps are not."""
    points = set(grid)
    for left, right in pairwise(grid):
        points |= {left + round(share * (right - left)) for share in (0.05, 0.35, 0.7)}
    return sorted(points)


def hats(grid: list[int], points: list[int]) -> Floats:
    """Weight of every grid value in the piecewise linear value at `points`, (points, grid)."""
    unit = np.eye(len(grid))
    return np.stack([np.interp(points, grid, row) for row in unit], axis=1)


def fit_dense(oracle: Oracle, attention: Callable[[int, int], float]) -> Floats:
    """N in ms on the token grid: a lone prefill less its attention, relative least squares."""
    points = between(TOKEN_GRID)
    total = np.array([oracle.prefill(n, 0) for n in points])
    rest = total - np.array([attention(n, 0) for n in points])
    found, _ = nnls(hats(TOKEN_GRID, points) / total[:, None], rest / total)
    return rising(np.maximum(found, 1e-3))


def fit_decode(oracle: Oracle, capacity: int, limit: int) -> tuple[Floats, Floats]:
    """(D, S) in ms on the batch grid: linear in context, relative least squares, D rising.

    Contexts that fit into KV memory count; the first few always do, to hold the line.
    """
    batches, contexts, times = [], [], []
    for batch in between(BATCH_GRID):
        for index, context in enumerate(CONTEXTS):
            if index < 4 or (context <= limit and batch * context <= capacity):
                batches.append(batch)
                contexts.append(batch * context)
                times.append(oracle.decode(batch, context))
    time = np.array(times)[:, None]
    base = hats(BATCH_GRID, batches) / time
    slope = base * np.array(contexts)[:, None]
    both, _ = nnls(np.hstack([base, slope]), np.ones(len(times)))
    fixed = rising(np.maximum(both[: len(BATCH_GRID)], 1e-3))
    return fixed, nnls(slope, np.maximum(1 - base @ fixed, 0.0))[0]


def build_row(gpu: Gpu, name: str, tp: int, oracle: Oracle, model: Model) -> dict[str, Any]:
    """One line of tables.json."""
    needs = memory(model, tp)
    capacity = capacity_tokens(gpu, tp, needs)
    scaled, attention = fit_attention(oracle)
    base, slope = fit_decode(oracle, capacity, needs.context_limit_tokens)
    notes = [PCIE_NOTE] if tp > 1 and gpu.link.startswith("PCIe") else []
    by_tokens = [all_reduce_ms(oracle.prefill_ops(n)) for n in TOKEN_GRID]
    by_batch = [all_reduce_ms(oracle.handle.decode_step_per_op(b, 1024, 2)) for b in BATCH_GRID]
    if tp > 1 and not any(by_batch):
        notes.append("Decode all-reduce is inside a larger measured block and cannot be scaled.")
    return {
        "gpu": gpu.name, "model": name, "tp": tp, "backend": oracle.backend,
        "weights": model.weights, "kv_cache": model.kv_cache,
        "measured_share": oracle.measured_share(), "notes": notes,
        "kv_bytes_per_token": needs.kv_bytes_per_token, "weight_bytes": needs.weight_bytes,
        "reserve_bytes": needs.reserve_bytes, "kv_capacity_tokens": capacity,
        "attention": [int(a) for a in scaled],
        "prefill_ps": _picoseconds(fit_dense(oracle, attention)), "decode_ps": _picoseconds(base),
        "context_ps": _picoseconds(slope), "all_reduce_tokens_ps": _picoseconds(by_tokens),
        "all_reduce_batch_ps": _picoseconds(by_batch),
    }  # fmt: skip


def _picoseconds(values_ms: Iterable[float]) -> list[int]:
    return [round(float(v) * PS_PER_MS) for v in values_ms]


def find_oracle(gpu: str, name: str, tp: int) -> Oracle | str:
    """The preferred engine's tables, or why no engine has them."""
    reason = ""
    for backend in BACKEND_OF.get((gpu, name), BACKENDS):
        try:
            return Oracle(gpu, MODELS[name], tp, backend)
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error)[:110]
    return reason


def build() -> None:
    """Write tables.json, saying what is left out and why."""
    lines = []
    for gpu in gpus():
        for name, model in MODELS.items():
            for tp in model.degrees:
                where = f"{gpu.name} x {name} x TP{tp}"
                if capacity_tokens(gpu, tp, memory(model, tp)) <= 0:
                    print(f"{where}: left out, does not fit into memory", file=sys.stderr)
                    continue
                oracle = find_oracle(gpu.name, name, tp)
                if isinstance(oracle, str):
                    print(f"{where}: left out, {oracle}", file=sys.stderr)
                    continue
                lines.append(json.dumps(build_row(gpu, name, tp, oracle, model)))
                print(f"{where}: {oracle.backend}", file=sys.stderr)
    head = json.dumps(_head(), indent=1)[:-2]
    TABLES.write_text(head + ',\n "profiles": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")


def _head() -> dict[str, Any]:
    models = {
        name: {"alias": model.alias, "source": model.path,
               "context_limit_tokens": memory(model, model.degrees[0]).context_limit_tokens}
        for name, model in MODELS.items()
    }  # fmt: skip
    package = f"aiconfigurator-core {version('aiconfigurator-core')}"
    rights = "Copyright (c) 2025-2026 NVIDIA CORPORATION & AFFILIATES"
    source = {"package": package, "licence": "Apache-2.0", "copyright": rights}
    return {"schema": SCHEMA, "source": source, "models": models,
            "token_grid": TOKEN_GRID, "batch_grid": BATCH_GRID}  # fmt: skip


def main() -> None:
    """Build by default; `--report` and `--overhead` read the tables that are there."""
    formatter = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    task = parser.add_mutually_exclusive_group()
    task.add_argument("--report", action="store_true", help="print the fit residuals")
    task.add_argument("--overhead", action="store_true", help="compare with measured serving")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if not (chosen.report or chosen.overhead):
        build()
        return
    import profile_residuals  # beside this script; imports it in turn

    (profile_residuals.report if chosen.report else profile_residuals.overhead)()


if __name__ == "__main__":
    main()
