"""Predicts how long an answer will be from what a log knows of its request, and learns from ends.

Answers that have ended are counted in buckets, from coarse to fine: all, of a class, of a class,
tenant and limit, with the prompt's octave and the turn, with the quarter of that octave. A bucket
counts lengths in bins of a quarter octave and forgets: past `MOST_ANSWERS` all counts are halved.
What it has too few of it borrows from the next coarser one, as a few answers of that one's
distribution. The finest bucket that is there answers, from numbers worked out when it has grown
by a quarter, so that most predictions are a look into a dictionary.

Nothing depends on a clock or on chance. However many tenants there are, `Limits.buckets` bounds
the memory: two generations of buckets, of which the older is dropped when the younger is full, and
fine buckets come only where the coarser one has seen several answers.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

from telemetry.errors import TelemetryError

QUANTILES = (0.1, 0.5, 0.9)
MOST_ANSWERS = 256  # of a bucket before it forgets half
FEWEST_ANSWERS = 2  # before anything is predicted
BORROWED = (0.0, 4.0, 4.0, 8.0, 16.0)  # answers of the next coarser bucket, by level
OPENS_AT = (0.0, 0.0, 0.0, 4.0, 8.0)  # answers of the next coarser bucket before there is this one
ENOUGH_TIMES = 8.0  # what is borrowed, from which on nothing is
PRIOR_ERROR, PRIOR_ANSWERS = 1.0, 2.0  # relative error before anything is known of it
CLASSES = 16
LONGEST_TOKENS = 2**20 - 1
_BINS = 20 * 4
_GROWTH = 1.25
_SCHEMA = 1

Key = tuple[int, ...]


class LengthStateError(TelemetryError):
    """A saved state that is damaged or of another version; start without it."""


class Prediction(NamedTuple):
    """The length of one answer, tokens, and the relative standard error of `mean_tokens`."""

    mean_tokens: float
    relative_error: float
    p10_tokens: float
    p50_tokens: float
    p90_tokens: float

    def within(self, max_tokens: int) -> Prediction:
        """The same for an answer that ends there at the latest."""
        mean, error, *quantiles = self
        return Prediction(min(mean, max_tokens), error, *(min(q, max_tokens) for q in quantiles))


@dataclass(slots=True, eq=False)
class _Bucket:
    """Answers of one kind: counts by bin, number, sum and sum of squares; then what they say."""

    level: int
    up: _Bucket | None
    bins: array[float] = field(default_factory=lambda: array("d", bytes(8 * _BINS)))
    answers: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    due: float = 0.0  # answers from which on the numbers below are stale
    mixed: Sequence[float] = ()
    weights: tuple[float, float, float] = (0.0, 0.0, 0.0)  # number, sum, squares of `mixed`
    said: Prediction | None = None

    def scale(self, factor: float) -> None:
        """Count every answer so many times."""
        self.bins = array("d", [count * factor for count in self.bins])
        self.answers *= factor
        self.total *= factor
        self.squares *= factor
        self.due *= factor

    def say(self) -> Prediction:
        """What follows from the counts, here and above."""
        said = self.said
        if said is None or self.answers >= self.due:
            said = self.said = self._worked_out()
        return said

    def _worked_out(self) -> Prediction:
        n, total, squares, up = self.answers, self.total, self.squares, self.up
        lent = BORROWED[self.level]
        self.mixed = self.bins
        if up is not None and n < ENOUGH_TIMES * lent:
            up.say()
            number, sum_, square = up.weights
            lent /= number
            pairs = zip(self.bins, up.mixed, strict=True)
            self.mixed = [own + lent * other for own, other in pairs]
            n, total, squares = n + lent * number, total + lent * sum_, squares + lent * square
        self.weights = (n, total, squares)
        self.due = self.answers * _GROWTH
        mean = total / n
        variance = max(squares / n / (mean * mean) - 1.0, 0.0)
        prior = PRIOR_ANSWERS * PRIOR_ERROR**2
        error = math.sqrt((n * variance + prior) / (n + PRIOR_ANSWERS))
        below = list(accumulate(self.mixed))
        return Prediction(mean, error, *(_quantile(below, share) for share in QUANTILES))


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a predictor may remember: fine buckets of each of two generations."""

    buckets: int = 4096


