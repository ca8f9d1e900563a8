"""Says once a second, from a thread of its own, what this process runs and did."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from serving_adapter.decision import BUILT_IN_DIGEST, Arm, Author
from serving_adapter.host_metrics import HostMetrics
from serving_adapter.live import Live
from serving_adapter.live_slot import LiveSlot
from serving_adapter.process_report import (
    MAX_EJECTIONS,
    ProcessReport,
    ShadowReport,
    TrialReport,
    forget_old,
    living_reports,
    report_path,
    write_report,
)
from serving_adapter.safety.comparison import Comparison
from serving_adapter.safety.shadow import AGREE, DIFFER, FAULT, SHADOW

EVERY_S = 1.0
CLOSE_S = 5.0  # a disk that hangs keeps nobody from stopping
MOST = 1e300  # wealth may grow beyond what JSON has a number for

_log = logging.getLogger("evolver.host")


@dataclass(frozen=True, slots=True)
class _Counts:
    """What was counted when a trial began."""

    decisions: int = 0
    canary: int = 0
    control: int = 0
    agree: int = 0
    differ: int = 0
    fault: int = 0
    live_s: float = 0.0
    shadow_s: float = 0.0


class Reporter:
    """Writes the report of one process while `running`.

    Attributes:
        dropped: says how many decision inputs were not kept.
        behind: says whether this process takes no work because others have gone further.
        standing: says how what is on trial compares so far.
    """

    def __init__(
        self,
        boot: str,
        state: Path | None,
        slot: LiveSlot,
        metrics: HostMetrics,
        standing: Callable[[], Comparison | None],
    ) -> None:
        self.dropped: Callable[[], int] = int
        self.behind: Callable[[], bool] = bool
        self._boot, self._state = boot, state
        self._slot, self._metrics, self.standing = slot, metrics, standing
        self._started_unix_s = self._since_unix_s = time.time()
        self._trial: tuple[str, float] | None = None
        self._shadow: str | None = None
        self._trial_from = self._shadow_from = _Counts()
        self._failed = False

    def went_live(self, live: Live) -> None:
        """Called between two decisions, so that a trial is counted from its first one."""
        self._since_unix_s = time.time()
        trial = (live.canary.digest, live.weight) if live.canary is not None else None
        shadow = live.shadow.digest if live.shadow is not None else None
        if trial != self._trial:
            self._trial, self._trial_from = trial, self._counts()
        if shadow != self._shadow:
            self._shadow, self._shadow_from = shadow, self._counts()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Report until left; nothing is reported without a state folder."""
        if self._state is None:
            yield
            return
        path = report_path(self._state, os.getpid(), self._boot)
        stop = threading.Event()
        thread = threading.Thread(
            target=self._run, args=(path, stop), name="evolver-reports", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(CLOSE_S)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def served_beside(self, sequence: int) -> bool:
        """Whether another living process of this host runs that sequence, or a later one."""
        if self._state is None:
            return False
        others = (one for one in living_reports(self._state) if one.boot != self._boot)
        return any(one.sequence >= sequence for one in others)

    def living(self) -> set[str]:
        """The boots of this host's processes that are alive."""
        return {one.boot for one in living_reports(self._state)} if self._state else set()

    def report(self) -> ProcessReport:
        """How this process stands."""
        live, metrics = self._slot.live, self._metrics
        count, total_s, longest_s = metrics.swaps()
        deciding = live.digest
        newest = sorted(self._slot.latched, key=lambda one: one.unix_s)[-MAX_EJECTIONS:]
        off = self._slot.off
        return ProcessReport(
            pid=os.getpid(),
            boot=self._boot,
            started_unix_s=self._started_unix_s,
            unix_s=time.time(),
            sequence=live.sequence,
            digest=None if deciding == BUILT_IN_DIGEST else deciding,
            since_unix_s=self._since_unix_s,
            behind=self.behind(),
            off=off.value if off is not None else "",
            decided={author.value: metrics.decisions(author) for author in Author},
            fallbacks=metrics.fallbacks(),
            swaps=count,
            swap_s=longest_s,
            mean_swap_s=total_s / count if count else 0.0,
            dropped=self.dropped(),
            canary=self._canary(live),
            shadow=self._shadow_report(live),
            ejections=tuple(newest),
        )

    def _run(self, path: Path, stop: threading.Event) -> None:
        if self._state is not None:
            forget_old(self._state)
        while True:
            try:
                report = self.report()
                write_report(path, report)
                self._metrics.inputs_dropped(report.dropped)
                self._failed = False
            # Nothing that serves hangs on a report.
            except Exception as error:
                if not self._failed:
                    _log.error("this process cannot report: %s", error)
                self._failed = True
            if stop.wait(EVERY_S):
                return

    def _canary(self, live: Live) -> TrialReport | None:
        standing, canary = self.standing(), live.canary
        if canary is None or standing is None or standing.digest != canary.digest:
            return None
        now, began = self._counts(), self._trial_from
        return TrialReport(
            digest=canary.digest,
            weight=live.weight,
            decisions=now.decisions - began.decisions,
            canary_decisions=now.canary - began.canary,
            control_decisions=now.control - began.control,
            canary_requests=standing.counts[Arm.POLICY],
            control_requests=standing.counts[Arm.CONTROL],
            standing=standing.standing.value,
            evidence=min(standing.evidence, MOST),
            advantage=min(standing.advantage, MOST),
            proof=standing.proof,
        )

    def _shadow_report(self, live: Live) -> ShadowReport | None:
        if live.shadow is None:
            return None
        now, began = self._counts(), self._shadow_from
        return ShadowReport(
            digest=live.shadow.digest,
            agree=now.agree - began.agree,
            differ=now.differ - began.differ,
            fault=now.fault - began.fault,
            live_s=max(0.0, now.live_s - began.live_s),
            shadow_s=max(0.0, now.shadow_s - began.shadow_s),
        )

    def _counts(self) -> _Counts:
        metrics = self._metrics
        return _Counts(
            decisions=sum(metrics.decisions(author) for author in Author),
            canary=metrics.decisions(Author.CANARY),
            control=metrics.arm_decisions(Arm.CONTROL),
            agree=metrics.shadow_results(SHADOW, AGREE),
            differ=metrics.shadow_results(SHADOW, DIFFER),
            fault=metrics.shadow_results(SHADOW, FAULT),
            live_s=metrics.shadow_seconds(SHADOW, "live"),
            shadow_s=metrics.shadow_seconds(SHADOW, "shadow"),
        )
