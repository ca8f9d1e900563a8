"""Asks a policy on trial what an engine's policy was asked: the same order, admission, budget?

The engine's thread copies the rows that it showed and what was answered; the watchdog's thread asks
again, with rows and a memory of its own, so no step waits for it, and for a short time only: that
thread has the live policy to look after. What is on trial decides nothing here. A shadow is asked
in every engine. During a canary the engines that it drew ask the active policy beside it, and all
others ask the canary: either way the two are compared on every engine.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sandbox import contract
from sandbox.errors import PolicyFault
from serving_adapter.activation import Ready, missing_rows, new_memory
from serving_adapter.engine_hooks.hook_caller import HookCaller
from serving_adapter.engine_hooks.hook_metrics import HookMetrics
from serving_adapter.host import PolicyHost
from serving_adapter.live import Live
from serving_adapter.safety.ejection import EjectionKind
from serving_adapter.safety.shadow import AGREE, DIFFER, FAULT, SHADOW, ShadowResult

CANARY, ACTIVE = "canary", "active"  # whom an answer is of, beside `SHADOW`
MAX_WAITING = 64
MAX_REQUESTS = 256  # of one order; those behind them are not compared
LOOK_S = 0.1  # of processor time in one look; what is not asked by then is not compared


class Shown(NamedTuple):
    """The two rows of one question, and its answer: a key, 0.0 or 1.0, a token budget."""

    request: bytes
    instance: bytes
    answer: float


class _Decided(NamedTuple):
    """What one policy decided in one go, to be asked of another."""

    whose: str
    ready: Ready
    hook: str
    shown: tuple[Shown, ...]


class Beside:
    """What is asked beside the policy that decides in one engine.

    Attributes:
        wanted: whether anybody is to be asked; only then rows are copied.

    Args:
        clock: processor time of the thread that looks, in seconds.
    """

    def __init__(
        self,
        host: PolicyHost,
        metrics: HookMetrics,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self.wanted = False
        self._host, self._metrics, self._clock = host, metrics, clock
        self._asked: tuple[tuple[str, Ready], ...] = ()
        self._shown: list[Shown] = []
        self._waiting: deque[_Decided] = deque(maxlen=MAX_WAITING)
        self._second: dict[tuple[str, Ready], _Second] = {}
        host.watchdog.beside_hooks = self.look

    def went_live(self, live: Live, *, drawn: bool) -> None:
        """Others are live now; `drawn` says that the canary decides in this engine."""
        asked = [(SHADOW, live.shadow)]
        if live.canary is not None:
            asked.append((ACTIVE, live.deciding) if drawn else (CANARY, live.canary))
        self._asked = tuple((whose, one) for whose, one in asked if one is not None and one.loaded)
        self.wanted = bool(self._asked)
        self._shown.clear()

    def show(self, request: bytes, instance: bytes, answer: float) -> None:
        """The policy that decides has answered one question."""
        if len(self._shown) < MAX_REQUESTS:
            self._shown.append(Shown(request, instance, answer))

    def forget(self) -> None:
        """What was answered does not count."""
        self._shown.clear()

    def decided(self, hook: str) -> None:
        """All that was shown belongs to one decision, which holds."""
        shown = tuple(self._shown)
        self._shown.clear()
        for whose, ready in self._asked if shown else ():
            if not self._host.slot.is_latched(ready.digest):
                self._waiting.append(_Decided(whose, ready, hook, shown))

    def look(self) -> None:
        """Ask what has come since, in the watchdog's thread."""
        present = set(self._asked)
        self._second = {who: one for who, one in self._second.items() if who in present}
        until_s = self._clock() + LOOK_S

        def on() -> bool:
            return self._clock() < until_s

        while self._waiting:
            given = self._waiting.popleft()
            if not on():
                continue
            who = given.whose, given.ready
            if who not in present or self._host.slot.is_latched(given.ready.digest):
                continue
            second = self._second.get(who) or _Second(given.ready)
            self._second[who] = second
            for result in second.results(given.hook, given.shown, on):
                self._count(given, result)

    def _count(self, given: _Decided, result: str) -> None:
        self._metrics.asked_beside(given.whose, given.hook, result)
        self._host.metrics.shadowed(given.whose, ShadowResult(result))
        if result == FAULT and given.whose != ACTIVE:  # who decides elsewhere
            reason = f"{given.hook}: it failed beside another policy, where nothing hung on it"
            self._host.slot.eject(given.ready, EjectionKind.ERROR, reason)


class _Second:
    """One policy that is asked again, on rows of its own and in a memory of its own."""

    def __init__(self, ready: Ready) -> None:
        if ready.loaded is None:
            raise ValueError("It is asked in another process.")
        self._request = missing_rows(contract.Request, 1)
        self._instance = missing_rows(contract.Instance, 1)
        self._bytes = self._request.view(np.uint8).data, self._instance.view(np.uint8).data
        self._caller = HookCaller(ready.loaded, self._request, self._instance, new_memory())

    def results(
        self, hook: str, shown: Sequence[Shown], on: Callable[[], bool]
    ) -> Iterator[str]:
        """Whether it says the same: of an order once, else of each answer; nothing without it.

        Args:
            on: whether there is time for another question.
        """
        if not self._caller.has(hook):
            return
        try:
            asked = itertools.takewhile(lambda _: on(), shown)
            answers = [self._answer(hook, one) for one in asked]
        except PolicyFault:
            yield FAULT
            return
        if not all(map(math.isfinite, answers)):
            yield FAULT
            return
        given = [one.answer for one in shown[: len(answers)]]
        if hook == "priority":
            if len(answers) == len(shown):  # of a part of an order nothing is known
                yield AGREE if _order(answers) == _order(given) else DIFFER
            return
        same = bool if hook == "admit" else int
        for answer, one in zip(answers, given, strict=True):
            yield AGREE if same(answer) == same(one) else DIFFER

    def _answer(self, hook: str, shown: Shown) -> float:
        self._bytes[0][:], self._bytes[1][:] = shown.request, shown.instance
        answer = self._caller.call(hook)
        return float(self._instance["knob_token_budget"][0]) if hook == "tune" else answer


def _order(keys: Sequence[float]) -> list[int]:
    """Lowest first, equal ones as they stand."""
    key: Callable[[int], float] = keys.__getitem__
    return sorted(range(len(keys)), key=key)
