"""Carries plans out on any `ReplicaFleet`: start new, wait until ready, add, drain old, stop.

A failed or cancelled plan is taken back by the same steps aimed at what there was before: drained
replicas take requests again, started ones go, stopped ones are started anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from serving_adapter.actuators.difference import Change, Difference, Wave, difference, waves
from serving_adapter.actuators.protocol import (
    Limits,
    Outcome,
    Progress,
    ReplicaFleet,
    ReplicaState,
    Report,
    Step,
)
from serving_adapter.actuators.reckoning import Reckoning
from serving_adapter.actuators.replicas import Duty, Replica, ReplicaSpec, duties_of
from serving_adapter.errors import PlanRefused, ReplicaError

T = TypeVar("T")


class StepwiseActuator:
    """The `Actuator` of one fleet; one plan at a time. Belongs to one event loop."""

    def __init__(self, fleet: ReplicaFleet, limits: Limits | None = None) -> None:
        self._fleet = fleet
        self._limits = limits or Limits()
        self._busy = False

    async def present(self) -> tuple[Replica, ...]:
        """What there is now."""
        return await self._fleet.present()

    async def apply(
        self, wanted: Sequence[ReplicaSpec], report: Report = lambda _: None
    ) -> Outcome:
        """Carry a plan out; see `Actuator.apply`."""
        if self._busy:
            raise PlanRefused("Another plan is being carried out: wait until it has ended.")
        self._busy = True
        try:
            return await self._apply(tuple(wanted), report)
        finally:
            self._busy = False

    async def _apply(self, wanted: tuple[ReplicaSpec, ...], report: Report) -> Outcome:
        try:
            before = await asyncio.wait_for(self._fleet.present(), self._limits.step_s)
        except (ReplicaError, TimeoutError) as failure:
            raise PlanRefused("The fleet cannot be asked: see whether it is there.") from failure
        run = _Run(self._fleet, self._limits, before, wanted, report)
        todo = difference(before, wanted, flips=self._fleet.flips)
        order = waves(todo, self._fleet.pools, to_nothing=self._limits.to_nothing)
        try:
            await run.carry_out(todo, order)
        except ReplicaError as failure:
            run.note(Step.FAILED, detail=str(failure))
            restored = await to_the_end(run.take_back(before))
            return await run.outcome(reason=str(failure), restored=restored)
        except BaseException:  # cancelled, or a fault of the fleet's own: nothing stays half done
            await to_the_end(run.take_back(before))
            raise
        return await run.outcome()


class _Run:
    """One plan on its way."""

    def __init__(
        self,
        fleet: ReplicaFleet,
        limits: Limits,
        before: tuple[Replica, ...],
        wanted: tuple[ReplicaSpec, ...],
        report: Report,
    ) -> None:
        self._fleet = fleet
        self._limits = limits
        self._report = report
        self._steps: list[Progress] = []
        self._left: list[str] = []
        self._reckoning = Reckoning(before, wanted)
        self._serving = {replica.name: replica.spec for replica in before if replica.ready}
        self._served: set[str] = set()
        self._floor = duties_of(self._serving.values())
        if limits.to_nothing:
            self._floor &= duties_of(wanted)

    def note(self, step: Step, replica: str = "", detail: str = "") -> None:
        """Tell what was just done."""
        cost = self._reckoning.now()
        self._steps.append(Progress(step=step, replica=replica, detail=detail, cost=cost))
        self._report(self._steps[-1])

    async def outcome(self, *, reason: str = "", restored: bool = False) -> Outcome:
        """What became of it."""
        if self._left and not reason:
            reason = f"Did not end: {', '.join(self._left)}; the next plan tries it again."
        try:
            replicas = await self._verb(self._fleet.present())
        except ReplicaError:
            replicas = ()
        return Outcome(
            done=not reason,
            reason=reason,
            restored=restored,
            replicas=replicas,
            cost=self._reckoning.now(),
            steps=tuple(self._steps),
        )

    async def carry_out(self, todo: Difference, order: tuple[Wave, ...]) -> None:
        """Take every step."""
        kept = [*todo.keep, *(change.replica for change in todo.change)]
        await self._side_by_side(
            self._adopt, [replica for replica in kept if replica.name not in self._serving]
        )
        for wave in order:
            await self._side_by_side(self._bring_up, wave.start)
            for change in wave.change:
                await self._change(change)
            await self._take_down(wave.stop)

    async def take_back(self, before: tuple[Replica, ...]) -> bool:
        """Make the fleet what it was; False where that did not come about either."""
        self.note(Step.ROLL_BACK)
        try:
            return await self._take_back(before)
        except (ReplicaError, PlanRefused) as failure:
            self.note(Step.FAILED, detail=str(failure))
            return False

    async def _take_back(self, before: tuple[Replica, ...]) -> bool:
        here = await self._verb(self._fleet.present())
        was = {replica.name: replica for replica in before if replica.ready}
        for replica in here:
            old = was.get(replica.name)
            if old is None or replica.failed:
                continue
            if replica.spec != old.spec:
                await self._change(Change(replica, old.spec))
            if old.name not in self._serving:  # it was being drained
                await self._add(old.name, old.spec)
        todo = self._way_back(here, before)
        stay = tuple(
            replace(old, ready=old.name in self._serving) for old in here if old.name in was
        )
        everything = replace(todo, keep=(*stay, *todo.keep))
        await self.carry_out(todo, waves(everything, self._fleet.pools, to_nothing=True))
        return not self._left

    def _way_back(self, here: Sequence[Replica], before: Sequence[Replica]) -> Difference:
        """New replicas go, unless they stand for old ones that are gone."""
        was = {old.name for old in before}
        alive = {replica.name for replica in here if not replica.failed}
        new = [replica for replica in here if replica.name not in was]
        serve = [replica for replica in new if replica.name in self._serving]
        gone = [old.spec for old in before if old.ready and old.name not in alive]
        todo = difference(serve, gone, flips=False)
        idle = tuple(replica for replica in new if replica not in serve)
        return replace(todo, stop=(*idle, *todo.stop))

    async def _side_by_side(self, work: Callable[[T], Awaitable[None]], on: Sequence[T]) -> None:
        """All at once; the first failure ends the others."""
        try:
            async with asyncio.TaskGroup() as group:
                for one in on:
                    group.create_task(_coroutine(work(one)))
        except BaseExceptionGroup as group:
            failed, others = group.split(ReplicaError)
            if failed is None or others is not None:
                raise
            raise failed.exceptions[0] from None

    async def _bring_up(self, spec: ReplicaSpec) -> None:
        # A cancelled start would leave a replica whose name nobody knows.
        name = await to_the_end(self._verb(self._fleet.start(spec)))
        self._reckoning.started(name, spec)
        self.note(Step.START, name, str(spec))
        await self._until_ready(name)
        self.note(Step.READY, name)
        await self._add(name, spec)

    async def _adopt(self, replica: Replica) -> None:
        """One that was starting or draining when the plan came."""
        await self._until_ready(replica.name)
        await self._add(replica.name, replica.spec)

    async def _until_ready(self, name: str) -> None:
        try:
            async with asyncio.timeout(self._limits.ready_s):
                while not (state := await self._asked(name)).ready:
                    if state.failed:
                        raise ReplicaError(f"Replica {name} will not be ready: {state.failed}")
                    await asyncio.sleep(self._limits.poll_s)
        except TimeoutError as late:
            raise ReplicaError(
                f"Replica {name} was not ready within {self._limits.ready_s:g} s: look at its log."
            ) from late

    async def _add(self, name: str, spec: ReplicaSpec) -> None:
        await self._verb(self._fleet.add(name))
        self._serving[name] = spec
        self.note(Step.ADD, name)

    async def _change(self, change: Change) -> None:
        name = change.replica.name
        await self._verb(self._fleet.change(name, change.spec))
        if name in self._serving:
            self._serving[name] = change.spec
        self.note(Step.CHANGE, name, str(change.spec))

    async def _take_down(self, replicas: Sequence[Replica]) -> None:
        """Drain all, then wait for each and stop it."""
        await self._check_floor({replica.name for replica in replicas})
        for replica in replicas:
            if self._serving.pop(replica.name, None) is not None:
                self._served.add(replica.name)
            await self._verb(self._fleet.drain(replica.name))
            self.note(Step.DRAIN, replica.name)
        await self._side_by_side(self._end, replicas)

    async def _check_floor(self, leaving: set[str]) -> None:
        """Engines may have died since the order was made: those that stay are asked again."""
        if not leaving & self._serving.keys():
            return
        missing = set(self._floor)
        for name, spec in self._serving.items():
            if missing & spec.duties and name not in leaving and await self._is_ready(name):
                missing -= spec.duties
        if missing:
            raise ReplicaError(_nobody_left(missing))

    async def _is_ready(self, name: str) -> bool:
        try:
            return (await self._verb(self._fleet.state(name))).ready
        except ReplicaError:
            return False

    async def _end(self, replica: Replica) -> None:
        state = await self._until_idle(replica.name)
        try:
            await to_the_end(self._verb(self._fleet.stop(replica.name), self._limits.stop_s))
        except ReplicaError as failure:  # what is new serves already, so there is no way back
            self._left.append(replica.name)
            self.note(Step.FAILED, replica.name, str(failure))
            return
        self._reckoning.stopped(replica.name, state)
        self.note(Step.STOP, replica.name)

    async def _until_idle(self, name: str) -> ReplicaState:
        """Its last state: idle, or what it was when the time was over."""
        state = ReplicaState(ready=False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.drain_s):
                while self._may_be_busy(name, state := await self._asked(name)):
                    await asyncio.sleep(self._limits.poll_s)
                self.note(Step.DRAINED, name)
        return state

    def _may_be_busy(self, name: str, state: ReplicaState) -> bool:
        """One that served and does not say what it runs may run something."""
        unknown = state.running_requests < 0 and name in self._served
        return state.running_requests > 0 or unknown

    async def _asked(self, name: str) -> ReplicaState:
        """Its state, asked for until there is an answer; the caller bounds how long."""
        while True:
            try:
                return await self._fleet.state(name)
            except ReplicaError:
                await asyncio.sleep(self._limits.poll_s)

    async def _verb(self, verb: Awaitable[T], limit_s: float | None = None) -> T:
        limit_s = limit_s or self._limits.step_s
        try:
            return await asyncio.wait_for(verb, limit_s)
        except TimeoutError as late:
            raise ReplicaError(
                f"The fleet did not answer within {limit_s:g} s: see whether it can be reached."
            ) from late


def _nobody_left(missing: set[Duty]) -> str:
    duties = " and ".join(sorted(missing))
    return f"Nobody who is ready would do {duties} after this step: see why replicas died."


async def _coroutine(work: Awaitable[None]) -> None:
    await work


async def to_the_end(work: Awaitable[T]) -> T:
    """Finish what must not be left half done, however often the caller is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
            if task.cancelled():
                raise
        except Exception:  # it is the task's, and raised below
            break
    if cancelled:
        raise asyncio.CancelledError
    return task.result()
