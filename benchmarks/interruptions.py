"""Tells timings that the kernel interrupted from those it did not, by when they were taken.

A timer tick of a virtual machine costs tens of microseconds, as much as what is measured. Leaving
out slow timings would flatter; this leaves out those during which a tick was due, or another thread
got the processor, however long they took. When ticks are due is found by spinning before.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SPIN_S = 1.0
GAP_NS, LONG_NS = 3_000, 500_000  # a turn of the spinning loop takes 100
PERIODS_NS = (1_000_000, 3_333_333, 4_000_000, 10_000_000)  # of kernels with 1000 to 100 Hz
BEFORE_NS, AFTER_NS = 50_000, 150_000  # around where most gaps begin
CLEARLY = 1.25  # a longer period must explain more: every second tick explains itself, too
LEAST_SHARE = 0.5  # of the ticks that a period makes due must have been seen


@dataclass(frozen=True)
class Ticks:
    """When the timer ticks: about `phase_ns` into each period; without a period it does not."""

    period_ns: int = 0
    phase_ns: int = 0
    typical_us: float = 0.0

    def due(self, began_ns: int, ended_ns: int) -> bool:
        """Whether a tick was due between these two times."""
        if not self.period_ns:
            return False
        after_ns = (began_ns - self.phase_ns + BEFORE_NS) % self.period_ns
        return after_ns < BEFORE_NS + AFTER_NS or after_ns + ended_ns - began_ns >= self.period_ns

    def __str__(self) -> str:
        if not self.period_ns:
            return "(no timer tick was found)"
        return (
            f"the timer's tick ({self.typical_us:.2g} us every {self.period_ns / 1e6:g} ms) was due"
        )


@contextmanager
def one_processor() -> Iterator[None]:
    """Stay on one processor: each has ticks of its own."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def find_ticks(spin_s: float = SPIN_S) -> Ticks:
    """Spin, and see at which times of which period the loop stands still."""
    gaps = _gaps(spin_s)
    own_ns = 1e9 * spin_s - gaps[gaps[:, 1] > LONG_NS, 1].sum()  # others had it for the rest
    short = gaps[gaps[:, 1] <= LONG_NS]
    found, best = Ticks(), LEAST_SHARE / CLEARLY
    for period_ns in PERIODS_NS:
        phases_ns = short[:, 0] % period_ns
        turned_ns = (phases_ns[:, None] - phases_ns) % period_ns  # each gap seen from each other
        near = np.minimum(turned_ns, period_ns - turned_ns) < BEFORE_NS
        centre = int(near.sum(1).argmax()) if len(short) else 0
        share = near[centre].sum() * period_ns / own_ns if len(short) else 0.0
        if share > CLEARLY * best:
            typical_us = float(np.median(short[near[centre], 1])) / 1e3
            found, best = Ticks(period_ns, int(phases_ns[centre]), typical_us), share
    return found


def _gaps(spin_s: float) -> npt.NDArray[np.int64]:
    """When the loop stood still and for how long, in nanoseconds."""
    gaps, clock = [], time.perf_counter_ns
    before = clock()
    end = before + int(1e9 * spin_s)
    while before < end:
        now = clock()
        if now - before > GAP_NS:
            gaps.append((before, now - before))
        before = now
    return np.array(gaps, np.int64).reshape(-1, 2)


def switches() -> int:
    """How often this thread has lost its processor to another."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
