"""Measured serving rows that aiconfigurator-core ships, and what was served to measure them.

`silicon_sample.csv` of the wheel (NVIDIA, Apache-2.0) gives mean time to first token and mean time
per output token of closed-loop runs: so many users, so long prompts and outputs. The rows of
public benchmark runs (their source begins with a date) were made with a published script: ten
prompts per user, lengths uniform from 80 to 100 % of what is named, `max_num_seqs` = users,
8,192 batched tokens, no prefix caching. The others say nothing; ten prompts per user with lengths
within 20 % of what is named is an assumption, and the one that fits best of those tried.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from profile_models import CONFIGS, MODELS, Model

from sandbox.cluster import EngineSpec
from telemetry.trace import Trace, TraceMeta

SAMPLES = CONFIGS.parent / "systems" / "silicon_sample.csv"
GPUS = {"h100_sxm": "H100", "h200_sxm": "H200", "b200_sxm": "B200"}
BATCHED_TOKENS = 8192
PROMPTS_PER_USER = 10

META_70B, META_8B = "meta-llama/Meta-Llama-3.1-70B", "meta-llama/Meta-Llama-3.1-8B"
SERVED: dict[tuple[str, str], tuple[str, Model]] = {
    ("meta-llama/Llama-3.1-70B", "fp8"): ("llama-3.1-70b-fp8", MODELS["llama-3.1-70b-fp8"]),
    ("meta-llama/Llama-3.1-70B", "fp4"): (
        "llama-3.1-70b-fp4",
        Model(META_70B, [], [1], {"gemm_quant_mode": "nvfp4", "kvcache_quant_mode": "fp8"},
              "fp8", "fp8"),
    ),
    ("Qwen/Qwen3-32B", ""): ("qwen3-32b", MODELS["qwen3-32b"]),
    ("Qwen/Qwen3-32B", "fp8"): ("qwen3-32b-fp8", MODELS["qwen3-32b-fp8"]),
    ("meta-llama/Llama-3.1-8B-Instruct", ""): ("llama-3.1-8b", MODELS["llama-3.1-8b"]),
    ("nvidia/Llama-3.1-8B-Instruct-FP8", "fp8"): ("llama-3.1-8b-fp8", MODELS["llama-3.1-8b-fp8"]),
}  # fmt: skip
KV_16_BIT = Model(META_70B, [], [1], {"gemm_quant_mode": "fp8"}, "fp8", "bfloat16")
"""The published H100 script leaves the KV format alone, the H200 and B200 ones ask for 8 bits."""

PARAMETERS = {"llama-3.1-70b": 70.6e9, "llama-3.1-8b": 8.0e9, "qwen3-32b": 32.8e9}
FASTEST_SHARE = 0.6
"""More of a GPU's dense peak than serving reaches anywhere else; a model and GPU with a row above
it are left out whole, as mislabelled: their prompts came from the prefix cache, or their users were
spread over more GPUs than the row says."""
FEWEST_ROWS = 4


@dataclass(frozen=True, slots=True)
class Row:
    """One measured run.

    Attributes:
        gpu, model, tp, engine: the system.
        prompt, output: tokens as named; users: in the closed loop.
        low, high: lengths are uniform between these shares of what is named.
        ttft_s, tpot_s: measured means.
    """

    gpu: str
    model: str
    tp: int
    engine: str
    prompt: int
    output: int
    users: int
    low: float
    high: float
    ttft_s: float
    tpot_s: float

    @property
    def system(self) -> tuple[str, str, int]:
        """What one set of terms belongs to."""
        return self.gpu, self.model, self.tp

    @property
    def load(self) -> str:
        """What is asked of the system."""
        return f"{self.prompt}x{self.output} c{self.users}"

    @property
    def e2e_s(self) -> float:
        """Implied by the two means."""
        return self.ttft_s + self.tpot_s * (self.output * (self.low + self.high) / 2 - 1)

    def trace(self) -> Trace:
        """The closed loop: a user's next request comes when the last one has ended."""
        n = self.users * PROMPTS_PER_USER
        draw = np.random.default_rng(0)
        lengths = [
            draw.integers(max(int(m * self.low), 1), int(m * self.high) + 1, n)
            for m in (self.prompt, self.output)
        ]
        number = np.arange(n)
        return Trace.of(
            TraceMeta(name=self.load),
            arrival_s=np.zeros(n), prompt_tokens=lengths[0], output_tokens=lengths[1],
            after=np.where(number >= self.users, number - self.users, -1), span_s=1.0,
        )  # fmt: skip

    def engine_spec(self) -> EngineSpec:
        """How the engine was set."""
        return EngineSpec(
            max_num_batched_tokens=BATCHED_TOKENS,
            max_num_seqs=self.users,
            enable_prefix_caching=False,
        )


