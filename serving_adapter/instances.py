"""The live instance table: one contract `Instance` row per engine, kept current in place.

Three sources write it: what the operator declares of an engine (`InstanceFacts`), what the gateway
does itself (dispatch, first token, further tokens, finish; counted at once), and what a scrape of
the engine's metrics says (`signal_age_s` old). A scrape replaces queue, batch and KV figures, and
own dispatches made after it was asked for are added again. What nobody tells stays missing.
Every per-decision cost is over rows, never over requests.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from sandbox import contract
from sandbox.records import new_rows
from serving_adapter.decision import MADE
from serving_adapter.facts import RequestFacts
from serving_adapter.instance_rows import (
    KNOWN_ZERO,
    ROW_WORDS,
    WORD,
    Flight,
    Rows,
    RowWords,
    columns_of,
    missing_row,
    rows_and,
    rows_where,
)
from serving_adapter.refreshing import Refresher
from serving_adapter.request_marks import RequestMarks
from serving_adapter.row_code import Word
from serving_adapter.seen_rows import NO_AGES, SeenRows
from telemetry.engine_signals import EngineSignals

_QUEUED, _QUEUED_TOKENS = WORD["queued_requests"], WORD["queued_prompt_tokens"]
_RUNNING, _DECODING = WORD["running_requests"], WORD["decoding_requests"]
_CONTEXT, _KV_USED, _STEP = WORD["context_tokens"], WORD["kv_used_tokens"], WORD["step_time_s"]
_REMAINING = WORD["predicted_remaining_tokens"]
_TENANTS, _OFFLINE = WORD["tenant_count"], WORD["offline_requests"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFacts:
    """What is declared of one engine; -1 or NaN where it is not known.

    The names are those of `sandbox.contract.Instance`; rates and step times are in real seconds,
    so an engine on a scaled clock is declared as that much faster.
    """

    role: int = contract.MIXED
    pool: int = 0
    tp: int = 1
    pp: int = 1
    node: int = -1
    zone: int = -1
    length_low_tokens: int = 0
    length_high_tokens: int = 2**31
    share: float = 1.0
    kv_capacity_tokens: int = -1
    max_num_seqs: int = -1
    token_budget: int = -1
    prefill_tokens_per_s: float = math.nan
    step_base_s: float = math.nan
    step_per_seq_s: float = math.nan
    step_per_context_s: float = math.nan


@dataclass(slots=True)
class _Engine:
    """What the table remembers of one engine besides its row."""

    position: int
    preemptions: int = -1
    inside: int = 0
    tells: bool = False  # its metrics say how much it runs, or how much waits
    waiting: OrderedDict[Flight, None] = field(default_factory=OrderedDict)


@dataclass(frozen=True, slots=True)
class Offer:
    """What one request may choose from; holds until the table is touched again.

    Attributes:
        rows: of open engines; contiguous, order not yet rotated.
        address: of these rows.
        n_rows: how many.
        ids: of these rows.
        mask: a byte per row of the table, 1 where it is offered; None when all are.
    """

    rows: Rows
    address: Word
    n_rows: int
    ids: Container[int]
    mask: bytes | None


class InstanceTable:
    """The rows that `route` sees, and the events that change them. Not thread-safe: one loop.

    Args:
        counts_flights: the door tells of every dispatch and token; without, what only those can
            tell stays missing.
    """

    def __init__(self, *, counts_flights: bool = True) -> None:
        self.preempted = -1  # times, by all engines since each was looked at; -1: none has told
        self._counts_flights = counts_flights
        self._rows = new_rows(contract.Instance, 0)
        self._engines: dict[int, _Engine] = {}
        self._next_id = 0
        self._open: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._since_s = np.zeros((0, 2))
        self._marks = RequestMarks(counts_flights=counts_flights)
        # What a decision would compute over all rows is kept until something changes it.
        self._now_s = math.nan
        self._offered: npt.NDArray[np.bool_] | None = None
        self._everything: Offer | None = None
        self._rows_moved()

    def __len__(self) -> int:
        return len(self._engines)

    def add(self, facts: InstanceFacts | None = None) -> int:
        """A new engine, open for requests; its id is never used again."""
        row = missing_row(KNOWN_ZERO if self._counts_flights else ())
        for known in fields(InstanceFacts):
            row[known.name] = getattr(facts or InstanceFacts(), known.name)
        row["id"] = self._next_id
        self._engines[self._next_id] = _Engine(len(self._rows))
        self._rows = rows_and(self._rows, row)
        self._open = np.append(self._open, True)
        self._since_s = np.concatenate([self._since_s, NO_AGES])
        self._rows_moved()
        self._next_id += 1
        return self._next_id - 1

    def remove(self, instance_id: int) -> None:
        """Forget an engine; its flights may still report and are ignored."""
        gone = self._engines.pop(instance_id).position
        self._rows = rows_where(self._rows, np.arange(len(self._rows)) != gone)
        self._open = np.delete(self._open, gone)
        self._since_s = np.delete(self._since_s, gone, axis=0)
        for engine in self._engines.values():
            engine.position -= engine.position > gone
        self._marks.counts.forget(gone)
        self._rows_moved()

    def set_use(
        self, instance_id: int, role: int, low_tokens: int, high_tokens: int, share: float
    ) -> None:
        """Another role, length range or share of an engine that goes on."""
        if instance_id not in self._engines:
            return
        use = (role, low_tokens, high_tokens, share)
        names = ("role", "length_low_tokens", "length_high_tokens", "share")
        position = self._engines[instance_id].position
        for name, value in zip(names, use, strict=True):
            self._columns[name][position] = value
        self._changed[position] = 1

    def inside(self, instance_id: int) -> int:
        """Requests that were dispatched here and have not finished; 0 for an engine that is gone.

        Counted by this table alone, so it is exact for one process and knows of no other.
        """
        engine = self._engines.get(instance_id)
        return 0 if engine is None else engine.inside

    def set_open(self, instance_id: int, is_open: bool) -> None:
        """Offer an engine to policies, or keep it from them (unreachable)."""
        if instance_id in self._engines:
            self._open[self._engines[instance_id].position] = is_open
            self._offered = self._everything = None

    def set_draining(self, instance_id: int, draining: bool) -> None:
        """A draining engine finishes what it has and is offered to nobody, as if it were closed.

        Neither policies nor fallbacks see its row; what answers there does not open it again.
        """
        if instance_id in self._engines:
            position = self._engines[instance_id].position
            self._columns["draining"][position] = draining
            self._changed[position] = 1
            self._offered = self._everything = None

    def set_running(self, running: Mapping[int, int]) -> None:
        """Requests inside engines, by id, as a door knows them without a scrape; -1 for unknown."""
        ints, engines = self._words.ints, self._engines
        for instance_id, count in running.items():
            position = engines[instance_id].position
            at = position * ROW_WORDS + _RUNNING
            if ints[at] != count:
                ints[at] = count
                self._changed[position] = 1

    def is_open(self, instance_id: int) -> bool:
        """Whether the engine takes new requests now."""
        engine = self._engines.get(instance_id)
        return engine is not None and bool(self._offer()[engine.position])

    def _offer(self) -> npt.NDArray[np.bool_]:
        """Which rows are offered; not to be written to."""
        if self._offered is None:
            self._offered = self._open & ~self._columns["draining"]
        return self._offered

    def _rows_moved(self) -> None:
        """Rows came or went: nothing that is kept by position holds any more."""
        self._columns, self._words = columns_of(self._rows), RowWords(self._rows)
        self._refresher = Refresher(
            self._rows, self._columns, self._since_s, counted=self._counts_flights
        )
        self._changed = self._refresher.changed
        self._offered = self._everything = None
        self._marks.rows_moved(self._columns, self._words.ints)

    def row(self, instance_id: int) -> np.void:
        """The row of one engine, as it stands; a view."""
        row: np.void = self._rows[self._engines[instance_id].position]
        return row

    def offered(self, facts: RequestFacts, now_s: float, exclude: frozenset[int]) -> Rows:
        """Rows of open engines as this request sees them; contiguous, order not yet rotated."""
        return self.offer(facts, now_s, exclude).rows

    def offer(self, facts: RequestFacts, now_s: float, exclude: frozenset[int]) -> Offer:
        """What a request may choose from, without the engines in `exclude`."""
        self._now_s = now_s
        self._refresher.write(now_s)
        previous = self._engines.get(facts.last_instance)
        self._marks.write(facts, None if previous is None else previous.position)
        without = exclude & self._engines.keys() if exclude else exclude
        if not without and self._everything is not None:
            return self._everything
        offered = self._offer()
        if not without and offered.all():
            self._everything = self._offer_of(self._rows, self._engines, None)
            return self._everything
        if without:
            offered = offered.copy()
            for instance_id in without:
                offered[self._engines[instance_id].position] = False
        rows = rows_where(self._rows, offered)
        return self._offer_of(rows, frozenset(rows["id"].tolist()), offered.tobytes())

    def _offer_of(self, rows: Rows, ids: Container[int], mask: bytes | None) -> Offer:
        return Offer(rows, Word(rows.ctypes.data), len(rows), ids, mask)

    def seen(self, offer: Offer) -> SeenRows:
        """What the newest offer showed, to be kept."""
        marks, (log, n_changes, own_bytes) = self._marks, self._refresher.seen()
        return MADE(SeenRows, (
            log, n_changes, self._now_s, marks.cached, marks.kept(), offer.mask, offer.n_rows,
            own_bytes,
        ))  # fmt: skip

    def open_rows(self, now_s: float) -> Rows:
        """Copies of the rows of open engines, with the age of their signals."""
        offered = self._offer()
        rows = self._rows[offered]
        rows["signal_age_s"] = now_s - self._since_s[offered, 0]
        return rows

    def dispatch(self, instance_id: int, facts: RequestFacts, now_s: float) -> Flight:
        """A request goes to an engine."""
        flight = Flight(instance_id, facts, now_s)
        engine = self._engines.get(instance_id)
        if engine is None:
            return flight
        engine.inside += 1
        self._queue(engine, flight, 1)
        engine.waiting[flight] = None
        self._predict(engine, flight.remaining_tokens)
        self._note_tenant(engine, flight, 1)
        self._note_waiting(engine)
        return flight

    def begun(self, flight: Flight) -> None:
        """Take a request for running before any token of it, where the engine tells nothing."""
        engine = self._engines.get(flight.instance_id)
        if engine is not None and flight in engine.waiting and not engine.tells:
            self._seated(engine, flight)

    def tokens(self, flight: Flight, count: int, now_s: float) -> None:
        """The first, or further, tokens of a request came back."""
        engine = self._engines.get(flight.instance_id)
        if engine is None or count < 1:
            return
        if flight.done_tokens == 0:
            self._started(engine, flight)
        else:
            gap_s = now_s - flight.latest_token_s
            self._words.floats[engine.position * ROW_WORDS + _STEP] = gap_s / count
        before = flight.remaining_tokens
        flight.done_tokens += count
        flight.latest_token_s = now_s
        self._grow(engine, count)
        self._predict(engine, flight.remaining_tokens - before)

    def finish(self, flight: Flight) -> None:
        """A request has left its engine: answered, failed or abandoned."""
        engine = self._engines.get(flight.instance_id)
        if engine is None:
            return
        engine.inside -= 1
        if flight in engine.waiting:
            del engine.waiting[flight]
            self._queue(engine, flight, -1)
            self._note_waiting(engine)
        else:
            self._add(engine, _RUNNING, -1)
            if flight.done_tokens:
                self._add(engine, _DECODING, -1)
                self._grow(engine, -flight.facts.prompt_tokens - flight.done_tokens)
        self._predict(engine, -flight.remaining_tokens)
        self._note_tenant(engine, flight, -1)

    def scraped(self, instance_id: int, signals: EngineSignals, asked_s: float) -> None:
        """Replace an engine's figures by what it said when asked at `asked_s`."""
        engine = self._engines.get(instance_id)
        if engine is None:
            return
        engine.tells = engine.tells or max(signals.waiting, signals.running) >= 0
        later = [flight for flight in engine.waiting if flight.dispatched_s >= asked_s]
        row = self._rows[engine.position]
        if signals.waiting >= 0:
            row["queued_requests"] = signals.waiting + len(later)
        if signals.running >= 0:
            row["running_requests"] = signals.running
        if signals.kv_capacity_tokens >= 0:
            row["kv_capacity_tokens"] = signals.kv_capacity_tokens
        if not math.isnan(signals.kv_usage) and row["kv_capacity_tokens"] >= 0:
            row["kv_used_tokens"] = round(signals.kv_usage * int(row["kv_capacity_tokens"]))
        if signals.preemptions >= 0:
            row["preemptions"] = since = max(0, signals.preemptions - max(engine.preemptions, 0))
            self.preempted = max(self.preempted, 0) + (since if engine.preemptions >= 0 else 0)
            engine.preemptions = signals.preemptions
        self._since_s[engine.position, 0] = asked_s
        self._changed[engine.position] = 1

    def _started(self, engine: _Engine, flight: Flight) -> None:
        if flight in engine.waiting:
            self._seated(engine, flight)
        self._add(engine, _DECODING, 1)
        self._grow(engine, flight.facts.prompt_tokens)

    def _seated(self, engine: _Engine, flight: Flight) -> None:
        """It waits no more."""
        del engine.waiting[flight]
        # After a scrape the engine may have counted this request as running already.
        if self._words.ints[engine.position * ROW_WORDS + _QUEUED] > 0:
            self._queue(engine, flight, -1)
            self._add(engine, _RUNNING, 1)
        else:
            self._add(engine, _QUEUED_TOKENS, -flight.facts.prompt_tokens)
        self._note_waiting(engine)

    def _queue(self, engine: _Engine, flight: Flight, sign: int) -> None:
        self._add(engine, _QUEUED, sign)
        self._add(engine, _QUEUED_TOKENS, sign * flight.facts.prompt_tokens)

    def _grow(self, engine: _Engine, tokens: int) -> None:
        self._add(engine, _CONTEXT, tokens)
        if self._words.ints[engine.position * ROW_WORDS + _KV_USED] >= 0:
            self._add(engine, _KV_USED, tokens)

    def _add(self, engine: _Engine, word: int, change: int) -> None:
        ints, at = self._words.ints, engine.position * ROW_WORDS + word
        ints[at] = max(0, ints[at] + change)
        self._changed[engine.position] = 1

    def _predict(self, engine: _Engine, change: float) -> None:
        floats, at = self._words.floats, engine.position * ROW_WORDS + _REMAINING
        floats[at] = max(0.0, floats[at] + change)
        self._changed[engine.position] = 1

    def _note_tenant(self, engine: _Engine, flight: Flight, sign: int) -> None:
        """Count a tenant's requests here, and how many tenants there are."""
        change = self._marks.counts.add(flight.facts.tenant, engine.position, sign)
        self._add(engine, _TENANTS, change)
        if not flight.facts.online:
            self._add(engine, _OFFLINE, sign)

    def _note_waiting(self, engine: _Engine) -> None:
        oldest = next(iter(engine.waiting), None)
        since_s = math.inf if oldest is None else oldest.dispatched_s
        self._since_s[engine.position, 1] = since_s
