"""Keeps what engines said of themselves, scrape after scrape: latest, age, growth over restarts.

It is told pages and failures and fetches nothing; `evolver.daemon.sources_engines` does. Engines,
scrapes and bytes are bounded, and an engine that has been silent for long says nothing any more.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from telemetry.engine_histograms import Counts, EngineHistograms, Families, added, families_of
from telemetry.engine_histograms import whole as whole_histograms
from telemetry.engine_signals import EngineSignals, parse_signals
from telemetry.errors import ReadError
from telemetry.metrics_page import MOST_PAGE_BYTES

MOST_ENGINES = 1024
MOST_SCRAPES = 240  # of one engine
MOST_KEPT = 40_000  # of all engines, some 3 KB each
STALE_S = 30.0
_LATE_S = 60.0  # longer than any answer takes
COUNTERS = (
    "preemptions", "prompt_tokens", "generation_tokens", "prefix_queried_tokens",
    "prefix_hit_tokens", "finished",
)  # fmt: skip
MISSING = EngineSignals()


@dataclass(frozen=True, slots=True)
class Scrape:
    """One answer.

    Attributes:
        asked_unix_s: when it was asked for.
        families: the histograms of the page, those that could be read.
        complaint: why histograms could not be; empty otherwise.
    """

    asked_unix_s: float
    signals: EngineSignals
    families: Families = field(default_factory=lambda: Families({}, per_token=True))
    complaint: str = ""


@dataclass(slots=True)
class _Engine:
    """Scrapes in order of time, and the failures since the last one."""

    scrapes: deque[Scrape] = field(default_factory=deque)
    failed: int = 0
    restarts: int = 0


def read_scrape(asked_unix_s: float, page: bytes | str) -> Scrape:
    """What a page says; a page over `MOST_PAGE_BYTES` is cut there."""
    text = page if isinstance(page, str) else page[:MOST_PAGE_BYTES].decode("utf-8", "replace")
    text = text[:MOST_PAGE_BYTES]
    signals = parse_signals(text)
    try:
        return Scrape(asked_unix_s, signals, families_of(text))
    except ReadError as error:
        return Scrape(asked_unix_s, signals, complaint=str(error))


class ScrapeBook:
    """Scrapes of every engine by name; belongs to one thread.

    Args:
        most_scrapes: kept of each engine. When there are more, every second one of the older half
            goes, so that the book reaches far back and is fine of late.
        stale_s: after which the last answer of an engine says nothing about now.
    """

    def __init__(self, most_scrapes: int = MOST_SCRAPES, stale_s: float = STALE_S) -> None:
        self._engines: dict[str, _Engine] = {}
        self._most = max(most_scrapes, 4)
        self._stale_s = stale_s

    def answered(self, name: str, scrape: Scrape) -> None:
        """Keep an answer; one older than the last is dropped, an engine too many as well.

        One that is older by far says that the clock was set back: what is from later goes.
        """
        engine = self._engine(name)
        if engine is None:
            return
        while engine.scrapes and engine.scrapes[-1].asked_unix_s > scrape.asked_unix_s + _LATE_S:
            engine.scrapes.pop()
        if engine.scrapes and scrape.asked_unix_s <= engine.scrapes[-1].asked_unix_s:
            return
        if engine.scrapes and restarted(engine.scrapes[-1].signals, scrape.signals):
            engine.restarts += 1
        engine.failed = 0
        engine.scrapes.append(scrape)
        if len(engine.scrapes) > max(4, min(self._most, MOST_KEPT // len(self._engines))):
            kept = list(engine.scrapes)
            half = len(kept) // 2
            engine.scrapes = deque([*kept[:half:2], *kept[half:]])

    def failed(self, name: str) -> None:
        """An engine did not answer."""
        engine = self._engine(name)
        if engine is not None:
            engine.failed += 1

    def forget(self, name: str) -> None:
        """An engine is gone for good."""
        self._engines.pop(name, None)

    def names(self) -> tuple[str, ...]:
        """Every engine that was asked, by name."""
        return tuple(sorted(self._engines))

    def failures(self, name: str) -> int:
        """How often in a row an engine has not answered."""
        return self._engines[name].failed if name in self._engines else 0

    def restarts(self, name: str) -> int:
        """How often an engine was seen to start again."""
        return self._engines[name].restarts if name in self._engines else 0

    def age_s(self, name: str, now_unix_s: float) -> float:
        """Since the last answer was asked for; NaN without one."""
        last = self._last(name)
        return math.nan if last is None else max(0.0, now_unix_s - last.asked_unix_s)

    def latest(self, name: str, now_unix_s: float) -> EngineSignals:
        """What an engine said last; all missing once that is stale."""
        last = self._last(name)
        if last is None or now_unix_s - last.asked_unix_s > self._stale_s:
            return MISSING
        return last.signals

    def fleet(self, now_unix_s: float) -> EngineSignals:
        """All engines together: sums, mean usage. What no engine says now is missing."""
        known = [self.latest(name, now_unix_s) for name in self._engines]
        values: dict[str, float] = {}
        for each in fields(EngineSignals):
            told = [float(getattr(one, each.name)) for one in known]
            told = [value for value in told if value >= 0]
            if told:
                values[each.name] = sum(told)
        usage = values.pop("kv_usage", math.nan) / max(1, sum(one.kv_usage >= 0 for one in known))
        whole = {name: int(value) for name, value in values.items() if name != "started_unix_s"}
        return EngineSignals(**whole, kv_usage=usage)

    def grown(self, name: str, since_unix_s: float, until_unix_s: float) -> Mapping[str, float]:
        """How much each counter of an engine grew between its first and last scrape in a stretch.

        A counter that fell began again at zero. `covered_s` is the time between those two scrapes;
        a counter that is missing from two scrapes in a row is missing.
        """
        inside = self._between(name, since_unix_s, until_unix_s)
        if len(inside) < 2:
            return {}
        found: dict[str, float] = {"covered_s": inside[-1].asked_unix_s - inside[0].asked_unix_s}
        for before, after in itertools.pairwise(inside):
            again = restarted(before.signals, after.signals)
            for counter in COUNTERS:
                old, new = getattr(before.signals, counter), getattr(after.signals, counter)
                if new >= 0 and (old >= 0 or again):
                    more = new if again or new < old else new - old
                    found[counter] = found.get(counter, 0.0) + more
        return found

    def histograms(
        self, since_unix_s: float, until_unix_s: float, names: Iterable[str] | None = None
    ) -> tuple[EngineHistograms, float]:
        """What engines counted in a stretch, restarts bridged, and the seconds that covers.

        Engines alike are added up: their times describe one replica, and the seconds are those of
        all of them one after another, so that the rate is the one of a single engine.

        Raises:
            ReadError: no two scrapes with all five histograms, or engines count differently.
        """
        pieces: list[EngineHistograms] = []
        covered_s = 0.0
        for name in self.names() if names is None else names:
            inside = [
                scrape for scrape in self._between(name, since_unix_s, until_unix_s)
                if len(scrape.families.counts) == _ALL
            ]  # fmt: skip
            for before, after in itertools.pairwise(inside):
                pieces.append(_between_two(before, after))
                covered_s += after.asked_unix_s - before.asked_unix_s
        if not pieces:
            raise ReadError("No engine showed its histograms twice; let it be scraped for longer.")
        return _together(pieces), covered_s

    def _engine(self, name: str) -> _Engine | None:
        if name not in self._engines:
            if len(self._engines) >= MOST_ENGINES:
                return None
            self._engines[name] = _Engine()
        return self._engines[name]

    def _last(self, name: str) -> Scrape | None:
        engine = self._engines.get(name)
        return engine.scrapes[-1] if engine is not None and engine.scrapes else None

    def _between(self, name: str, since_unix_s: float, until_unix_s: float) -> Sequence[Scrape]:
        engine = self._engines.get(name)
        if engine is None:
            return ()
        return [s for s in engine.scrapes if since_unix_s <= s.asked_unix_s <= until_unix_s]


_ALL = 5  # histograms


def restarted(before: EngineSignals, after: EngineSignals) -> bool:
    """Whether an engine began again between two scrapes: another start, or a counter that fell."""
    if abs(after.started_unix_s - before.started_unix_s) > 1.0:
        return True
    pairs = ((getattr(before, name), getattr(after, name)) for name in COUNTERS)
    return any(0 <= new < old for old, new in pairs)


def _between_two(before: Scrape, after: Scrape) -> EngineHistograms:
    then, now = (whole_histograms("a scrape", s.families) for s in (before, after))
    try:
        return now.since(then)
    except ReadError:  # it began again, or is of another version now
        return now


def _together(pieces: Sequence[EngineHistograms]) -> EngineHistograms:
    if len({piece.per_token for piece in pieces}) > 1:
        raise ReadError("The engines count gaps in different ways; take them apart by version.")

    def one(pick: Callable[[EngineHistograms], Counts]) -> Counts:
        return added([pick(piece) for piece in pieces])

    return EngineHistograms(
        one(lambda h: h.ttft_s), one(lambda h: h.tpot_s), one(lambda h: h.e2e_s),
        one(lambda h: h.prompt_tokens), one(lambda h: h.output_tokens), pieces[0].per_token,
    )  # fmt: skip