def read_rows(engine: str) -> tuple[list[Row], Counter[str]]:
    """Rows that can be replayed, and how many cannot for which reason."""
    rows, left_out = [], Counter[str]()
    with SAMPLES.open(encoding="utf-8") as file:
        for raw in csv.DictReader(file):
            reason = _reason(raw, engine)
            if reason:
                left_out[reason] += 1
            else:
                rows.append(_row(raw))
    doubtful = {(r.gpu, r.model) for r in rows if _peak_share(r) > FASTEST_SHARE}
    count = Counter(r.system for r in rows)
    kept = []
    for row in sorted(rows, key=lambda r: (r.system, r.prompt, r.output, r.users)):
        if (row.gpu, row.model) in doubtful:
            left_out[
                f"{row.model} on {row.gpu}: some need over {FASTEST_SHARE:.0%} of peak, mislabelled"
            ] += 1
        elif count[row.system] < FEWEST_ROWS:
            left_out[f"systems with fewer than {FEWEST_ROWS} rows"] += 1
        else:
            kept.append(row)
    return kept, left_out


def tables_of(gpu: str, name: str) -> Model:
    """Which tables the rows of a model on a GPU need."""
    if (gpu, name) == ("H100", "llama-3.1-70b-fp8"):
        return KV_16_BIT
    return next(model for known, model in SERVED.values() if known == name)


def _reason(raw: dict[str, str], engine: str) -> str:
    if raw["mode"] != "agg":
        return "prefill and decode apart"
    if raw["system"] not in GPUS:
        return "a GPU without a shipped profile"
    if raw["backend"] != engine:
        return f"another engine's scheduler and kernels ({raw['backend']})"
    if (raw["model_path"], raw["precision"]) not in SERVED:
        return "a model without shipped tables"
    if float(raw["attention_dp_size"] or 1) > 1:
        return "attention data-parallel"
    return ""


def _row(raw: dict[str, Any]) -> Row:
    public = raw["silicon_data_source"].startswith("source_file=20")
    return Row(
        gpu=GPUS[raw["system"]], model=SERVED[raw["model_path"], raw["precision"]][0],
        tp=int(float(raw["tp_size"])), engine=raw["backend"],
        prompt=int(raw["isl"]), output=int(raw["osl"]), users=int(float(raw["batch_size"])),
        low=0.8, high=1.0 if public else 1.2,
        ttft_s=float(raw["silicon_ttft_ms"]) / 1e3, tpot_s=float(raw["silicon_tpot_ms"]) / 1e3,
    )  # fmt: skip


def _peak_share(row: Row) -> float:
    """Dense operations per second that the measured times imply, as a share of the GPUs' peak."""
    from sandbox.profiles import load_gpu

    weights = next(n for name, n in PARAMETERS.items() if row.model.startswith(name))
    tokens = (row.prompt + row.output) * (row.low + row.high) / 2
    speed = {"fp8": 2.0, "fp4": 4.0}.get(row.model.rsplit("-", 1)[-1], 1.0)
    peak = row.tp * load_gpu(row.gpu).bf16_flops * speed
    return 2 * weights * tokens * row.users / row.e2e_s / peak


def systems(rows: list[Row]) -> Iterator[tuple[tuple[str, str, int], list[Row]]]:
    """Rows by system, in order."""
    for system in dict.fromkeys(row.system for row in rows):
        yield system, [row for row in rows if row.system == system]
