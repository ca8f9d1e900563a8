"""Reads the latency and length histograms of vLLM and SGLang from Prometheus text, numbers only.

Five families count: time to first token, time per output token (or inter-token latency), end-to-end
latency, prompt tokens and generation tokens. Series of one family are added up over their labels;
labels other than `le` are not looked at and nothing of the text is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from telemetry.engine_signals import PREFIXES
from telemetry.errors import ReadError, RowError
from telemetry.metrics_page import Sample, label, samples, to_number

Floats = NDArray[np.float64]

MOST_BYTES = 16 * 2**20
MOST_BUCKETS = 512
FAMILIES = {
    "ttft_s": ("vllm:time_to_first_token_seconds", "sglang:time_to_first_token_seconds"),
    "tpot_s": (
        "vllm:request_time_per_output_token_seconds",
        "vllm:time_per_output_token_seconds",
        "vllm:inter_token_latency_seconds",
        "sglang:inter_token_latency_seconds",
        "sglang:time_per_output_token_seconds",
    ),
    "e2e_s": ("vllm:e2e_request_latency_seconds", "sglang:e2e_request_latency_seconds"),
    "prompt_tokens": ("vllm:request_prompt_tokens", "sglang:prompt_tokens_histogram"),
    "output_tokens": ("vllm:request_generation_tokens", "sglang:generation_tokens_histogram"),
}
_PARTS = ("bucket", "sum", "count")
_WANTED = frozenset(f"{n}_{part}" for names in FAMILIES.values() for n in names for part in _PARTS)
_BY_REQUEST = FAMILIES["tpot_s"][0]
_REMEDY = "scrape the engine's /metrics again"


@dataclass(frozen=True, slots=True)
class Counts:
    """One histogram.

    Attributes:
        bounds: ascending upper bounds, the last one infinite, shape (b,).
        cumulative: observations up to each bound, shape (b,).
        total: sum of all observations.
    """

    bounds: Floats
    cumulative: Floats
    total: float

    @property
    def count(self) -> float:
        """Observations."""
        return float(self.cumulative[-1])

    @property
    def mean(self) -> float:
        """Mean observation; NaN without any."""
        return self.total / self.count if self.count else math.nan

    def quantile(self, share: float) -> float:
        """Linear within a bucket, as Prometheus does; the last finite bound above it."""
        wanted = share * self.count
        k = int(np.searchsorted(self.cumulative, wanted, side="left"))
        if k >= len(self.bounds) - 1:
            return float(self.bounds[-2])
        low = float(self.bounds[k - 1]) if k else 0.0
        before = float(self.cumulative[k - 1]) if k else 0.0
        inside = float(self.cumulative[k]) - before
        return low + (float(self.bounds[k]) - low) * (wanted - before) / max(inside, 1e-12)

    def since(self, earlier: Counts) -> Counts:
        """What was observed after an earlier scrape of the same engine."""
        if self.bounds.shape != earlier.bounds.shape or (self.bounds != earlier.bounds).any():
            raise ReadError("The two scrapes have different buckets; scrape one engine twice.")
        more = self.cumulative - earlier.cumulative
        if (more < 0).any() or (np.diff(more) < 0).any() or self.total < earlier.total:
            raise ReadError("The engine restarted between the scrapes; scrape it twice in one run.")
        return Counts(self.bounds, more, self.total - earlier.total)


@dataclass(frozen=True, slots=True)
class EngineHistograms:
    """The five histograms of one engine.

    Attributes:
        per_token: `tpot_s` counts every token's gap; otherwise it counts each request's mean gap.
    """

    ttft_s: Counts
    tpot_s: Counts
    e2e_s: Counts
    prompt_tokens: Counts
    output_tokens: Counts
    per_token: bool = False

    @property
    def requests(self) -> int:
        """Requests that ended."""
        return int(self.e2e_s.count)

    def since(self, earlier: EngineHistograms) -> EngineHistograms:
        """What happened after an earlier scrape."""
        if self.per_token != earlier.per_token:
            raise ReadError("The two scrapes are of different engines; scrape one engine twice.")
        parts = {n: getattr(self, n).since(getattr(earlier, n)) for n in FAMILIES}
        return EngineHistograms(**parts, per_token=self.per_token)


def read_histograms(path: str | Path) -> EngineHistograms:
    """Read one scrape.

    Raises:
        ReadError: unreadable, too large, or a histogram is missing or empty.
        RowError: a malformed sample, with its line.
    """
    file = Path(path)
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ReadError(f"{file.name} is larger than {MOST_BYTES >> 20} MiB; {_REMEDY}.")
        text = file.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise ReadError(f"{file.name} cannot be read: {error.strerror}; check the path.") from None
    return whole(file.name, families_of(text, file.name))


@dataclass(frozen=True, slots=True)
class Families:
    """Those of the five histograms that a page has, by field of `EngineHistograms`."""

    counts: Mapping[str, Counts]
    per_token: bool


def families_of(page: str, where: str = "the page") -> Families:
    """The histograms of a page; a family that is absent stays so.

    Raises:
        ReadError: a histogram contradicts itself; RowError: a malformed sample, with its line.
    """
    found = _samples(where, page)
    chosen = {
        field: next((n for n in names if n in found), None) for field, names in FAMILIES.items()
    }
    counts = {field: _counts(where, n, found[n]) for field, n in chosen.items() if n is not None}
    return Families(counts, chosen["tpot_s"] != _BY_REQUEST)


def whole(where: str, families: Families) -> EngineHistograms:
    """All five histograms.

    Raises:
        ReadError: one is missing.
    """
    for field, names in FAMILIES.items():
        if field not in families.counts:
            raise ReadError(
                f"{where} has no {names[-2]}; give the /metrics text of a vLLM or SGLang server."
            )
    return EngineHistograms(**families.counts, per_token=families.per_token)


def added(parts: Sequence[Counts]) -> Counts:
    """Several histograms over the same buckets as one.

    Raises:
        ReadError: their buckets differ, or there is none.
    """
    if not parts or any(not np.array_equal(one.bounds, parts[0].bounds) for one in parts):
        raise ReadError("The engines count in different buckets; take them apart by version.")
    cumulative = np.sum([one.cumulative for one in parts], axis=0)
    return Counts(parts[0].bounds, cumulative, sum(one.total for one in parts))


class _Series:
    """Samples of one family, added up over labels."""

    def __init__(self) -> None:
        self.buckets: dict[float, float] = {}
        self.sum = 0.0
        self.count = 0.0


def _samples(where: str, page: str) -> dict[str, _Series]:
    found: dict[str, _Series] = {}
    for sample in samples(page, _WANTED, PREFIXES):
        family, _, part = sample.name.rpartition("_")
        _add(where, found.setdefault(family, _Series()), part, sample)
    return found


def _add(where: str, series: _Series, part: str, sample: Sample) -> None:
    if not 0.0 <= sample.value < 1e15:
        raise RowError(where, sample.line, "a value is no number from zero", _REMEDY)
    if part == "sum":
        series.sum += sample.value
    elif part == "count":
        series.count += sample.value
    else:
        edge = to_number(label(sample.labels, "le") or "")
        if math.isnan(edge) or edge < 0:
            raise RowError(where, sample.line, "a bucket has no bound", _REMEDY)
        series.buckets[edge] = series.buckets.get(edge, 0.0) + sample.value
        if len(series.buckets) > MOST_BUCKETS:
            raise RowError(where, sample.line, f"there are over {MOST_BUCKETS} buckets", _REMEDY)


def _counts(where: str, name: str, series: _Series) -> Counts:
    bounds = np.array(sorted(series.buckets))
    counts = np.array([series.buckets[bound] for bound in bounds])
    if len(bounds) < 3 or not math.isinf(bounds[-1]) or (np.diff(counts) < 0).any():
        raise ReadError(f"{where}: the buckets of {name} do not add up; {_REMEDY}.")
    if counts[-1] != series.count:
        raise ReadError(f"{where}: {name} counts differ from its buckets; {_REMEDY}.")
    return Counts(bounds, counts, series.sum)
