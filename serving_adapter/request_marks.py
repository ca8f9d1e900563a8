"""What rows show of the one request that asks: its cached prefix, and its tenant's requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from serving_adapter.facts import RequestFacts
from serving_adapter.instance_rows import Columns

Counts = npt.NDArray[np.int64]

FEW_ENGINES = 8  # of one tenant are written one by one, more at once


@dataclass(slots=True, eq=False)
class _Tenant:
    by_id: dict[int, int] = field(default_factory=dict)
    by_position: Counts | None = None


class TenantCounts:
    """Requests by tenant and engine; a tenant without any is forgotten.

    Args:
        position_of: where the row of an engine is.
        size: how many rows there are.
    """

    def __init__(self, position_of: Callable[[int], int], size: Callable[[], int]) -> None:
        self._position_of, self._size = position_of, size
        self._tenants: dict[int, _Tenant] = {}

    def add(self, tenant: int, instance_id: int, sign: int) -> int:
        """Count a request in or out: 1 where the tenant is new to the engine, -1 where it left."""
        of = self._tenants.get(tenant)
        if of is None:
            of = self._tenants[tenant] = _Tenant()
        before = of.by_id.get(instance_id, 0)
        now = max(0, before + sign)
        if now:
            of.by_id[instance_id] = now
        else:
            of.by_id.pop(instance_id, None)
            if not of.by_id:
                del self._tenants[tenant]
        if of.by_position is not None:
            of.by_position[self._position_of(instance_id)] = now
        return (now > 0) - (before > 0)

    def of(self, tenant: int) -> tuple[tuple[int, int], ...] | Counts:
        """Positions and counts of a few engines, or a count for every row; not to be changed."""
        of = self._tenants.get(tenant)
        if of is None:
            return ()
        if len(of.by_id) <= FEW_ENGINES:
            of.by_position = None
            position_of = self._position_of
            return tuple([(position_of(number), count) for number, count in of.by_id.items()])
        if of.by_position is None:
            of.by_position = np.zeros(self._size(), np.int64)
            for number, count in of.by_id.items():
                of.by_position[self._position_of(number)] = count
        return of.by_position

    def rows_moved(self) -> None:
        """Engines came or went: nothing that is kept by position holds any more."""
        for of in self._tenants.values():
            of.by_position = None

    def forget(self, instance_id: int) -> None:
        """An engine has gone, and its requests with it."""
        for of in self._tenants.values():
            of.by_id.pop(instance_id, None)
        self._tenants = {tenant: of for tenant, of in self._tenants.items() if of.by_id}


class RequestMarks:
    """Writes what depends on the request into the rows, and undoes what the one before left.

    Args:
        counts_flights: whether a tenant's requests are known at all.

    Attributes:
        cached: where a part of the prompt is: (position, tokens); None for nowhere.
        tenants: requests of the tenant, as `TenantCounts.of` has them.
    """

    def __init__(
        self,
        position_of: Callable[[int], int],
        size: Callable[[], int],
        *,
        counts_flights: bool,
    ) -> None:
        self.counts = TenantCounts(position_of, size)
        self.cached: tuple[int, int] | None = None
        self.tenants: tuple[tuple[int, int], ...] | Counts = ()
        self._counts_flights = counts_flights

    def rows_moved(self, columns: Columns) -> None:
        """Engines came or went: begin with rows that show nothing."""
        self.cached, self.tenants = None, ()
        self.counts.rows_moved()
        columns["cached_prefix_tokens"][:] = 0
        if self._counts_flights:
            columns["tenant_requests"][:] = 0

    def write(self, columns: Columns, facts: RequestFacts, previous: int | None) -> None:
        """Mark the rows; `previous` is where the engine of the session's last call is, if any."""
        cached = columns["cached_prefix_tokens"]
        if self.cached is not None:
            cached[self.cached[0]] = 0
        self.cached = None
        if previous is not None and facts.cached_tokens:
            self.cached = previous, facts.cached_tokens
            cached[previous] = facts.cached_tokens
        if self._counts_flights:
            self._write_tenant(columns["tenant_requests"], self.counts.of(facts.tenant))

    def _write_tenant(self, column: Counts, marks: tuple[tuple[int, int], ...] | Counts) -> None:
        before, self.tenants = self.tenants, marks
        if not isinstance(marks, tuple):
            column[:] = marks
            return
        if not isinstance(before, tuple):
            column[:] = 0
        else:
            for position, _ in before:
                column[position] = 0
        for position, count in marks:
            column[position] = count

    def kept(self) -> tuple[tuple[int, int], ...] | bytes | None:
        """The tenant's requests, to be kept; None where they are not known."""
        if not self._counts_flights:
            return None
        return self.tenants if isinstance(self.tenants, tuple) else self.tenants.tobytes()
