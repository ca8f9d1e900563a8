"""Carries plans out on Ray Serve, through its declarative config: the `Actuator` of this door.

Serve itself starts, routes to, drains and stops the replicas of a deployment; a plan becomes
numbers of replicas per deployment, raised first and lowered when the new ones serve. What happens
to each replica is read back from Serve and told step by step. Other declared applications stay.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence

from serving_adapter.actuators.carrying_out import to_the_end
from serving_adapter.actuators.difference import difference, waves
from serving_adapter.actuators.protocol import (
    Limits,
    Outcome,
    Progress,
    ReplicaState,
    Report,
    Step,
)
from serving_adapter.actuators.reckoning import Reckoning
from serving_adapter.actuators.replicas import PoolSpec, Replica, ReplicaSpec
from serving_adapter.errors import PlanRefused, ReplicaError
from serving_adapter.ray_serve.applications import Applications, plain
from serving_adapter.ray_serve.serve_api import ServeApi, ServeState

UNKNOWN = ReplicaState(ready=False)
RUNNING, GOING = "RUNNING", ("STOPPING", "STOPPED")


class ServeActuator:
    """Makes Serve's replicas what a plan wants; one plan at a time. Belongs to one event loop.

    Args:
        address: of the cluster's REST API, as `http://127.0.0.1:8265`.
        applications: what kinds of replicas are in Serve's words.
        pools: how many GPUs there are, so that new replicas are not waited for in vain.
    """

    def __init__(
        self,
        address: str,
        applications: Applications,
        pools: Sequence[PoolSpec],
        limits: Limits | None = None,
    ) -> None:
        self._api, self._applications = ServeApi(address), applications
        self._pools, self._limits = tuple(pools), limits or Limits()
        self._busy = False

    async def present(self) -> tuple[Replica, ...]:
        """What there is now; replicas on their way out are there no more."""
        return self._replicas(await self._api.state())

    async def apply(
        self, wanted: Sequence[ReplicaSpec], report: Report = lambda _: None
    ) -> Outcome:
        """Carry a plan out; see `Actuator.apply`. Length ranges and shares mean nothing to Serve.

        Raises:
            PlanRefused: Serve cannot have these replicas, or another plan is under way.
        """
        if self._busy:
            raise PlanRefused("Another plan is being carried out: wait until it has ended.")
        self._busy = True
        try:
            return await self._apply(tuple(plain(spec) for spec in wanted), report)
        finally:
            self._busy = False

    async def _apply(self, wanted: tuple[ReplicaSpec, ...], report: Report) -> Outcome:
        try:
            before = await self.present()
        except ReplicaError as failure:
            raise PlanRefused("Ray Serve cannot be asked: see whether it is there.") from failure
        todo = difference(before, wanted, flips=False)
        order = waves(todo, self._pools, to_nothing=self._limits.to_nothing)
        run = _Run(self._api, self._applications, self._limits, before, wanted, report)
        counts = Counter(replica.spec for replica in before)
        self._applications.configs(Counter(wanted))  # refused now, or not at all
        try:
            for wave in order:
                counts.update(wave.start)
                await run.until(counts, self._limits.ready_s)
                counts.subtract(replica.spec for replica in wave.stop)
                await run.until(counts, self._limits.drain_s)
        except ReplicaError as failure:
            run.note(Step.FAILED, detail=str(failure))
            restored = await to_the_end(self._take_back(run, before))
            return await self._outcome(run, done=False, reason=str(failure), restored=restored)
        except BaseException:  # cancelled, or a defect: nothing stays half done
            await to_the_end(self._take_back(run, before))
            raise
        return await self._outcome(run, done=True)

    async def _take_back(self, run: _Run, before: tuple[Replica, ...]) -> bool:
        run.note(Step.ROLL_BACK)
        try:
            counts = Counter(replica.spec for replica in before)
            await run.until(counts, self._limits.ready_s + self._limits.drain_s)
        except ReplicaError as failure:
            run.note(Step.FAILED, detail=str(failure))
            return False
        return True

    async def _outcome(
        self, run: _Run, *, done: bool, reason: str = "", restored: bool = False
    ) -> Outcome:
        replicas: tuple[Replica, ...] = ()
        with contextlib.suppress(ReplicaError):
            replicas = await self.present()
        return Outcome(
            done=done,
            reason=reason,
            restored=restored,
            replicas=replicas,
            cost=run.reckoning.now(),
            steps=tuple(run.steps),
        )

    def _replicas(self, state: ServeState) -> tuple[Replica, ...]:
        return tuple(
            Replica(name=name, spec=spec, ready=seen == RUNNING)
            for name, (spec, seen) in ours(state, self._applications).items()
            if seen not in GOING
        )


class _Run:
    """One plan on its way: declares numbers, and tells what becomes of every replica."""

    def __init__(
        self,
        api: ServeApi,
        applications: Applications,
        limits: Limits,
        before: tuple[Replica, ...],
        wanted: tuple[ReplicaSpec, ...],
        report: Report,
    ) -> None:
        self.steps: list[Progress] = []
        self.reckoning = Reckoning(before, wanted)
        self._api, self._applications, self._limits = api, applications, limits
        self._report = report
        self._seen = {one.name: (one.spec, RUNNING if one.ready else "") for one in before}

    def note(self, step: Step, replica: str = "", detail: str = "") -> None:
        """Tell what was just done."""
        cost = self.reckoning.now()
        self.steps.append(Progress(step=step, replica=replica, detail=detail, cost=cost))
        self._report(self.steps[-1])

    async def until(self, counts: Mapping[ReplicaSpec, int], limit_s: float) -> None:
        """Declare so many replicas of each kind and wait until exactly these run.

        Raises:
            ReplicaError: Serve refused, an application failed, or the time is over.
        """
        state = await self._api.state()
        configs = self._applications.configs(counts)
        mine = {name for name in state.configs if self._is_ours(name, state)}
        others = [config for name, config in state.configs.items() if name not in mine]
        await self._api.deploy([*others, *configs], state.options)
        try:
            async with asyncio.timeout(limit_s):
                while not self._look(await self._api.state(), counts, configs):
                    await asyncio.sleep(self._limits.poll_s)
        except TimeoutError:
            raise ReplicaError(
                f"Ray Serve did not come to the wanted replicas within {limit_s:g} s: see "
                "`serve status`."
            ) from None

    def _is_ours(self, application: str, state: ServeState) -> bool:
        """Whether an application holds replicas of plans, by its name or its deployments."""
        named = [one["name"] for one in state.configs[application].get("deployments", ())]
        return any(self._applications.spec_at(application, name) for name in named)

    def _look(
        self,
        state: ServeState,
        counts: Mapping[ReplicaSpec, int],
        configs: Sequence[Mapping[str, object]],
    ) -> bool:
        """Tell what is new since the last look; whether the wanted replicas run, and no others."""
        now = ours(state, self._applications)
        for name, (spec, seen) in now.items():
            before = self._seen.get(name)
            if before is None:
                self.reckoning.started(name, spec)
                self.note(Step.START, name, str(spec))
            was = before[1] if before else ""
            if seen == RUNNING != was:
                self.note(Step.READY, name)
                self.note(Step.ADD, name, str(spec))
            elif seen in GOING and was not in GOING:
                self.note(Step.DRAIN, name)
        for name in self._seen.keys() - now.keys():
            if self._seen[name][1] not in GOING:
                self.note(Step.DRAIN, name)
            self.reckoning.stopped(name, UNKNOWN)
            self.note(Step.STOP, name)
        self._seen = now
        for config in configs:
            if reason := state.failed.get(str(config["name"])):
                raise ReplicaError(f"Application {config['name']} failed: {reason}")
        running = Counter(spec for spec, seen in now.values() if seen == RUNNING)
        return running == Counter(counts) and len(now) == running.total()


def ours(state: ServeState, applications: Applications) -> dict[str, tuple[ReplicaSpec, str]]:
    """The replicas of plans by name, with kind and state."""
    return {
        one.name: (spec, one.state)
        for one in state.replicas
        if (spec := applications.spec_at(one.application, one.deployment)) is not None
    }
