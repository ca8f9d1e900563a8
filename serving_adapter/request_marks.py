"""What rows show of the one request that asks: its cached prefix, and its tenant's requests."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from serving_adapter.facts import RequestFacts
from serving_adapter.instance_rows import ROW_WORDS, WORD, Columns

Counts = npt.NDArray[np.int64]
Pairs = tuple[tuple[int, int], ...]

FEW_ENGINES = 8  # of one tenant are written one by one, more at once
_CACHED, _TENANT = WORD["cached_prefix_tokens"], WORD["tenant_requests"]


@dataclass(slots=True, eq=False)
class _Tenant:
    """Requests by position, and what `TenantCounts.of` made of them."""

    few: dict[int, int] = field(default_factory=dict)
    all: Counts | None = None  # while there are many


class TenantCounts:
    """Requests by tenant and row; a tenant without any is forgotten."""

    def __init__(self) -> None:
        self._tenants: dict[int, _Tenant] = {}
        self._size = 0

    def add(self, tenant: int, position: int, sign: int) -> int:
        """Count a request in or out: 1 where the tenant is new to the engine, -1 where it left."""
        of = self._tenants.get(tenant)
        if of is None:
            of = self._tenants[tenant] = _Tenant()
        before = of.few.get(position, 0)
        now = max(0, before + sign)
        if now:
            of.few[position] = now
        else:
            of.few.pop(position, None)
            if not of.few:
                del self._tenants[tenant]
        if of.all is not None:
            of.all[position] = now
        return (now > 0) - (before > 0)

    def of(self, tenant: int) -> Pairs | Counts:
        """Positions and counts of a few engines, or a count for every row; not to be changed."""
        of = self._tenants.get(tenant)
        if of is None:
            return ()
        engines = len(of.few)
        if engines <= FEW_ENGINES // 2:  # of a tenant between the two, neither is made all the time
            of.all = None
        if engines <= FEW_ENGINES and of.all is None:
            return tuple(of.few.items())
        if of.all is None:
            of.all = np.zeros(self._size, np.int64)
            for position, count in of.few.items():
                of.all[position] = count
        return of.all

    def rows_moved(self, size: int) -> None:
        """So many rows there are now: nothing that has one count for each holds any more."""
        self._size = size
        for of in self._tenants.values():
            of.all = None

    def forget(self, gone: int) -> None:
        """An engine has gone, and its requests with it; those behind it move up."""
        for of in self._tenants.values():
            of.few.pop(gone, None)
            of.few = {at - (at > gone): count for at, count in of.few.items()}
        self._tenants = {tenant: of for tenant, of in self._tenants.items() if of.few}


class RequestMarks:
    """Writes what depends on the request into the rows, and undoes what the one before left.

    Args:
        counts_flights: whether a tenant's requests are known at all.

    Attributes:
        cached: where a part of the prompt is: (position, tokens); None for nowhere.
        tenants: requests of the tenant, as `TenantCounts.of` has them.
    """

    def __init__(self, *, counts_flights: bool) -> None:
        self.counts = TenantCounts()
        self.cached: tuple[int, int] | None = None
        self.tenants: Pairs | Counts = ()
        self._counts_flights = counts_flights

    def rows_moved(self, columns: Columns, words: memoryview) -> None:
        """Engines came or went: begin with rows that show nothing.

        Args:
            columns: of the rows.
            words: the same rows as int64.
        """
        self._words, self._column = words, columns["tenant_requests"]
        self.cached, self.tenants = None, ()
        self.counts.rows_moved(len(self._column))
        columns["cached_prefix_tokens"][:] = 0
        if self._counts_flights:
            self._column[:] = 0

    def write(self, facts: RequestFacts, previous: int | None) -> None:
        """Mark the rows; `previous` is where the engine of the session's last call is, if any."""
        words = self._words
        if self.cached is not None:
            words[self.cached[0] * ROW_WORDS + _CACHED] = 0
            self.cached = None
        if previous is not None and facts.cached_tokens:
            self.cached = previous, facts.cached_tokens
            words[previous * ROW_WORDS + _CACHED] = facts.cached_tokens
        if not self._counts_flights:
            return
        before = self.tenants
        self.tenants = marks = self.counts.of(facts.tenant)
        if not isinstance(marks, tuple):
            self._column[:] = marks
            return
        if isinstance(before, tuple):
            for position, _ in before:
                words[position * ROW_WORDS + _TENANT] = 0
        else:
            self._column[:] = 0
        for position, count in marks:
            words[position * ROW_WORDS + _TENANT] = count

    def kept(self) -> Pairs | bytes | None:
        """The tenant's requests, to be kept; None where they are not known."""
        if not self._counts_flights:
            return None
        return self.tenants if isinstance(self.tenants, tuple) else self.tenants.tobytes()
