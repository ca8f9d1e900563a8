"""The policy host: keeps the live policy, swaps it, never goes back, and decides with it.

A swap is prepared off the event loop and is then one assignment on it, between two decisions.
Sequences only rise; a policy that was ejected stays out, whatever sequence names it, until a person
enables it on this host. Nothing here needs a database, a web framework or, with the interpreted
engine, numba.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from policy_store.snapshot import Snapshot, SnapshotPolicy
from sandbox.signal_profiles import SignalProfile
from serving_adapter.activation import ROUTE_FUEL, Prepare, prepare_policy
from serving_adapter.admission import Admission
from serving_adapter.behind import FloorWatch
from serving_adapter.deciding import Decider, epoch_s
from serving_adapter.decision import Decision, DecisionInput
from serving_adapter.decision_ring import DecisionRing
from serving_adapter.errors import AdapterError, SnapshotRefused
from serving_adapter.exposition import Registry
from serving_adapter.facts import RequestFacts
from serving_adapter.following import SnapshotFiles
from serving_adapter.host_metrics import HostMetrics
from serving_adapter.inbox import SNAPSHOT_NAME
from serving_adapter.instances import InstanceTable
from serving_adapter.live import Live
from serving_adapter.live_slot import LiveSlot
from serving_adapter.preparing import Preparing
from serving_adapter.process_report import ProcessReport
from serving_adapter.reporting import Reporter
from serving_adapter.request_log import RequestRecord
from serving_adapter.safety.comparison import Comparison
from serving_adapter.safety.control_arm import observation_of
from serving_adapter.safety.ejection import Ejection
from serving_adapter.safety.latches import LatchFolder
from serving_adapter.safety.limits import LiveLimits
from serving_adapter.safety.shadow import ShadowCompare
from serving_adapter.safety.starvation import wait_of
from serving_adapter.safety.watchdog import Watchdog
from serving_adapter.short_turns import beside_the_loop

BOOT_BYTES = 6

_log = logging.getLogger("evolver.host")


class PolicyHost:
    """Decides with the live policy. All methods belong to one event loop.

    Attributes:
        on_decision: told of every decision, in their order; None when nobody listens.
        boot: drawn when this host was made; with its number it names each of its decisions.
        state: the folder of what outlives a restart; None without one.
    """

    def __init__(
        self,
        table: InstanceTable,
        *,
        registry: Registry | None = None,
        prepare: Prepare = prepare_policy,
        admission: Admission | None = None,
        on_ejection: Callable[[Ejection], None] = lambda _: None,
        limits: LiveLimits | None = None,
        state: Path | None = None,
        fuel: int = ROUTE_FUEL,
        router: int = 0,
        clock: Callable[[], float] = time.monotonic,
        signals: SignalProfile | None = None,
    ) -> None:
        self.table = table
        self.metrics = HostMetrics(registry or Registry())
        self._preparing = Preparing(prepare, state, signals)
        self._admission = admission or Admission()
        self._clock = clock
        self._started_s = clock()
        self.state = state
        self.boot = secrets.token_hex(BOOT_BYTES)
        self._swapping = asyncio.Lock()
        self._named: str | None = None
        self._followed: SnapshotFiles | None = None
        self.limits = limits or LiveLimits()
        self.slot = LiveSlot(
            self.metrics, on_ejection, LatchFolder(state) if state is not None else None
        )
        self._decider = Decider(
            table,
            self.slot,
            self.metrics,
            self.now_s,
            limits=self.limits,
            fuel=fuel,
            router=router,
            boot=self.boot,
        )
        self.watchdog = Watchdog(
            table,
            self.slot,
            self._decider,
            self.metrics,
            self.now_s,
            self._admission.unix_s,
            limits=self.limits,
            state=state,
        )
        self.watchdog.on_release = self._released
        self.on_decision: Callable[[RequestFacts, Decision], None] | None = None
        self._reporter = Reporter(self.boot, state, self.slot, self.metrics, self.watchdog.standing)
        self._reporter.behind = lambda: self.behind
        self._floor_watch = self._watch_floor()
        self.watchdog.beside = self._floor_watch.look

    def _watch_floor(self) -> FloorWatch:
        return FloorWatch(
            self._admission.watched,
            lambda: self.live.sequence,
            self._reporter.served_beside,
            behind_s=self.limits.behind_s,
            show=self.metrics.is_behind,
            clock=self._clock,
        )

    @property
    def behind(self) -> bool:
        """Whether the host has admitted more than this process runs, for too long to be ready."""
        return self._floor_watch.behind

    @property
    def live(self) -> Live:
        """What decides now; immutable."""
        return self.slot.live

    @property
    def decider(self) -> Decider:
        """Where a door that asks other hooks than `route` notes its calls for the watchdog."""
        return self._decider

    @property
    def recent(self) -> tuple[DecisionInput, ...]:
        """The latest decision inputs, oldest first."""
        return self._decider.recent.all()

    def route(
        self,
        facts: RequestFacts,
        *,
        exclude: frozenset[int] = frozenset(),
        held_count: int = 0,
        live: Live | None = None,
    ) -> Decision:
        """Decide where a request goes now. Never raises for a policy's fault.

        Args:
            facts: what is known of the request.
            exclude: engines that already failed this request.
            held_count: how often it was held before.
            live: what was live at this request's first decision, so that it keeps its version.
        """
        decision = self._decider.route(facts, exclude, held_count, live or self.live)
        if self.on_decision is not None:
            self.on_decision(facts, decision)
        return decision

    def fallback(
        self,
        facts: RequestFacts,
        reason: str,
        exclude: frozenset[int] = frozenset(),
        *,
        held: bool = False,
        live: Live | None = None,
    ) -> Decision:
        """The built-in decision, where no policy is to decide.

        Args:
            facts: what is known of the request.
            reason: why no policy decides.
            exclude: engines that already failed this request.
            held: a policy had its chance and held the request, so it stays in its arm.
            live: see `route`.
        """
        decision = self._decider.fallback(facts, reason, exclude, live or self.live, held=held)
        if self.on_decision is not None:
            self.on_decision(facts, decision)
        return decision

    def ended(self, facts: RequestFacts, record: RequestRecord) -> None:
        """A request has ended; the watchdog compares what became of it."""
        seen = observation_of(facts, record, epoch_s(self.live, self.limits))
        if seen is not None:
            self.watchdog.observe(seen)
        wait = wait_of(facts, record, self.now_s())
        if wait is not None:
            self.watchdog.waited(wait)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch over what decides, keep its inputs and report, until left; a door serves inside."""
        with self._reporter.running(), self._keeping_decisions():
            async with self.watchdog.running():
                yield

    @contextmanager
    def _keeping_decisions(self) -> Iterator[None]:
        if self.state is None:
            yield
            return
        ring = DecisionRing(self.state / "decisions", self.boot, self._reporter.living)
        self._reporter.dropped = lambda: ring.dropped
        self._decider.keep = ring.add
        try:
            with ring.running():
                yield
        finally:
            self._decider.keep = None

    def compared_by(self, standing: Callable[[], Comparison | None]) -> None:
        """Have the report say how a trial stands that others than the watchdog compare."""
        self._reporter.standing = standing

    def report(self) -> ProcessReport:
        """What this process runs and did."""
        return self._reporter.report()

    def now_s(self) -> float:
        """Seconds since this host started; never goes back."""
        return self._clock() - self._started_s

    async def swap(
        self, source: str, sequence: int, parameters: Mapping[str, float] | None = None
    ) -> Live:
        """Put a policy live that the caller answers for; what ran becomes its last good.

        This is for rehearsals. What a store decided comes in through `apply`, which asks for a
        signature.

        Raises:
            SnapshotRefused: the sequence is not above the present one, or the policy was ejected.
            PolicyUnusable: the policy does not load; what runs stays.
        """
        async with self._swapping:
            self._check_sequence(sequence)
            ready = await self._preparing.of_source(source, parameters)
            if self.slot.is_latched(ready.digest):
                raise SnapshotRefused(
                    f"Policy {ready.digest[:12]} was ejected here: see `evolver host status`."
                )
            before = self.live
            return self._assign(Live(sequence, ready, before.active or before.last_good))

    async def apply(self, snapshot: Snapshot) -> bool:
        """Follow a snapshot; False when it is the one that runs already.

        Raises:
            SnapshotError, KeyProblem, StateUnusable: `Admission.check` is against it.
            SnapshotRefused: older than what runs, or another policy under the same sequence.
            PolicyUnusable: its active policy does not load; what runs stays.
        """
        async with self._swapping:
            await beside_the_loop(self._admission.check, snapshot)
            if snapshot.sequence != self.live.sequence or snapshot.digest != self._named:
                self._check_sequence(snapshot.sequence)
            elif not self._enabled_again(snapshot):
                return False
            next_live = await self._ready_snapshot(snapshot)
            await beside_the_loop(self._admission.accept, snapshot)
            self._assign(next_live)
            self._named = snapshot.digest
            return True

    async def _ready_snapshot(self, snapshot: Snapshot) -> Live:
        """All policies of a snapshot, ready; only the active one must load for it to go live."""
        # The watchdog's thread asks the shadow, the loop all others: none is both, as two threads
        # would write one call's frame, or one side process's page.
        trial = self.live.shadow
        present = tuple(one for one in self.live.policies if one is not trial)
        canary = snapshot.canary
        ready, ready_or_none = self._preparing.of_snapshot, self._preparing.of_snapshot_or_none
        return Live(
            sequence=snapshot.sequence,
            last_good=await ready_or_none(self._allowed(snapshot.last_good), present),
            active=await ready(self._allowed(snapshot.active), present),
            canary=await ready_or_none(self._allowed(canary.policy if canary else None), present),
            weight=canary.weight if canary else 0.0,
            shadow=await ready_or_none(self._allowed(snapshot.shadow), (trial,) if trial else ()),
            expires_unix_s=snapshot.expires_at.timestamp(),
        )

    async def load_shadow(self) -> None:
        """Have the default policy asked beside the live one from now on; never raises for it."""
        from sandbox.policies import default_text

        try:
            ready = await self._preparing.of_source(default_text(), None)
        except AdapterError as refusal:
            _log.error("the default policy does not load here: %s", refusal)
            return
        self.watchdog.shadow = ShadowCompare(ready)

    async def follow(self, path: Path, poll_s: float = 0.1) -> None:
        """Apply a snapshot file, and what was pushed here, as either changes; cancel to stop.

        Never raises for a file; see `following.SnapshotFiles`.
        """
        paths = [path] if self.state is None else [path, self.state / SNAPSHOT_NAME]
        self._followed = SnapshotFiles(
            paths, self._admission, self.apply, self.metrics, lambda: self.behind
        )
        await self._followed.run(poll_s)

    def _released(self) -> None:
        """A person has let something back in: read the snapshot again."""
        if self._followed is not None:
            self._followed.again = True

    def _allowed(self, policy: SnapshotPolicy | None) -> SnapshotPolicy | None:
        """A policy that was ejected here is not even loaded."""
        if policy is None or not self.slot.is_latched(policy.digest):
            return policy
        _log.warning("policy %s was ejected here and stays out", policy.digest[:12])
        return None

    def _enabled_again(self, snapshot: Snapshot) -> bool:
        """Whether the snapshot that runs names a policy that is out, but need not be."""
        present = {ready.digest for ready in self.live.policies}
        wanted = {policy.digest for policy in snapshot.named.values()}
        return any(not self.slot.is_latched(digest) for digest in wanted - present)

    def _check_sequence(self, sequence: int) -> None:
        if sequence <= self.live.sequence:
            raise SnapshotRefused(
                f"Sequence {sequence} is not above {self.live.sequence}, which runs: "
                "have the store issue a new one."
            )

    def _assign(self, live: Live) -> Live:
        started_s = time.perf_counter()
        live = self.slot.assign(live)
        self._named = live.active.digest if live.active else None
        self.metrics.swapped(time.perf_counter() - started_s)
        self._reporter.went_live(live)
        _log.info("live: sequence %d, policy %s", live.sequence, live.digest[:12])
        return live
