"""What a length predictor would have said of each request of a trace as it came, and how well.

Every request is predicted from those that had ended when it arrived: none that came later, and
none that was still being answered.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from telemetry.output_lengths import OutputLengths
from telemetry.trace import Trace

Floats = NDArray[np.float64]
TOKENS_S, FIRST_S = 0.02, 0.5  # of an answer whose end was not recorded
_NOTHING = (np.nan,) * 5


@dataclass(frozen=True, slots=True, eq=False)
class Foretold:
    """One row a request, NaN where nothing was known yet; see `Prediction` for the columns."""

    mean_tokens: Floats
    relative_error: Floats
    p10_tokens: Floats
    p50_tokens: Floats
    p90_tokens: Floats


class Seen(NamedTuple):
    """What a predictor is told of each request, one array of whole numbers each."""

    class_id: NDArray[Any]
    tenant: NDArray[Any]
    prompt_tokens: NDArray[Any]
    turn: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How good predictions of answers were, over those that there were.

    Attributes:
        share: of the requests that got one.
        rmse, mae: of the mean, and of the median, over the mean length.
        log_sigma: standard deviation of the logarithm of mean over truth.
        bias: sum of the means over the sum of the lengths.
        pinball: mean loss of the three quantiles over the mean length.
        coverage: share of answers within p10 and p90, which would be 0.8.
        rank: Spearman correlation of medians and lengths.
    """

    share: float
    rmse: float
    mae: float
    log_sigma: float
    bias: float
    pinball: float
    coverage: float
    rank: float

    def to_json(self) -> dict[str, float]:
        """Plain numbers."""
        return asdict(self)


def modelled_s(trace: Trace) -> Floats:
    """Seconds that each answer takes where nobody recorded it: half a second, 20 ms a token."""
    return np.asarray(FIRST_S + TOKENS_S * trace.output_tokens, np.float64)


def foretell(
    trace: Trace,
    predictor: OutputLengths,
    took_s: ArrayLike | None = None,
    seen: Seen | None = None,
) -> Foretold:
    """Run a predictor over a trace in the order of time; it goes on learning.

    Args:
        trace: the requests, at their recorded arrivals.
        predictor: as it is before the first one.
        took_s: seconds from arrival to end, ``[n]``; `modelled_s` when left out.
        seen: what it is told of the requests; the trace's own columns when left out.
    """
    ends, known, outputs = _rows(trace, took_s, seen)
    running: list[tuple[float, int]] = []
    said = np.full((len(trace), 5), np.nan)
    for row, arrival_s in enumerate(trace.arrival_s.tolist()):
        while running and running[0][0] <= arrival_s:
            ended = heapq.heappop(running)[1]
            predictor.learn(*known[ended], -1, outputs[ended])
        said[row] = predictor.predict(*known[row]) or _NOTHING
        heapq.heappush(running, (ends[row], row))
    return Foretold(*np.ascontiguousarray(said.T))


def learning(
    trace: Trace,
    predictor: OutputLengths,
    times_s: Iterable[float],
    took_s: ArrayLike | None = None,
    seen: Seen | None = None,
) -> Iterator[None]:
    """Stop at each time, never decreasing, when the predictor has learned what had ended by then.

    The other arguments are those of `foretell`.
    """
    ends, known, outputs = _rows(trace, took_s, seen)
    order: list[int] = np.argsort(ends, kind="stable").tolist()
    at = 0
    for time_s in times_s:
        while at < len(order) and ends[order[at]] <= time_s:
            predictor.learn(*known[order[at]], -1, outputs[order[at]])
            at += 1
        yield


def _rows(
    trace: Trace, took_s: ArrayLike | None, seen: Seen | None
) -> tuple[list[float], list[tuple[int, int, int, int]], list[int]]:
    """When each request ends, what is told of it, and its answer's length."""
    took = modelled_s(trace) if took_s is None else np.asarray(took_s, np.float64)
    ones = np.ones(len(trace), np.int64)
    told = seen or Seen(ones, trace.tenant, trace.prompt_tokens, trace.turn)
    known = list(zip(*(column.tolist() for column in told), strict=True))
    return (trace.arrival_s + took).tolist(), known, trace.output_tokens.tolist()


def accuracy(foretold: Foretold, output_tokens: ArrayLike) -> Accuracy | None:
    """How good it was; None when nothing was foretold."""
    truth = np.asarray(output_tokens, np.float64)
    told = ~np.isnan(foretold.mean_tokens)
    if not told.any():
        return None
    y, mean = truth[told], foretold.mean_tokens[told]
    low, middle, high = (
        column[told] for column in (foretold.p10_tokens, foretold.p50_tokens, foretold.p90_tokens)
    )
    losses = [_pinball(y, q, share) for q, share in ((low, 0.1), (middle, 0.5), (high, 0.9))]
    scale = float(y.mean())
    return Accuracy(
        share=float(told.mean()),
        rmse=float(np.sqrt(np.mean((mean - y) ** 2))) / scale,
        mae=float(np.mean(np.abs(middle - y))) / scale,
        log_sigma=float(np.std(np.log(mean / y))),
        bias=float(mean.sum() / y.sum()),
        pinball=float(np.mean(losses)) / scale,
        coverage=float(np.mean((y >= low) & (y <= high))),
        rank=_rank_correlation(middle, y),
    )


def _pinball(truth: Floats, quantile: Floats, share: float) -> float:
    miss = truth - quantile
    return float(np.mean(np.maximum(share * miss, (share - 1.0) * miss)))


def _rank_correlation(one: Floats, other: Floats) -> float:
    """Pearson's of the ranks, ties at their mean rank; 0 where one is constant."""
    a, b = _ranks(one), _ranks(other)
    spread = float(a.std() * b.std())
    return float(np.mean((a - a.mean()) * (b - b.mean()))) / spread if spread else 0.0


def _ranks(values: Floats) -> Floats:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2.0)[places], np.float64)
