"""The policy host: keeps the live policy, swaps it, never goes back, and decides with it.

A swap is prepared off the event loop and is then one assignment on it, between two decisions.
Sequences only rise; a policy that was ejected stays out, whatever sequence names it, until a person
enables it on this host. Nothing here needs a database, a web framework or, with the interpreted
engine, numba.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from policy_store.errors import SnapshotNotYetValid, StoreError
from policy_store.snapshot import Snapshot, SnapshotPolicy
from serving_adapter.activation import ROUTE_FUEL, Prepare, Ready, prepare_policy
from serving_adapter.admission import Admission
from serving_adapter.deciding import Decider, epoch_s
from serving_adapter.decision import Decision, DecisionInput
from serving_adapter.errors import AdapterError, SnapshotRefused
from serving_adapter.exposition import Registry
from serving_adapter.facts import RequestFacts
from serving_adapter.host_metrics import HostMetrics
from serving_adapter.instances import InstanceTable
from serving_adapter.live import Live
from serving_adapter.live_slot import LiveSlot
from serving_adapter.request_log import RequestRecord
from serving_adapter.safety.control_arm import observation_of
from serving_adapter.safety.ejection import Ejection
from serving_adapter.safety.latches import LatchFolder
from serving_adapter.safety.limits import LiveLimits
from serving_adapter.safety.shadow import ShadowCompare
from serving_adapter.safety.watchdog import Watchdog

SWAP_SWITCH_INTERVAL_S = 0.0005

_log = logging.getLogger("evolver.host")


class PolicyHost:
    """Decides with the live policy. All methods belong to one event loop.

    Attributes:
        on_decision: told of every decision, in their order; None when nobody listens.
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
    ) -> None:
        self.table = table
        self.metrics = HostMetrics(registry or Registry())
        self._prepare = prepare
        self._admission = admission or Admission()
        self._clock = clock
        self._started_s = clock()
        self._switch_interval_s = sys.getswitchinterval()
        self._swapping = asyncio.Lock()
        self._named: str | None = None
        self._lifted = False
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

    @property
    def live(self) -> Live:
        """What decides now; immutable."""
        return self.slot.live

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
            ready = await self._ready(source, parameters)
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
            await asyncio.to_thread(self._admission.check, snapshot)
            if snapshot.sequence != self.live.sequence or snapshot.digest != self._named:
                self._check_sequence(snapshot.sequence)
            elif not self._enabled_again(snapshot):
                return False
            next_live = await self._ready_snapshot(snapshot)
            await asyncio.to_thread(self._admission.accept, snapshot)
            self._assign(next_live)
            self._named = snapshot.digest
            return True

    async def _ready_snapshot(self, snapshot: Snapshot) -> Live:
        """All policies of a snapshot, ready; only the active one must load for it to go live."""
        canary = snapshot.canary
        return Live(
            sequence=snapshot.sequence,
            last_good=await self._ready_or_none(self._allowed(snapshot.last_good)),
            active=await self._ready_policy(self._allowed(snapshot.active)),
            canary=await self._ready_or_none(self._allowed(canary.policy if canary else None)),
            weight=canary.weight if canary else 0.0,
            shadow=await self._ready_or_none(self._allowed(snapshot.shadow)),
            expires_unix_s=snapshot.expires_at.timestamp(),
        )

    async def load_shadow(self) -> None:
        """Have the default policy asked beside the live one from now on; never raises for it."""
        from sandbox.policies import default_text

        try:
            ready = await self._ready(default_text(), None)
        except AdapterError as refusal:
            _log.error("the default policy does not load here: %s", refusal)
            return
        self.watchdog.shadow = ShadowCompare(ready)

    async def follow(self, path: Path, poll_s: float = 0.1) -> None:
        """Apply the snapshot file whenever it or the trust file changes; cancel to stop.

        Never raises for a file. One whose time has not come is tried until it has.
        """
        seen, early = None, False
        while True:
            stamp = _stamp(path), _stamp(self._admission.trust_file)
            if stamp[0] is not None and (early or self._lifted or stamp != seen):
                self._lifted = False
                early = await self._try_file(path, again=stamp == seen)
                seen = stamp
            await asyncio.sleep(poll_s)

    def _released(self) -> None:
        """A person has let something back in: read the snapshot again."""
        self._lifted = True

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

    async def _try_file(self, path: Path, *, again: bool) -> bool:
        """Apply a file, or say why not, once; whether it is to be tried again."""
        try:
            await self.apply(await asyncio.to_thread(self._admission.read, path))
        except (AdapterError, StoreError) as refusal:
            early = isinstance(refusal, SnapshotNotYetValid)
            if not (early and again):
                self.metrics.refused(type(refusal).__name__)
                _log.warning("snapshot refused: %s", refusal)
            return early
        return False

    def _check_sequence(self, sequence: int) -> None:
        if sequence <= self.live.sequence:
            raise SnapshotRefused(
                f"Sequence {sequence} is not above {self.live.sequence}, which runs: "
                "have the store issue a new one."
            )

    async def _ready(self, source: str, parameters: Mapping[str, float] | None) -> Ready:
        """Prepare in a thread while the event loop keeps its turns.

        Compilation is mostly Python, and the loop waits one switch interval for the interpreter
        after every system call; ten times shorter turns keep it answering.
        """
        sys.setswitchinterval(SWAP_SWITCH_INTERVAL_S)
        try:
            return await asyncio.to_thread(self._prepare, source, parameters)
        finally:
            sys.setswitchinterval(self._switch_interval_s)

    async def _ready_policy(self, policy: SnapshotPolicy | None) -> Ready | None:
        """A policy of a snapshot; one that is in place already goes on, with its memory."""
        if policy is None:
            return None
        for present in self.live.policies:
            if present.digest == policy.digest:
                return present
        ready = await self._ready(policy.source, policy.parameters)
        if ready.digest != policy.digest:
            raise SnapshotRefused(
                f"The snapshot's policy is {ready.digest[:12]} here, not {policy.digest[:12]}: "
                "approve it again under this version."
            )
        return ready

    async def _ready_or_none(self, policy: SnapshotPolicy | None) -> Ready | None:
        """A policy beside the active one; if it does not load, that must not keep that one out."""
        try:
            return await self._ready_policy(policy)
        except AdapterError as refusal:
            _log.warning("policy %s unusable: %s", policy.digest[:12] if policy else "", refusal)
            return None

    def _assign(self, live: Live) -> Live:
        live = self.slot.assign(live)
        self._named = live.active.digest if live.active else None
        self.metrics.swapped(live.sequence, live.digest)
        _log.info("live: sequence %d, policy %s", live.sequence, live.digest[:12])
        return live


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """What changes when a file is replaced; None while there is none."""
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
