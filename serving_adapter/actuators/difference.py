"""The difference between the replicas there are and those that a plan wants; nothing is touched.

Replicas are handed to entries of their shape as the simulator does it: first where role, lengths
and shares stay, then where the role stays, then, where the fleet can change roles, anywhere; ready
ones before starting ones, each time in the order given, and failed ones nowhere. So an equal plan
changes nothing, and one that changes only lengths or shares starts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving_adapter.actuators.replicas import (
    Duty,
    PoolSpec,
    Replica,
    ReplicaSpec,
    Shape,
    duties_of,
)
from serving_adapter.errors import PlanRefused


@dataclass(frozen=True, slots=True)
class Change:
    """A replica that stays, and what the router is to make of it from now on."""

    replica: Replica
    spec: ReplicaSpec


@dataclass(frozen=True, slots=True)
class Difference:
    """What becomes of every replica.

    Attributes:
        keep: stays as it is.
        change: stays, with another role, length range or share.
        start: entries for which there is no replica.
        stop: replicas for which there is no entry.
    """

    keep: tuple[Replica, ...]
    change: tuple[Change, ...]
    start: tuple[ReplicaSpec, ...]
    stop: tuple[Replica, ...]

    @property
    def nothing(self) -> bool:
        """Whether what is wanted is there."""
        return not (self.change or self.start or self.stop)


@dataclass(frozen=True, slots=True)
class Wave:
    """Start these; when they serve, change the router's use of some, then stop others."""

    start: tuple[ReplicaSpec, ...] = ()
    change: tuple[Change, ...] = ()
    stop: tuple[Replica, ...] = ()


def difference(
    present: Sequence[Replica], wanted: Sequence[ReplicaSpec], *, flips: bool
) -> Difference:
    """What it takes from `present` to `wanted`.

    Args:
        present: what the fleet has, ready or not.
        wanted: the entries of a plan.
        flips: whether a running replica can take another role.
    """
    given: dict[int, Replica] = {}
    for like in (_same, _same_role, _same_shape) if flips else (_same, _same_role):
        _hand_out(present, wanted, given, like)
    names = {replica.name for replica in given.values()}
    pairs = [(given[index], wanted[index]) for index in sorted(given)]
    return Difference(
        keep=tuple(replica for replica, spec in pairs if replica.spec == spec),
        change=tuple(Change(old, spec) for old, spec in pairs if old.spec != spec),
        start=tuple(spec for index, spec in enumerate(wanted) if index not in given),
        stop=tuple(replica for replica in present if replica.name not in names),
    )


def _hand_out(
    present: Sequence[Replica],
    wanted: Sequence[ReplicaSpec],
    given: dict[int, Replica],
    like: Callable[[ReplicaSpec, ReplicaSpec], bool],
) -> None:
    """One round: every replica not yet given goes to the first open entry that it is like."""
    names = {replica.name for replica in given.values()}
    for replica in sorted(present, key=lambda replica: not replica.ready):
        if replica.name in names or replica.failed:
            continue
        for index, spec in enumerate(wanted):
            if index not in given and like(replica.spec, spec):
                given[index] = replica
                break


def _same(old: ReplicaSpec, new: ReplicaSpec) -> bool:
    return old == new


def _same_role(old: ReplicaSpec, new: ReplicaSpec) -> bool:
    return old.shape == new.shape and old.role == new.role


def _same_shape(old: ReplicaSpec, new: ReplicaSpec) -> bool:
    return old.shape == new.shape


def waves(
    change: Difference, pools: Sequence[PoolSpec], *, to_nothing: bool = False
) -> tuple[Wave, ...]:
    """In which order to start and stop, so that GPUs suffice and traffic is served throughout.

    As much as fits is started first. Where GPUs are short, replicas of that pool are stopped
    before, but only as long as others that are ready do what they did.

    Args:
        change: what is to be done.
        pools: how many GPUs there are.
        to_nothing: whether a plan may leave a duty to nobody.

    Raises:
        PlanRefused: no order keeps traffic served, or GPUs do not suffice in the end.
    """
    before = (*_staying(change), *change.stop)
    needed = duties_of(replica.spec for replica in before if replica.ready)
    kept = [replica.spec for replica in change.keep] + [one.spec for one in change.change]
    after = duties_of([*kept, *change.start])
    if not needed <= after and not to_nothing:
        raise PlanRefused(
            "The plan leaves prefill or decode to nobody while there is traffic: keep the present "
            "plan, or allow it to go to nothing."
        )
    order = _Order(change, pools, needed & after)
    return order.waves()


def _staying(change: Difference) -> tuple[Replica, ...]:
    """As they are before anything changes."""
    return (*change.keep, *(one.replica for one in change.change))


class _Order:
    """The waves of one difference, found by going through it once without touching anything."""

    def __init__(
        self, change: Difference, pools: Sequence[PoolSpec], needed: frozenset[Duty]
    ) -> None:
        self._starts = list(change.start)
        self._stops = sorted(change.stop, key=lambda replica: replica.ready)
        self._changes = change.change
        self._needed = needed
        there = [replica.spec for replica in (*_staying(change), *change.stop)]
        self._free: dict[int, float] = {
            number: float("inf")
            if pool.gpus is None
            else pool.gpus - sum(s.shape.gpus for s in there if s.shape.pool == number)
            for number, pool in enumerate(pools)
        }
        # Roles change when everything new serves; until then a kept replica is what it was.
        self._serving = [replica.spec for replica in _staying(change) if replica.ready]

    def waves(self) -> tuple[Wave, ...]:
        found: list[Wave] = []
        while self._starts or self._stops or self._changes:
            begin = tuple(self._that_fit())
            end = tuple(self._room_for(self._starts[0].shape) if self._starts else self._stops)
            changes, self._changes = ((), self._changes) if self._starts else (self._changes, ())
            self._stops = [replica for replica in self._stops if replica not in end]
            for replica in end:
                self._free[replica.spec.shape.pool] += replica.spec.shape.gpus
            found.append(Wave(begin, changes, end))
        return tuple(found)

    def _that_fit(self) -> list[ReplicaSpec]:
        begin = []
        for spec in tuple(self._starts):
            pool = spec.shape.pool
            if spec.shape.gpus <= self._free.get(pool, 0):
                self._free[pool] -= spec.shape.gpus
                self._starts.remove(spec)
                self._serving.append(spec)
                begin.append(spec)
        return begin

    def _room_for(self, shape: Shape) -> list[Replica]:
        """Replicas to stop so that one of this shape fits."""
        end: list[Replica] = []
        missing = shape.gpus - self._free.get(shape.pool, 0)
        for replica in self._stops:
            if missing <= 0:
                break
            if replica.spec.shape.pool == shape.pool and self._can_go({*end, replica}):
                end.append(replica)
                missing -= replica.spec.shape.gpus
        if missing > 0:
            raise PlanRefused(
                f"Pool {shape.pool} lacks {missing:g} GPUs for tp={shape.tp} pp={shape.pp} while "
                "what is there must serve: free some, or plan it in two steps."
            )
        return end

    def _can_go(self, end: set[Replica]) -> bool:
        left = [r.spec for r in self._stops if r.ready and r not in end]
        return self._needed <= duties_of([*self._serving, *left])
