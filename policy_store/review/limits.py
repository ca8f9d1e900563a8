"""How often somebody may try: growing delays for sign-ins, a rate for forms, in bounded memory."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

MAX_KEYS = 10_000
FORGOTTEN_AFTER_S = 3600.0
NAME_FREE, NAME_CAP_S = 10, 60.0
"""Tries for one name before they are put off, and for how long at most: a stranger can delay its
owner no longer than that."""
ADDRESS_FREE, ADDRESS_CAP_S = 20, 900.0


class TooMany(Exception):
    """Somebody tries too often: 429, and when to try again."""

    def __init__(self, wait_s: float) -> None:
        wait = max(1, math.ceil(wait_s))
        self.headers = {"Retry-After": str(wait)}
        super().__init__(f"That was too often: try again in {wait} s.")


@dataclass(slots=True)
class _Tries:
    count: int = 0
    last: float = 0.0
    closed_until: float = 0.0


@dataclass(slots=True)
class _Rate:
    left: float
    at: float


@dataclass(slots=True)
class Limits:
    """What has been tried lately, by whom; safe to use from many threads.

    Attributes:
        clock: seconds that never go back.
    """

    clock: Callable[[], float] = time.monotonic
    _tries: OrderedDict[str, _Tries] = field(default_factory=OrderedDict)
    _rates: OrderedDict[str, _Rate] = field(default_factory=OrderedDict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def trying(self, name: str, address: str) -> None:
        """Count a sign-in, before it is known to fail, so that many at once count, too.

        Raises:
            TooMany: there were too many for that name or from that address; this one is not
                counted.
        """
        now = self.clock()
        with self._turn:
            kept = [(self._tried(key, now), free, cap) for key, free, cap in _keys(name, address)]
            wait_s = max(tries.closed_until for tries, _, _ in kept) - now
            if wait_s > 0:
                raise TooMany(wait_s)
            for tries, free, cap_s in kept:
                tries.count, tries.last = tries.count + 1, now
                beyond = tries.count - free
                if beyond >= 0:
                    tries.closed_until = now + min(cap_s, 2.0 ** min(beyond, 30))

    def succeeded(self, name: str, address: str) -> None:
        """Somebody was who they said: forget the tries for the name, and one of the address."""
        with self._turn:
            self._tries.pop(f"name {name}", None)
            tries = self._tries.get(f"address {block_of(address)}")
            if tries is not None:
                tries.count, tries.closed_until = max(0, tries.count - 1), 0.0

    def posted(self, who: str, per_minute: int) -> None:
        """Count a form or a change.

        Raises:
            TooMany: somebody sends more than so many a minute.
        """
        now = self.clock()
        with self._turn:
            rate = self._rates.setdefault(who, _Rate(float(per_minute), now))
            rate.left = min(per_minute, rate.left + (now - rate.at) * per_minute / 60.0)
            rate.at = now
            _bound(self._rates, who)
            if rate.left < 1.0:
                raise TooMany((1.0 - rate.left) * 60.0 / per_minute)
            rate.left -= 1.0

    def _tried(self, key: str, now: float) -> _Tries:
        tries = self._tries.setdefault(key, _Tries())
        if now - tries.last > FORGOTTEN_AFTER_S:
            tries.count = 0
        _bound(self._tries, key)
        return tries


def block_of(address: str) -> str:
    """Whom an address belongs to: itself, or the /64 network of an IPv6 one."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def _keys(name: str, address: str) -> Iterable[tuple[str, int, float]]:
    yield f"name {name[:80]}", NAME_FREE, NAME_CAP_S
    yield f"address {block_of(address)}", ADDRESS_FREE, ADDRESS_CAP_S


def _bound(kept: OrderedDict[str, _Tries] | OrderedDict[str, _Rate], key: str) -> None:
    """The one just used is the last to be forgotten."""
    kept.move_to_end(key)
    while len(kept) > MAX_KEYS:
        kept.popitem(last=False)
