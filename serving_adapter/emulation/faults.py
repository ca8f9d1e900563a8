"""Faults of an emulated engine, on demand and by a schedule.

    slow:4           steps take 4 times as long
    hung             connections are taken, nothing is answered, nothing is computed
    stalled          nothing is computed, but the pages (/health, /metrics) still answer
    crash            the process is killed, in mid-stream
    drop:0.3         3 in 10 answers break off in the middle
    error:0.5        half of the requests get 500
    oom              running requests get 500, then the process ends with 1, as when memory is out
    kv:0.9           9 in 10 KV blocks are held by nobody
    flap:2           every 2 s, connections are broken for the next 2 s

`@10` lets one begin 10 s from now and `+5` end 5 s later (`slow:4@10+5`); real seconds both.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from serving_adapter.errors import FleetError
from serving_adapter.openai_api import Body

MAX_FAULTS = 64


class FaultKind(StrEnum):
    """What goes wrong."""

    SLOW = "slow"
    HUNG = "hung"
    STALLED = "stalled"
    CRASH = "crash"
    DROP = "drop"
    ERROR = "error"
    OOM = "oom"
    KV = "kv"
    FLAP = "flap"


ENDS = frozenset({FaultKind.CRASH, FaultKind.OOM})
# What each value means and how large it may be; a fault that is not here takes none.
_LARGEST = {
    FaultKind.SLOW: 10_000.0,
    FaultKind.DROP: 1.0,
    FaultKind.ERROR: 1.0,
    FaultKind.KV: 1.0,
    FaultKind.FLAP: 3600.0,
}
_WORD = re.compile(
    r"(?P<kind>[a-z]+)(:(?P<value>[0-9.]+))?(@(?P<after_s>[0-9.]+))?(\+(?P<for_s>[0-9.]+))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        value: factor of `slow`, share of `drop`, `error` and `kv`, period in seconds of `flap`.
        after_s, for_s: real seconds until it begins and for which it lasts.
    """

    kind: FaultKind
    value: float = 1.0
    after_s: float = 0.0
    for_s: float = math.inf

    def __post_init__(self) -> None:
        largest = _LARGEST.get(self.kind, 1.0)
        if not (0 < self.value <= largest and 0 <= self.after_s < math.inf and self.for_s > 0):
            raise FleetError(
                f"A fault {self.kind} has a value above 0 and up to {largest:g}, and begins and "
                "ends after now: change it."
            )

    def __str__(self) -> str:
        until = "" if math.isinf(self.for_s) else f"+{self.for_s:g}"
        return f"{self.kind}:{self.value:g}@{self.after_s:g}{until}"


def read_fault(text: str) -> Fault:
    """A fault from a word such as `slow:4@10+5`.

    Raises:
        FleetError: it is no such word.
    """
    found = _WORD.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        given = {name: word for name, word in found.groupdict().items() if word is not None}
        kind = FaultKind(given.pop("kind"))
        return Fault(kind=kind, **{name: float(word) for name, word in given.items()})
    except ValueError:
        kinds = ", ".join(FaultKind)
        raise FleetError(
            f"No fault is called {text[:40]!r}: give KIND[:VALUE][@AFTER_S][+FOR_S] with {kinds}."
        ) from None


@dataclass(slots=True)
class Faults:
    """The faults of one engine, by the clock of the event loop.

    Attributes:
        on_end: what `crash` and `oom` do, in the end, to the process.
        on_oom: tells the requests inside that their engine is gone.
    """

    on_end: Callable[[FaultKind], None]
    on_oom: Callable[[], None]
    _standing: list[tuple[Fault, float]] = field(default_factory=list)
    _endings: list[asyncio.TimerHandle] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: random.Random(0))

    def add(self, fault: Fault) -> None:
        """Let a fault come.

        Raises:
            FleetError: there are too many.
        """
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        self._standing = [(one, at) for one, at in self._standing if at + one.for_s > now_s]
        if len(self._standing) + len(self._endings) >= MAX_FAULTS:
            raise FleetError(f"An engine has {MAX_FAULTS} faults at most: clear them first.")
        if fault.kind in ENDS:
            self._endings.append(loop.call_later(fault.after_s, self._end, fault.kind))
        else:
            self._standing.append((fault, now_s + fault.after_s))

    def clear(self) -> None:
        """No fault, now and later."""
        self._standing.clear()
        while self._endings:
            self._endings.pop().cancel()

    def present(self) -> tuple[Fault, ...]:
        """Those that have begun and not ended."""
        return tuple(fault for fault, _ in self._begun())

    def value(self, kind: FaultKind) -> float:
        """The latest value of a fault that is present, 0 where there is none."""
        values = [fault.value for fault, _ in self._begun() if fault.kind is kind]
        return values[-1] if values else 0.0

    def strikes(self, kind: FaultKind) -> bool:
        """Whether a fault with a share hits this time."""
        share = self.value(kind)
        return share > 0 and self._random.random() < share

    @property
    def hung(self) -> bool:
        """Whether nothing is answered."""
        return self.value(FaultKind.HUNG) > 0

    @property
    def standing_still(self) -> bool:
        """Whether nothing is computed."""
        return self.hung or self.value(FaultKind.STALLED) > 0

    @property
    def away(self) -> bool:
        """Whether connections are broken just now."""
        now_s = asyncio.get_running_loop().time()
        flapping = [one for one in self._begun() if one[0].kind is FaultKind.FLAP]
        return any(int((now_s - at) / fault.value) % 2 == 0 for fault, at in flapping)

    def _begun(self) -> list[tuple[Fault, float]]:
        if not self._standing:
            return []
        now_s = asyncio.get_running_loop().time()
        return [(one, at) for one, at in self._standing if at <= now_s < at + one.for_s]

    def _end(self, kind: FaultKind) -> None:
        if kind is FaultKind.OOM:
            self.on_oom()
            # Long enough for the answers to leave, as the real one's do before its process ends.
            self._endings.append(asyncio.get_running_loop().call_later(0.05, self.on_end, kind))
        else:
            self.on_end(kind)


def fault_of(body: Body) -> Fault:
    """A fault from the body of an admin request.

    Raises:
        FleetError: a field is not what it should be.
    """
    numbers = {name: body[name] for name in ("value", "after_s", "for_s") if name in body}
    wrong = any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers.values())
    if wrong or body.get("kind") not in list(FaultKind) or body.keys() - {"kind", *numbers}:
        raise FleetError("A fault is kind, value, after_s and for_s: see the emulator's docs.")
    return Fault(kind=FaultKind(body["kind"]), **numbers)
