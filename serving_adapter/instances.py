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
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from sandbox import contract
from sandbox.records import new_rows
from serving_adapter.facts import RequestFacts
from serving_adapter.instance_rows import (
    KNOWN_ZERO,
    Flight,
    Rows,
    columns_of,
    derive_all,
    derive_one,
    missing_row,
)
from telemetry.engine_signals import EngineSignals

Ints = npt.NDArray[np.int64]

FEW_ROWS = 8  # are derived one by one, more at once
_NOWHERE: dict[int, int] = {}


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
    waiting: OrderedDict[Flight, None] = field(default_factory=OrderedDict)


class InstanceTable:
    """The rows that `route` sees, and the events that change them. Not thread-safe: one loop.

    Args:
        counts_flights: the door tells of every dispatch and token; without, what only those can
            tell stays missing.
    """

    def __init__(self, *, counts_flights: bool = True) -> None:
        self._counts_flights = counts_flights
        self._rows = new_rows(contract.Instance, 0)
        self._columns = columns_of(self._rows)
        self._engines: dict[int, _Engine] = {}
        self._next_id = 0
        self._open: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._signals_s: npt.NDArray[np.float64] = np.zeros(0)
        self._waiting_since_s: npt.NDArray[np.float64] = np.zeros(0)
        self._tenants: dict[int, dict[int, int]] = {}
        # What a decision would compute over all rows is kept until something changes it.
        self._changed: set[int] = set()
        self._marked: list[int] = []
        self._offered: npt.NDArray[np.bool_] | None = None
        self._all_offered = False

    def __len__(self) -> int:
        return len(self._engines)

    def add(self, facts: InstanceFacts | None = None) -> int:
        """A new engine, open for requests; its id is never used again."""
        row = missing_row(KNOWN_ZERO if self._counts_flights else ())
        for known in fields(InstanceFacts):
            row[known.name] = getattr(facts or InstanceFacts(), known.name)
        row["id"] = self._next_id
        self._engines[self._next_id] = _Engine(len(self._rows))
        self._rows = np.concatenate([self._rows, row])
        self._columns = columns_of(self._rows)
        self._open = np.append(self._open, True)
        self._signals_s = np.append(self._signals_s, np.nan)
        self._waiting_since_s = np.append(self._waiting_since_s, np.nan)
        self._rows_moved()
        self._next_id += 1
        return self._next_id - 1

    def remove(self, instance_id: int) -> None:
        """Forget an engine; its flights may still report and are ignored."""
        gone = self._engines.pop(instance_id).position
        self._rows = np.delete(self._rows, gone)
        self._columns = columns_of(self._rows)
        self._open = np.delete(self._open, gone)
        self._signals_s = np.delete(self._signals_s, gone)
        self._waiting_since_s = np.delete(self._waiting_since_s, gone)
        for engine in self._engines.values():
            engine.position -= engine.position > gone
        self._rows_moved()
        for counts in self._tenants.values():
            counts.pop(instance_id, None)
        self._tenants = {tenant: counts for tenant, counts in self._tenants.items() if counts}

    def set_use(
        self, instance_id: int, role: int, low_tokens: int, high_tokens: int, share: float
    ) -> None:
        """Another role, length range or share of an engine that goes on."""
        if instance_id not in self._engines:
            return
        use = (role, low_tokens, high_tokens, share)
        names = ("role", "length_low_tokens", "length_high_tokens", "share")
        for name, value in zip(names, use, strict=True):
            self._columns[name][self._engines[instance_id].position] = value

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
            self._offered = None

    def set_draining(self, instance_id: int, draining: bool) -> None:
        """A draining engine finishes what it has and is offered to nobody, as if it were closed.

        Neither policies nor fallbacks see its row; what answers there does not open it again.
        """
        if instance_id in self._engines:
            self._columns["draining"][self._engines[instance_id].position] = draining
            self._offered = None

    def set_running(self, running: Mapping[int, int]) -> None:
        """Requests inside engines, by id, as a door knows them without a scrape; -1 for unknown."""
        column = self._columns["running_requests"]
        for instance_id, count in running.items():
            position = self._engines[instance_id].position
            if column[position] != count:
                column[position] = count
                self._changed.add(position)

    def is_open(self, instance_id: int) -> bool:
        """Whether the engine takes new requests now."""
        engine = self._engines.get(instance_id)
        return engine is not None and bool(self._offer()[engine.position])

    def _offer(self) -> npt.NDArray[np.bool_]:
        """Which rows are offered; not to be written to."""
        if self._offered is None:
            self._offered = self._open & ~self._columns["draining"]
            self._all_offered = bool(self._offered.all())
        return self._offered

    def _rows_moved(self) -> None:
        """Rows came or went: nothing that is kept by position holds any more."""
        self._offered = None
        self._changed = set(range(len(self._rows)))
        self._marked.clear()
        self._columns["cached_prefix_tokens"][:] = 0
        if self._counts_flights:
            self._columns["tenant_requests"][:] = 0

    def row(self, instance_id: int) -> np.void:
        """The row of one engine, as it stands; a view."""
        row: np.void = self._rows[self._engines[instance_id].position]
        return row

    def outstanding(self, rows: Rows) -> Ints:
        """Requests queued and running per row, a missing figure counting nothing."""
        total: Ints = np.maximum(rows["queued_requests"], 0) + np.maximum(
            rows["running_requests"], 0
        )
        return total

    def offered(self, facts: RequestFacts, now_s: float, exclude: frozenset[int]) -> Rows:
        """Rows of open engines as this request sees them; contiguous, order not yet rotated."""
        self._refresh(facts, now_s)
        offered = self._offer()
        without = exclude & self._engines.keys() if exclude else exclude
        if self._all_offered and not without:
            return self._rows
        offered = offered.copy()
        for instance_id in without:
            offered[self._engines[instance_id].position] = False
        return self._rows[offered]

    def open_rows(self, now_s: float) -> Rows:
        """Copies of the rows of open engines, with the age of their signals."""
        offered = self._offer()
        rows = self._rows[offered]
        rows["signal_age_s"] = now_s - self._signals_s[offered]
        return rows

    def _refresh(self, facts: RequestFacts, now_s: float) -> None:
        """Write the columns that depend on the time or on the request that asks."""
        of = self._columns
        np.subtract(now_s, self._signals_s, out=of["signal_age_s"])
        # fmax takes the number where the other is NaN: nobody waits, so the wait is zero.
        np.fmax(now_s - self._waiting_since_s, 0.0, out=of["oldest_wait_s"])
        if len(self._changed) > FEW_ROWS:
            derive_all(of, counted=self._counts_flights)
        else:
            for position in self._changed:
                derive_one(of, position, counted=self._counts_flights)
        self._changed.clear()
        self._mark(facts)

    def _mark(self, facts: RequestFacts) -> None:
        """Write where this request's session and tenant are, and undo the one before."""
        cached, tenants = self._columns["cached_prefix_tokens"], self._columns["tenant_requests"]
        for position in self._marked:
            cached[position] = 0
            if self._counts_flights:
                tenants[position] = 0
        self._marked.clear()
        previous = self._engines.get(facts.last_instance)
        if previous is not None:
            cached[previous.position] = facts.cached_tokens
            self._marked.append(previous.position)
        for instance_id, count in self._tenants.get(facts.tenant, _NOWHERE).items():
            position = self._engines[instance_id].position
            tenants[position] = count
            self._marked.append(position)

    def dispatch(self, instance_id: int, facts: RequestFacts, now_s: float) -> Flight:
        """A request goes to an engine."""
        flight = Flight(instance_id, facts, now_s)
        engine = self._engines.get(instance_id)
        if engine is None:
            return flight
        engine.inside += 1
        self._queue(engine, flight, 1)
        engine.waiting[flight] = None
        self._add(engine, "predicted_remaining_tokens", flight.remaining_tokens)
        self._note_tenant(engine, flight, 1)
        self._note_waiting(engine)
        return flight

    def tokens(self, flight: Flight, count: int, now_s: float) -> None:
        """The first, or further, tokens of a request came back."""
        engine = self._engines.get(flight.instance_id)
        if engine is None or count < 1:
            return
        if flight.done_tokens == 0:
            self._started(engine, flight)
        else:
            place, gap_s = engine.position, now_s - flight.latest_token_s
            self._columns["step_time_s"][place] = gap_s / count
        before = flight.remaining_tokens
        flight.done_tokens += count
        flight.latest_token_s = now_s
        self._grow(engine, count)
        self._add(engine, "predicted_remaining_tokens", flight.remaining_tokens - before)

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
            self._add(engine, "running_requests", -1)
            self._add(engine, "decoding_requests", -1)
            self._grow(engine, -flight.facts.prompt_tokens - flight.done_tokens)
        self._add(engine, "predicted_remaining_tokens", -flight.remaining_tokens)
        self._note_tenant(engine, flight, -1)

    def scraped(self, instance_id: int, signals: EngineSignals, asked_s: float) -> None:
        """Replace an engine's figures by what it said when asked at `asked_s`."""
        engine = self._engines.get(instance_id)
        if engine is None:
            return
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
            row["preemptions"] = max(0, signals.preemptions - max(engine.preemptions, 0))
            engine.preemptions = signals.preemptions
        self._signals_s[engine.position] = asked_s
        self._changed.add(engine.position)

    def _started(self, engine: _Engine, flight: Flight) -> None:
        engine.waiting.pop(flight, None)
        # After a scrape the engine may have counted this request as running already.
        if self._columns["queued_requests"][engine.position] > 0:
            self._queue(engine, flight, -1)
            self._add(engine, "running_requests", 1)
        else:
            self._add(engine, "queued_prompt_tokens", -flight.facts.prompt_tokens)
        self._add(engine, "decoding_requests", 1)
        self._grow(engine, flight.facts.prompt_tokens)
        self._note_waiting(engine)

    def _queue(self, engine: _Engine, flight: Flight, sign: int) -> None:
        self._add(engine, "queued_requests", sign)
        self._add(engine, "queued_prompt_tokens", sign * flight.facts.prompt_tokens)

    def _grow(self, engine: _Engine, tokens: int) -> None:
        self._add(engine, "context_tokens", tokens)
        if self._columns["kv_used_tokens"][engine.position] >= 0:
            self._add(engine, "kv_used_tokens", tokens)

    def _add(self, engine: _Engine, name: str, change: float) -> None:
        column = self._columns[name]
        column[engine.position] = max(0, column[engine.position] + change)
        self._changed.add(engine.position)

    def _note_tenant(self, engine: _Engine, flight: Flight, sign: int) -> None:
        """Count a tenant's requests here, and how many tenants there are."""
        tenant, instance_id = flight.facts.tenant, flight.instance_id
        counts = self._tenants.setdefault(tenant, {})
        before = counts.get(instance_id, 0)
        counts[instance_id] = before + sign
        if counts[instance_id] <= 0:
            del counts[instance_id]
            if not counts:
                del self._tenants[tenant]
        self._add(engine, "tenant_count", (before + sign > 0) - (before > 0))
        if not flight.facts.online:
            self._add(engine, "offline_requests", sign)

    def _note_waiting(self, engine: _Engine) -> None:
        oldest = next(iter(engine.waiting), None)
        since_s = math.nan if oldest is None else oldest.dispatched_s
        self._waiting_since_s[engine.position] = since_s
