"""Requests that the policy holds: asked again, in hold order, when capacity frees or a tick passes.

At most `MAX_RETRIED` are asked again per event. After `max_hold_s` the built-in decision places
them, so that no policy can starve a request.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from serving_adapter.decision import HELD_TOO_LONG, Decision, Outcome
from serving_adapter.facts import RequestFacts
from serving_adapter.host import PolicyHost
from serving_adapter.live import Live
from serving_adapter.safety.checks import Holding, held_by_policy

MAX_RETRIED = 64


@dataclass(slots=True, eq=False)
class _Held:
    facts: RequestFacts
    exclude: frozenset[int]
    since_s: float
    live: Live
    by: str
    decided: asyncio.Future[Decision]
    count: int = 1


class HoldQueue:
    """The held requests of one gateway."""

    def __init__(self, host: PolicyHost, max_hold_s: float = 5.0, tick_s: float = 0.05) -> None:
        self._host = host
        self._max_hold_s = max_hold_s
        self._tick_s = tick_s
        self._held: dict[_Held, None] = {}
        self._asking = False
        host.watchdog.held = self._standing

    def __len__(self) -> int:
        return len(self._held)

    async def wait(
        self, facts: RequestFacts, exclude: frozenset[int], live: Live, by: str
    ) -> Decision:
        """Hold a request until some decision other than HOLD is made for it.

        Args:
            facts: what is known of the request.
            exclude: engines that already failed it.
            live: what was live at its first decision.
            by: digest of the policy that holds it.
        """
        loop = asyncio.get_running_loop()
        held = _Held(facts, exclude, self._host.now_s(), live, by, loop.create_future())
        self._held[held] = None
        try:
            return await held.decided
        finally:
            self._held.pop(held, None)

    def capacity_changed(self) -> None:
        """An engine may have room: ask again as soon as the loop gets to it."""
        if self._held and not self._asking:
            self._asking = True
            asyncio.get_running_loop().call_soon(self._ask_again)

    async def run(self) -> None:
        """Tick for ever; cancel to stop."""
        while True:
            await asyncio.sleep(self._tick_s)
            self._ask_again()

    def _standing(self) -> dict[str, Holding]:
        """What each policy holds, by its digest."""
        return held_by_policy(((one.by, one.since_s) for one in self._held), self._host.now_s())

    def _ask_again(self) -> None:
        self._asking = False
        now_s = self._host.now_s()
        for held in list(self._held)[:MAX_RETRIED]:
            if held.decided.done():  # its client has gone, and its own turn comes after this one
                continue
            try:
                decision = self._decide(held, now_s)
            # A defect costs this request alone: the others would wait for ever for the next tick.
            except Exception as error:
                held.decided.set_exception(error)
                del self._held[held]
                continue
            if decision.outcome is Outcome.HELD:
                held.by = decision.digest
            else:
                held.decided.set_result(decision)
                del self._held[held]

    def _decide(self, held: _Held, now_s: float) -> Decision:
        if now_s >= held.since_s + self._max_hold_s:
            self._host.watchdog.held_too_long(held.by, now_s - held.since_s)
            return self._host.fallback(
                held.facts, HELD_TOO_LONG, held.exclude, held=True, live=held.live
            )
        held.count += 1
        return self._host.route(
            held.facts, exclude=held.exclude, held_count=held.count - 1, live=held.live
        )
