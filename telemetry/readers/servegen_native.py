"""ServeGen's published statistics, one rate file and one length file a client, made into requests.

A rate file has a line per window: start, requests a second, inter-arrival CV, law, shape, scale.
A length file maps window starts to a probability of each length. The shape is used as published;
the scale is set so that the published rate is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from telemetry.arrivals import Family, renewal_times
from telemetry.errors import FormatError, ReadError, RowError
from telemetry.readers.rows import TraceFormat
from telemetry.readers.source import Json, Member, Source
from telemetry.trace import Trace, TraceMeta

WINDOW_S = 600.0
SEED = 0
_PART = re.compile(r"(?:.*/)?chunk-(\d{1,6})-(trace\.csv|dataset\.json)\Z", re.ASCII)
_PAIR = re.compile(r"(?<![0-9.eE+-])([0-9.eE+-]++)\s*+:\s*([0-9.eE+-]+)")
_PIECE = tuple[float, float, Family, float]  # start s, requests/s, law, shape


@dataclass(slots=True)
class _Client:
    pieces: list[_PIECE] = field(default_factory=list)
    lengths: dict[str, list[_Marginal]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Marginal:
    start_s: float
    values: NDArray[np.float64]
    cumulative: NDArray[np.float64]

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        places = np.searchsorted(self.cumulative, rng.random(count) * self.cumulative[-1])
        return np.asarray(self.values[np.minimum(places, len(self.values) - 1)])


def read(
    source: Source, *, seed: int = SEED, start_s: float = 0.0, stop_s: float = float("inf")
) -> Trace:
    """Draw one realisation of the window ``start_s`` to ``stop_s`` from the statistics.

    The same file, seed and window give the same requests; input and output lengths of a client
    are drawn independently, as the statistics are published.
    """
    clients = _clients(source)
    begin = max(start_s, min(piece[0] for client in clients.values() for piece in client.pieces))
    end = min(stop_s, max(piece[0] for client in clients.values()
                          for piece in client.pieces) + WINDOW_S)
    if not begin < end:
        raise ReadError(f"{source.label} has no statistics between {start_s:g} and {stop_s:g} s; "
                        "widen the window.")
    streams = np.random.SeedSequence(seed).spawn(len(clients))
    drawn = [_realise(clients[key], begin, end, np.random.default_rng(stream))
             for key, stream in zip(sorted(clients), streams, strict=True)]
    columns = [np.concatenate([part[at] for part in drawn]) for at in range(3)]
    if not len(columns[0]):
        raise ReadError(f"{source.label} is idle between {begin:g} and {end:g} s; "
                        "choose another window.")
    meta = TraceMeta(
        name=source.name, format=SERVEGEN_NATIVE.name, clock=SERVEGEN_NATIVE.clock,
        notes=("Requests were drawn from published per-client statistics (rate, inter-arrival law, "
               f"length marginals) with seed {seed}; none was recorded.",),
        generated_from=0, source=SERVEGEN_NATIVE.source, licence=SERVEGEN_NATIVE.licence)
    tenant = np.repeat(np.arange(len(drawn)), [len(part[0]) for part in drawn])
    return Trace.of(meta, arrival_s=columns[0] - begin, prompt_tokens=np.maximum(columns[1], 1),
                    output_tokens=np.maximum(columns[2], 1), tenant=tenant, span_s=end - begin)


def _realise(
    client: _Client, begin: float, end: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    pieces = [piece for piece in sorted(client.pieces) if begin <= piece[0] < end]
    arrivals = np.sort(np.concatenate(
        [_times(pieces, "gamma", end, rng), _times(pieces, "weibull", end, rng)]))
    return (arrivals, _lengths(client, "input_tokens", arrivals, rng),
            _lengths(client, "output_tokens", arrivals, rng))


def _times(
    pieces: list[_PIECE], family: Family, end: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Arrivals of the windows that follow one law; the others are idle for it."""
    if not any(piece[2] == family for piece in pieces):
        return np.zeros(0)
    edges: list[float] = []
    rates: list[float] = []
    shapes: list[float] = []
    for start, rate, law, shape in pieces:
        if edges and start > edges[-1]:
            rates.append(0.0)
            shapes.append(1.0)
            edges.append(start)
        edges = edges or [start]
        rates.append(rate if law == family else 0.0)
        shapes.append(shape)
        edges.append(min(start + WINDOW_S, end))
    return renewal_times(edges, rates, shapes, rng, family)


