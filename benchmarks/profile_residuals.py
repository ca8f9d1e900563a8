"""How well the shipped integer profiles reproduce the kernel tables and measured serving.

`build_profiles.py --report` and `--overhead` print from here; needs the `profiles` extra.
"""

from __future__ import annotations

import csv
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np
from build_profiles import PS_PER_MS, Oracle
from profile_models import CONFIGS, MODELS

from sandbox.profiles import Profile, available, load_profile

SAMPLES = CONFIGS.parent / "systems" / "silicon_sample.csv"

BATCHES = [1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256]
CONTEXTS = [128, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768]
PREFILLS = [128, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 16384, 32768]
PREFIXES = [0, 512, 2048, 8192, 16384, 32768, 65536]
MIXED_CHUNKS = [64, 256, 512, 1024, 2048, 8192]
MIXED_BATCHES = [8, 32, 128, 256]
MIXED_CONTEXTS = [256, 1024, 4096]

SERVED = {
    "Qwen/Qwen3-32B": "qwen3-32b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "deepseek-ai/DeepSeek-R1": "deepseek-v3",
}
SERVED_GPU = {"h100_sxm": "H100", "h200_sxm": "H200", "b200_sxm": "B200"}


def decode_errors(profile: Profile, oracle: Oracle) -> Iterator[tuple[bool, float]]:
    """(fits into KV memory, relative error) over batches x contexts."""
    for batch in BATCHES:
        for context in CONTEXTS:
            if context <= profile.context_limit_tokens:
                fits = batch * context <= profile.kv_capacity_tokens
                modelled = profile.step_ps([], batch, batch * context) - profile.step_overhead_ps
                yield fits, _error(modelled, oracle.decode(batch, context))


def prefill_errors(profile: Profile, oracle: Oracle) -> Iterator[float]:
    """Relative error over tokens x prefix, one chunk in the step."""
    for chunk in PREFILLS:
        for prefix in PREFIXES:
            if chunk + prefix <= profile.max_sequence_tokens:
                modelled = profile.step_ps([(chunk, prefix)], 0, 0) - profile.step_overhead_ps
                yield _error(modelled, oracle.prefill(chunk, prefix))


def mixed_errors(profile: Profile, oracle: Oracle) -> Iterator[float]:
    """Relative error of one chunk beside a decode batch, where the tables can be added up."""
    for chunk in MIXED_CHUNKS:
        for prefix in (0, 4096):
            for batch in MIXED_BATCHES:
                for context in MIXED_CONTEXTS:
                    measured = oracle.mixed(chunk, prefix, batch, context)
                    if measured is None or batch * context > profile.kv_capacity_tokens:
                        continue
                    modelled = profile.step_ps([(chunk, prefix)], batch, batch * context)
                    yield _error(modelled - profile.step_overhead_ps, measured)


def report() -> None:
    """Print median / p95 absolute relative errors in percent, per profile and over all."""
    print(f"{'profile':34} {'backend':14} measured  decode       decode, all  prefill      mixed")
    totals: dict[str, list[float]] = defaultdict(list)
    for gpu, model, tp in available():
        profile = load_profile(gpu, model, tp)
        backend = profile.provenance.backend
        oracle = Oracle(gpu, MODELS[model], tp, backend.split()[0])
        decode = list(decode_errors(profile, oracle))
        parts = {
            "decode": [error for fits, error in decode if fits],
            "decode_all": [error for _, error in decode],
            "prefill": list(prefill_errors(profile, oracle)),
            "mixed": list(mixed_errors(profile, oracle)),
        }
        for part, errors in parts.items():
            totals[part] += errors
        share = f"{profile.provenance.measured_share:8.0%}"
        print(f"{profile.key:34} {backend:14} {share}  {_cells(parts.values())}")
    print(f"{'all, median / p95 in %':58} {_cells(totals.values())}")
    print(f"{'all, mean signed in %':58} {_signed(totals.values())}")


def overhead() -> None:
    """Print measured minus modelled time per output token of closed-loop serving runs.

    A run with n users, i prompt and o output tokens is taken as n requests that finish together:
    o decode steps at half-way context, and the prefill of the n - 1 others in between. Only rows
    whose numbers match a shipped profile's are used: the same GPU, TP and weights; the engine
    may differ. Rows say nothing about their host, so a median over many is what counts.
    """
    gaps: dict[tuple[str, ...], list[tuple[float, float]]] = defaultdict(list)
    with SAMPLES.open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            name, gpu = SERVED.get(row["model_path"]), SERVED_GPU.get(row["system"])
            if name is None or gpu is None or row["mode"] != "agg":
                continue
            tp = int(float(row["tp_size"]))
            same_weights = row["precision"] == ("fp8" if name == "deepseek-v3" else "")
            plain = float(row["attention_dp_size"] or 1) == 1
            if not (same_weights and plain) or (gpu, name, tp) not in available():
                continue
            modelled = _closed_loop_ms(load_profile(gpu, name, tp), row)
            key = (gpu, name, f"TP{tp}", row["backend"], row["backend_version"])
            gaps[key].append((float(row["silicon_tpot_ms"]), modelled))
    print("gpu   model          TP   engine                 rows  gap ms/step  relative")
    every = []
    for key, pairs in sorted(gaps.items()):
        gap = statistics.median(measured - modelled for measured, modelled in pairs)
        relative = statistics.median(modelled / measured - 1 for measured, modelled in pairs)
        every += [measured - modelled for measured, modelled in pairs]
        gpu, name, tp, *engine = key
        print(f"{gpu:5} {name:14} {tp:4} {' '.join(engine):22} {len(pairs):4}"
              f"  {gap:11.2f}  {relative:+8.1%}")  # fmt: skip
    print(f"median gap over {len(every)} rows: {statistics.median(every):.2f} ms per step")


def _closed_loop_ms(profile: Profile, row: dict[str, str]) -> float:
    users, prompt, output = (int(float(row[c])) for c in ("batch_size", "isl", "osl"))
    context = users * (prompt + output // 2)
    decode = profile.step_ps([], users, context) - profile.step_overhead_ps
    mixed = profile.step_ps([(prompt, 0)], users, context) - profile.step_overhead_ps
    return (decode + (users - 1) * (mixed - decode) / output) / PS_PER_MS


def _error(modelled_ps: int, measured_ms: float) -> float:
    return modelled_ps / PS_PER_MS / measured_ms - 1.0


def _cells(parts: Iterable[list[float]]) -> str:
    cells = []
    for errors in parts:
        size = np.abs(errors) * 100
        known = f"{np.median(size):4.1f} / {np.percentile(size, 95):4.1f}" if errors else "    -"
        cells.append(f"{known:12}")
    return " ".join(cells)


def _signed(parts: Iterable[list[float]]) -> str:
    return " ".join(f"{100 * np.mean(errors):+4.1f}        " for errors in parts)
