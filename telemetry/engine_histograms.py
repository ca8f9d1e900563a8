"""Reads the latency and length histograms of vLLM from Prometheus text, numbers only.

Five families count: time to first token, time per output token (or inter-token latency), end-to-end
latency, prompt tokens and generation tokens. Series of one family are added up over their labels;
labels other than `le` are not looked at and nothing of the text is kept.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from telemetry.errors import ReadError, RowError

Floats = NDArray[np.float64]

MOST_BYTES = 16 * 2**20
MOST_BUCKETS = 512
FAMILIES = {
    "ttft_s": ("vllm:time_to_first_token_seconds",),
    "tpot_s": (
        "vllm:request_time_per_output_token_seconds",
        "vllm:time_per_output_token_seconds",
        "vllm:inter_token_latency_seconds",
    ),
    "e2e_s": ("vllm:e2e_request_latency_seconds",),
    "prompt_tokens": ("vllm:request_prompt_tokens",),
    "output_tokens": ("vllm:request_generation_tokens",),
}
_SAMPLE = re.compile(
    r"(vllm:[a-z_0-9]+)_(bucket|sum|count)(\{[^{}]*\})? (\S+)(?: -?\d+)?\s*\Z", re.ASCII
)
_BOUND = re.compile(r'[{,]le="([^"]*)"', re.ASCII)
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
    samples = _samples(file.name, text)
    parts = {field: _family(file.name, samples, names) for field, names in FAMILIES.items()}
    return EngineHistograms(**parts, per_token=FAMILIES["tpot_s"][0] not in samples)


class _Series:
    """Samples of one family, added up over labels."""

    def __init__(self) -> None:
        self.buckets: dict[float, float] = {}
        self.sum = 0.0
        self.count = 0.0


def _samples(where: str, text: str) -> dict[str, _Series]:
    wanted = {name for names in FAMILIES.values() for name in names}
    found: dict[str, _Series] = {}
    for line, row in enumerate(text.splitlines(), 1):
        if not row.startswith("vllm:"):
            continue
        match = _SAMPLE.match(row)
        if match is None or match[1] not in wanted:
            if any(row.startswith((f"{n}_bucket", f"{n}_sum", f"{n}_count")) for n in wanted):
                raise RowError(where, line, "the sample is malformed", _REMEDY)
            continue
        _add(where, line, found.setdefault(match[1], _Series()), match)
    return found


def _add(where: str, line: int, series: _Series, match: re.Match[str]) -> None:
    value = _value(where, line, match[4])
    if match[2] == "sum":
        series.sum += value
    elif match[2] == "count":
        series.count += value
    else:
        bound = _BOUND.search(match[3] or "")
        if bound is None:
            raise RowError(where, line, "a bucket has no bound", _REMEDY)
        edge = math.inf if bound[1] == "+Inf" else _value(where, line, bound[1])
        series.buckets[edge] = series.buckets.get(edge, 0.0) + value
        if len(series.buckets) > MOST_BUCKETS:
            raise RowError(where, line, f"there are over {MOST_BUCKETS} buckets", _REMEDY)


def _value(where: str, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < 1e15:
        raise RowError(where, line, "a value is no number from zero", _REMEDY)
    return value


def _family(where: str, samples: dict[str, _Series], names: tuple[str, ...]) -> Counts:
    series = next((samples[name] for name in names if name in samples), None)
    if series is None:
        raise ReadError(f"{where} has no {names[-1]}; give the /metrics text of a vLLM server.")
    bounds = np.array(sorted(series.buckets))
    counts = np.array([series.buckets[bound] for bound in bounds])
    if len(bounds) < 3 or not math.isinf(bounds[-1]) or (np.diff(counts) < 0).any():
        raise ReadError(f"{where}: the buckets of {names[-1]} do not add up; {_REMEDY}.")
    if counts[-1] != series.count:
        raise ReadError(f"{where}: {names[-1]} counts differ from its buckets; {_REMEDY}.")
    return Counts(bounds, counts, series.sum)