def _lengths(
    client: _Client, name: str, times: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """One length per arrival, from the marginal of its window or the nearest one before."""
    marginals = sorted(client.lengths.get(name, []), key=lambda marginal: marginal.start_s)
    if not marginals:
        return np.ones(len(times))
    starts = np.array([marginal.start_s for marginal in marginals])
    place = np.maximum(np.searchsorted(starts, times, side="right") - 1, 0)
    lengths = np.empty(len(times))
    for at, marginal in enumerate(marginals):
        chosen = place == at
        lengths[chosen] = marginal.draw(int(chosen.sum()), rng)
    return np.floor(lengths)


def _clients(source: Source) -> dict[int, _Client]:
    clients: dict[int, _Client] = {}
    for member in source.members(lambda name: _PART.match(name) is not None):
        match = _PART.match(member.name)
        if match is None:
            continue
        client = clients.setdefault(int(match[1]), _Client())
        if match[2] == "trace.csv":
            client.pieces.extend(_pieces(member))
        else:
            client.lengths = _marginals(member)
    whole = {key: client for key, client in clients.items() if client.pieces}
    active = [client for client in whole.values() if any(piece[1] > 0 for piece in client.pieces)]
    if not whole or any(not client.lengths.get(name) for client in active
                        for name in ("input_tokens", "output_tokens")):
        raise FormatError(f"{source.label} lacks a chunk-N-trace.csv or its chunk-N-dataset.json; "
                          "pack both files of every client.")
    return whole


def _pieces(member: Member) -> Iterator[_PIECE]:
    for number, line in member.lines():
        cells = line.split(",")
        try:
            start, rate = float(cells[0]), float(cells[1])
            if rate == 0:
                yield start, 0.0, "gamma", 1.0
                continue
            shape, law = float(cells[4]), cells[3].lower()
            if not (np.isfinite(start) and 0 < rate < 1e6 and 1e-4 < shape < 1e6):
                raise ValueError(law)
            if law == "gamma":
                yield start, rate, "gamma", shape
            elif law == "weibull":
                yield start, rate, "weibull", max(shape, 0.05)
            else:
                raise ValueError(law)
        except (ValueError, IndexError):
            raise RowError(member.label, number, "this is no line of start, rate, CV, Gamma or "
                           "Weibull, shape and scale", "drop or mend the line") from None


def _marginals(member: Member) -> dict[str, list[_Marginal]]:
    found: dict[str, list[_Marginal]] = {"input_tokens": [], "output_tokens": []}
    windows = member.json()
    if not isinstance(windows, dict):
        raise ReadError(f"{member.label} does not map windows to lengths; download it again.")
    for start, laws in windows.items():
        for name, marginals in found.items():
            marginal = _marginal(member, start, laws, name)
            if marginal is not None:
                marginals.append(marginal)
    return found


def _marginal(member: Member, start: str, laws: Json, name: str) -> _Marginal | None:
    """Parse ``"{45: 0.0097, ...}"``; an idle window has ``"{}"``. Nothing is evaluated."""
    try:
        pairs = np.array(_PAIR.findall(laws[name]), dtype=np.str_).astype(np.float64)
        if not len(pairs):
            return None
        values, weights = pairs[:, 0], pairs[:, 1]
        if not (np.isfinite(pairs).all() and (pairs >= 0).all() and weights.sum() > 0
                and values.max() < 2**31):
            raise ValueError(name)
        return _Marginal(float(start), values, np.cumsum(weights))
    except (KeyError, TypeError, ValueError):
        raise RowError(member.label, 0, f"{name} of a window is no table of lengths",
                       "drop the window or download the file again") from None


def _recognises(source: Source) -> bool:
    return source.is_tar and _PART.match(source.first_member) is not None


SERVEGEN_NATIVE = TraceFormat(
    name="servegen_native", title="ServeGen client statistics (tar of chunk files)", zero="file",
    clock="seconds, zero at the start of the window read", recognises=_recognises, read=read,
    source="https://github.com/alibaba/ServeGen", licence="Apache-2.0")
