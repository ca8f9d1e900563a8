"""Cluster events that are handed in over HTTP: who may, and what is taken; the server is elsewhere.

    hook = Webhook(token)
    events = hook.take(body, authorization)   # of POST /cluster-events

The token comes as `Authorization: Bearer TOKEN` and is compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable

from evolver.errors import EvolverError
from telemetry.cluster_events import FARTHEST_AHEAD_S, ClusterEvent, events_of
from telemetry.errors import RowError

FEWEST_TOKEN_CHARS = 20
FARTHEST_BACK_S = 86_400.0


class EventsRefused(EvolverError):
    """A call of the webhook that is not taken.

    Attributes:
        status: of the HTTP answer: 400 or 401.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Webhook:
    """Takes rows of whoever knows the token; keeps a digest of it only.

    Args:
        token: at least 20 characters.
        clock: wall-clock seconds.

    Raises:
        EventsRefused: the token is too short to keep anybody out.
    """

    def __init__(self, token: str, clock: Callable[[], float] = time.time) -> None:
        if len(token) < FEWEST_TOKEN_CHARS:
            raise EventsRefused(
                401, f"A token has at least {FEWEST_TOKEN_CHARS} characters; make a longer one."
            )
        self._digest = _digest(token)
        self._clock = clock

    def take(self, body: bytes, authorization: str | None) -> tuple[ClusterEvent, ...]:
        """The events of one call.

        Raises:
            EventsRefused: 401 without the token; 400 where a row is none, then none is taken.
        """
        kind, _, token = (authorization or "").partition(" ")
        if not hmac.compare_digest(_digest(token.strip()), self._digest) or kind != "Bearer":
            raise EventsRefused(401, "The token is missing or wrong; send Authorization: Bearer.")
        try:
            events = events_of(body)
        except RowError as error:
            raise EventsRefused(400, str(error)) from None
        now_unix_s = self._clock()
        for number, event in enumerate(events, 1):
            if not -FARTHEST_BACK_S <= event.unix_s - now_unix_s <= FARTHEST_AHEAD_S:
                raise EventsRefused(
                    400, f"Row {number} is not of the last day; set the sender's clock right."
                )
        return events


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