class OutputLengths:
    """Predicts with `predict`, learns with `learn` when a request has ended."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._all = _Bucket(0, None)
        self._classes: dict[int, _Bucket] = {}
        self._young: dict[Key, _Bucket] = {}
        self._old: dict[Key, _Bucket] = {}

    def __len__(self) -> int:
        """Buckets that are kept."""
        return 1 + len(self._classes) + len(self._young) + len(self._old)

    def predict(
        self, class_id: int, tenant: int, prompt_tokens: int, turn: int = 0, max_tokens: int = -1
    ) -> Prediction | None:
        """What is to be expected; None as long as too few answers have ended.

        Args:
            class_id: of the request; tenant: any number that tells it from others.
            prompt_tokens: of the whole prompt.
            turn: from 0 in its session.
            max_tokens: the client's limit, below 1 for none.
        """
        if self._all.answers < FEWEST_ANSWERS:
            return None
        if class_id < 0 or class_id >= CLASSES:
            class_id = 0 if class_id < 0 else CLASSES - 1
        key = (class_id, tenant, *_place(prompt_tokens, turn, max_tokens))
        found = self._young.get(key) or self._old.get(key) or self._above(key, 4)
        said = found.say()
        if 0 < max_tokens < said.p90_tokens or 0 < max_tokens < said.mean_tokens:
            return said.within(max_tokens)
        return said

    def learn(
        self, class_id: int, tenant: int, prompt_tokens: int, turn: int, max_tokens: int,
        output_tokens: int,
    ) -> None:  # fmt: skip
        """A request has ended with so many tokens; the other arguments as for `predict`."""
        tokens = min(max(output_tokens, 1), LONGEST_TOKENS)
        octave = tokens.bit_length() - 1
        place, square = octave << 2 | (tokens << 2 >> octave) & 3, tokens * tokens
        for bucket in self._chain(class_id, tenant, prompt_tokens, turn, max_tokens):
            bucket.bins[place] += 1.0
            bucket.answers += 1.0
            bucket.total += tokens
            bucket.squares += square
            if bucket.answers > MOST_ANSWERS:
                bucket.scale(0.5)

    def _chain(
        self, class_id: int, tenant: int, prompt_tokens: int, turn: int, max_tokens: int
    ) -> list[_Bucket]:
        """The buckets that learn from a request, made where they are due."""
        if class_id < 0 or class_id >= CLASSES:
            class_id = 0 if class_id < 0 else CLASSES - 1
        limit, fine = _place(prompt_tokens, turn, max_tokens)
        up = self._classes.get(class_id)
        if up is None:
            up = self._classes[class_id] = _Bucket(1, self._all)
        chain, young = [self._all, up], self._young
        keys = (
            (class_id, tenant, limit),
            (class_id, tenant, limit, _coarse(fine)),
            (class_id, tenant, limit, fine),
        )
        level = 2
        for key in keys:
            if up.answers < OPENS_AT[level]:
                break
            found = young.get(key)
            if found is None:
                found = self._kept(key, level, up)
                young = self._young
            found.up = up
            chain.append(found)
            up = found
            level += 1
        return chain

    def state(self) -> dict[str, object]:
        """All that it has learned, as plain lists and numbers that JSON takes."""
        return {
            "schema": _SCHEMA,
            "all": _dumped(self._all),
            "classes": [[key, *_dumped(b)] for key, b in sorted(self._classes.items())],
            "buckets": [[b.level, list(key), *_dumped(b)] for key, b in self._fine()],
        }

    @classmethod
    def restored(cls, state: Mapping[str, object], limits: Limits | None = None) -> OutputLengths:
        """One that goes on from a `state`, within its own limits.

        Raises:
            LengthStateError: it is damaged, or of another version.
        """
        made = cls(limits)
        try:
            made._restore(state)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise LengthStateError(
                f"The saved output lengths are damaged ({type(error).__name__}: {error}); "
                "delete them, what is needed is learned again."
            ) from error
        return made

    def _restore(self, state: Mapping[str, object]) -> None:
        if state["schema"] != _SCHEMA:
            raise ValueError(f"schema {state['schema']}")
        _load(self._all, state["all"])
        for class_id, *counts in _rows(state["classes"], CLASSES):
            bucket = self._classes[_within(class_id, 0, CLASSES - 1)] = _Bucket(1, self._all)
            _load(bucket, counts)
        for level, key, *counts in _rows(state["buckets"], 2**20):
            parts = tuple(_within(part, -(2**80), 2**80) for part in _rows(key, 4))
            depth = _within(level, 2, 4)
            if len(parts) != (3 if depth == 2 else 4):
                raise ValueError("a bucket of no known kind")
            _load(self._kept(parts, depth, self._above(parts, depth)), counts)

    def _kept(self, key: Key, level: int, up: _Bucket) -> _Bucket:
        """The bucket of a key, in the younger generation from now on."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if len(self._young) >= self._limits.buckets:
                self._old, self._young = self._young, {}
            else:
                self._old.pop(key, None)
            found = self._young[key] = found or _Bucket(level, up)
        return found

    def _above(self, key: Key, level: int) -> _Bucket:
        """The next coarser bucket that is there."""
        coarser = [key[:3]] if level > 2 else []
        if level == 4:
            coarser.insert(0, (*key[:3], _coarse(key[3])))
        for one in coarser:
            found = self._young.get(one) or self._old.get(one)
            if found is not None:
                return found
        return self._classes.get(key[0], self._all)

    def _fine(self) -> Iterator[tuple[Key, _Bucket]]:
        """All but those of classes, coarser ones and older ones first."""
        known = [*self._old.items(), *self._young.items()]
        return iter(sorted(known, key=lambda item: item[1].level))


