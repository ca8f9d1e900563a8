"""The watchdog: looks after the live policy from a thread of its own, outside any decision.

The event loop hands it readings; files, clock and calls in flight it sees by itself, so a loop that
stands still is noticed too. It ejects through `LiveSlot`, which holds from the next decision on. A
call that never returns it can only latch, for the other processes and for the next start: nothing
in one process can take a thread out of native code. A side process can be killed; see
`docs/live-safety.md`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from serving_adapter.activation import Ready, Rows
from serving_adapter.deciding import Decider
from serving_adapter.host_metrics import HostMetrics
from serving_adapter.instances import InstanceTable
from serving_adapter.live_slot import LiveSlot
from serving_adapter.safety.checks import EngineReading, Holding, Reading, stale_signals
from serving_adapter.safety.clocks import Standstill, TermClock
from serving_adapter.safety.comparison import Comparison
from serving_adapter.safety.control_arm import Observation
from serving_adapter.safety.dumps import dump_text, write_dump
from serving_adapter.safety.ejection import EjectionKind
from serving_adapter.safety.limits import LiveLimits
from serving_adapter.safety.shadow import DEFAULT, FAULT, SHADOW, ShadowCompare
from serving_adapter.safety.starvation import Wait
from serving_adapter.safety.subject import Subject

MAX_OBSERVATIONS = 10_000
CLOSE_S = 5.0  # a disk that hangs keeps nobody from stopping
OF_A_KIND = ("role", "length_low_tokens", "length_high_tokens", "share")
STALE_SCRAPES = 2  # signals of the last but one scrape are not stale, however rare scrapes are

_log = logging.getLogger("evolver.host")


@dataclass(frozen=True, slots=True)
class _Sample:
    """What the loop hands over: copies, so that nothing is shared."""

    at_s: float
    rows: Rows
    picks: dict[Ready, dict[int, int]]
    held: dict[str, Holding]


class Watchdog:
    """Watches one host while `running`.

    Attributes:
        held: says what each policy holds, by its digest.
        on_release: told on the event loop that a person has let a policy back in.
        beside: looks after something else of this host, in the watchdog's thread.
        beside_hooks: asks policies on trial there what an engine's hooks decided.
        shadow: the default policy beside the live one, None until it is loaded.
        scrape_s: how often the door asks engines for their signals.
    """

    def __init__(
        self,
        table: InstanceTable,
        slot: LiveSlot,
        decider: Decider,
        metrics: HostMetrics,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        *,
        limits: LiveLimits,
        state: Path | None,
    ) -> None:
        self.held: Callable[[], dict[str, Holding]] = dict
        self.on_release: Callable[[], None] = lambda: None
        self.beside: Callable[[], None] = lambda: None
        self.beside_hooks: Callable[[], None] = lambda: None
        self.shadow: ShadowCompare | None = None
        self.scrape_s = 0.0
        self._table, self._slot, self._decider = table, slot, decider
        self._metrics, self._now_s = metrics, clock
        self._limits = limits
        grace_s = limits.clock_grace_s
        self._term = TermClock(wall_clock, clock, grace_s, metrics.clock_leapt)
        self._turns = Standstill(limits.pause_s, limits.settle_s)
        self._samples = Standstill(limits.pause_s, limits.settle_s)
        self._dumps = state / "dumps" if state is not None else None
        self._observed: deque[Observation] = deque(maxlen=MAX_OBSERVATIONS)
        self._sample: _Sample | None = None
        self._sampled_s = math.nan
        self._expired_holds: dict[str, float] = {}
        self._waits: deque[Wait] = deque(maxlen=MAX_OBSERVATIONS)
        self._subjects: dict[Ready, Subject] = {}
        self._trial: ShadowCompare | None = None
        self._stop = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._broken: set[str] = set()

    def observe(self, seen: Observation) -> None:
        """A request has ended; judged later."""
        self._observed.append(seen)

    def waited(self, wait: Wait) -> None:
        """A request has ended that a policy had placed; judged later."""
        self._waits.append(wait)

    def held_too_long(self, by: str, waited_s: float) -> None:
        """A request was placed without the policy that had held it for so long."""
        self._expired_holds[by] = max(self._expired_holds.get(by, 0.0), waited_s)

    def standing(self) -> Comparison | None:
        """How the policy on trial, or the live one, compares with its control so far."""
        compared = self._slot.live.compared
        subject = self._subjects.get(compared) if compared is not None else None
        return subject.comparison if subject else None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch until left."""
        self._loop = asyncio.get_running_loop()
        self._stop.clear()
        self.take_sample()
        sampling = asyncio.create_task(self._keep_sampling())
        thread = threading.Thread(target=self._run, name="evolver-watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            sampling.cancel()
            self._stop.set()
            await asyncio.to_thread(thread.join, CLOSE_S)
            await asyncio.gather(sampling, return_exceptions=True)

    async def _keep_sampling(self) -> None:
        while True:
            await asyncio.sleep(self._limits.poll_s)
            self.take_sample()

    def take_sample(self) -> None:
        """Hand over how things stand, on the event loop."""
        now_s = self._now_s()
        held, rows = self.held(), self._table.open_rows(now_s)
        expired, self._expired_holds = self._expired_holds, {}
        for digest, waited_s in expired.items():
            known = held.get(digest, Holding())
            held[digest] = Holding(known.count + 1, max(known.oldest_s, waited_s))
        picks = {ready: count.copy() for ready, count in self._decider.picks.items()}
        self._sample = _Sample(now_s, rows, picks, held)
        self._sampled_s = time.perf_counter()
        self._samples.turn(self._sampled_s)

    def _run(self) -> None:
        last = False
        while not last:
            last = self._stop.wait(self._limits.poll_s)
            self.look()

    def look(self) -> None:
        """Look at everything once; never beside `running`, whose thread does that."""
        if self._turns.turn(time.perf_counter()):
            self._metrics.stood_still()
        for look in (
            self._look_at_files, self._look_at_call, self._look_at_expiry, self._look_at_times,
            self._look_at_sample, self._look_at_arms, self._compare, self._write_dumps,
            self.beside, self.beside_hooks,
        ):  # fmt: skip
            self._guarded(look)

    def _guarded(self, look: Callable[[], None]) -> None:
        """One look that fails must not blind the others."""
        try:
            look()
        except Exception as error:
            if look.__name__ not in self._broken:
                _log.error("the watchdog's %s: %s", look.__name__, type(error).__name__)
            self._broken.add(look.__name__)

    def _look_at_files(self) -> None:
        if self._slot.look() and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.on_release)

    def _look_at_call(self) -> None:
        asking = self._decider.asking
        now_s = time.perf_counter()
        self._metrics.lagged(now_s - self._sampled_s)
        if self._turns.settling(now_s) or asking is None:
            return
        if now_s - asking[1] > self._limits.hang_s:
            waited = f"a decision has not returned for {now_s - asking[1]:.3g} s"
            self._slot.eject(asking[0], EjectionKind.STALL, waited)

    def _look_at_expiry(self) -> None:
        live = self._slot.live
        if self._term.now() >= live.expires_unix_s:
            for ready in live.policies:
                self._slot.eject(ready, EjectionKind.EXPIRED, "its approval has expired")

    def _look_at_times(self) -> None:
        for ready, times in self._decider.times.copy().items():
            if reason := times.slow():
                self._slot.eject(ready, EjectionKind.SLOW, reason)

    def _look_at_sample(self) -> None:
        sample, self._sample = self._sample, None
        if sample is None:
            return
        engines = _engines_of(sample.rows)
        subjects = self._present_subjects()
        self._hand_over_waits(subjects)
        settling = self._settling()
        bound_s = max(self._limits.stale_s, STALE_SCRAPES * self.scrape_s)
        stale = stale_signals(engines, bound_s) if subjects else ""
        if not (stale and settling):
            self._slot.set_stale(bool(stale), stale)
        for subject in subjects if self._slot.off is None else ():
            if settling:
                subject.begin_anew()
            else:
                self._look_at_subject(subject, sample, engines)

    def _settling(self) -> bool:
        """Whether the process, or its event loop, stood still a moment ago."""
        now_s = time.perf_counter()
        return self._turns.settling(now_s) or self._samples.settling(now_s)

    def _hand_over_waits(self, subjects: list[Subject]) -> None:
        while self._waits:
            wait = self._waits.popleft()
            for subject in subjects:
                subject.waited(wait)

    def _look_at_subject(
        self, subject: Subject, sample: _Sample, engines: Mapping[int, EngineReading]
    ) -> None:
        ready = subject.ready
        held = sample.held.get(ready.digest, Holding())
        verdict = subject.judge(Reading(sample.at_s, engines, sample.picks.get(ready, {}), held))
        if verdict is not None:
            self._slot.eject(ready, *verdict)

    def _look_at_arms(self) -> None:
        subjects = self._present_subjects()
        while self._observed:
            seen = self._observed.popleft()
            for subject in subjects:
                subject.seen(seen)
        for subject in subjects:
            if subject.comparison is None or subject.shares is None:
                continue
            now_s = self._now_s()
            self._metrics.compared(subject.shares, subject.comparison, now_s)
            if (verdict := subject.compare(now_s)) is not None:
                self._slot.eject(subject.ready, *verdict)

    def _compare(self) -> None:
        """Ask the default policy, and the shadow; one that fails is no candidate any more."""
        ready = self._slot.live.shadow
        if self._trial is None or self._trial.ready is not ready:
            self._trial = ShadowCompare(ready) if ready is not None and ready.router else None
        while (given := self._decider.shadowed.take()) is not None:
            if self.shadow is not None and self._decider.is_sample(given.number):
                self._metrics.shadowed(DEFAULT, self.shadow.result(given))
            if self._trial is None:
                continue
            seen = self._trial.result(given)
            self._metrics.shadowed(SHADOW, seen)
            if seen.answer == FAULT:
                reason = "it failed as a shadow, where nothing hung on it"
                self._slot.eject(self._trial.ready, EjectionKind.ERROR, reason)
                self._trial = None

    def _write_dumps(self) -> None:
        while self._slot.pending:
            ejection = self._slot.pending.popleft()
            self._slot.sync()
            if self._dumps is not None:
                recent = self._decider.recent.all()
                text = dump_text(ejection, self._metrics.counters(), recent)
                write_dump(self._dumps, ejection, text)

    def _present_subjects(self) -> list[Subject]:
        """The checks of what decides now; a policy that comes in starts with fresh ones."""
        live = self._slot.live
        shares = self._decider.shares(live)
        wanted = [one for one in (live.canary, live.deciding) if one is not None and one.router]
        subjects = {}
        for ready in wanted:
            own = shares if ready is live.compared else None
            known = self._subjects.get(ready)
            same = known is not None and known.shares == own
            subjects[ready] = known if known and same else Subject(ready, self._limits, own)
        self._subjects = subjects
        return list(subjects.values())


def _engines_of(rows: Rows) -> dict[int, EngineReading]:
    engines = {}
    for row in rows:
        used, capacity = int(row["kv_used_tokens"]), int(row["kv_capacity_tokens"])
        engines[int(row["id"])] = EngineReading(
            outstanding=max(0, int(row["queued_requests"])) + max(0, int(row["running_requests"])),
            kv_use=used / capacity if used >= 0 and capacity > 0 else math.nan,
            signal_age_s=float(row["signal_age_s"]),
            speed=float(row["prefill_tokens_per_s"]),
            queued=max(0, int(row["queued_requests"])),
            kind=tuple(float(row[name]) for name in OF_A_KIND),
        )
    return engines