def _place(prompt_tokens: int, turn: int, max_tokens: int) -> tuple[int, int]:
    """Octave of the limit; octave of the prompt, its quarter and the kind of turn in one number."""
    octave = prompt_tokens.bit_length() if prompt_tokens > 0 else 0
    return (
        max_tokens.bit_length() if max_tokens > 0 else 0,
        octave << 4
        | (prompt_tokens << 3 >> octave & 3) << 2
        | (0 if turn < 1 else 1 if turn == 1 else 2 if turn < 4 else 3),
    )


def _coarse(fine: int) -> int:
    """The number of a prompt's octave from that of its quarter."""
    return -1 - (fine >> 4 << 2 | fine & 3)


def _quantile(below: Sequence[float], share: float) -> float:
    """A quantile of cumulated counts by bin, linear within bins wider than a token."""
    want = share * below[-1]
    place = bisect_left(below, want)
    octave, quarter = place >> 2, place & 3
    if octave < 3:
        return float((4 + quarter << octave) >> 2)
    least = below[place - 1]
    return (4.0 + quarter + (want - least) / (below[place] - least)) * 2.0 ** (octave - 2)


def _dumped(bucket: _Bucket) -> list[object]:
    """Sum, sum of squares, and the bins that are not empty."""
    filled = {str(place): count for place, count in enumerate(bucket.bins) if count}
    return [bucket.total, bucket.squares, filled]


def _load(bucket: _Bucket, counts: object) -> None:
    if not isinstance(counts, list) or len(counts) != 3 or not isinstance(counts[2], dict):
        raise ValueError("a bucket without its counts")
    for place, count in counts[2].items():
        bucket.bins[_within(int(place), 0, _BINS - 1)] = _number(count, 2.0 * MOST_ANSWERS)
    bucket.answers = math.fsum(bucket.bins)
    bucket.total = _number(counts[0], 2.0 * MOST_ANSWERS * LONGEST_TOKENS)
    bucket.squares = _number(counts[1], 2.0 * MOST_ANSWERS * float(LONGEST_TOKENS) ** 2)
    least = bucket.answers
    if bucket.answers and not (bucket.total >= least * 0.99 and bucket.squares >= least * 0.99):
        raise ValueError("sums that no answers have")


def _rows(value: object, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError("no list of buckets")
    return value


def _within(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r} is not from {least} to {most}")
    return value


def _number(value: object, most: float) -> float:
    if not isinstance(value, int | float) or not 0.0 <= value <= most:
        raise ValueError(f"{value!r} is no number from 0 to {most:g}")
    return float(value)
