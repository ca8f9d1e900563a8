"""Makes policies ready off the event loop, so that it keeps its turns meanwhile."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from policy_store.snapshot import SnapshotPolicy
from sandbox.signal_profiles import SignalProfile
from serving_adapter.activation import Prepare, Ready
from serving_adapter.errors import AdapterError, SnapshotRefused
from serving_adapter.policy_files import KeptPolicy, keep_policy
from serving_adapter.short_turns import beside_the_loop
from serving_adapter.signal_check import check_signals

_log = logging.getLogger("evolver.host")


def load_modules() -> None:
    """Import what otherwise the first swap would; slow, off the loop.

    A process that then freezes its heap is not held up later by collections that walk all of it.
    """
    import sandbox.verifier

    if importlib.util.find_spec("llvmlite"):
        import sandbox.compiled
        import sandbox.native.compiler  # noqa: F401 - to be loaded


class Preparing:
    """Prepares the policies of one host, one after the other, and keeps their sources.

    Attributes:
        signals: what the host's door tells policies; None when nobody has said.
    """

    def __init__(
        self, prepare: Prepare, state: Path | None = None, signals: SignalProfile | None = None
    ) -> None:
        self.signals = signals
        self._prepare = prepare
        self._state = state

    async def of_source(
        self, source: str, parameters: Mapping[str, float] | None, *, approved: bool = False
    ) -> Ready:
        """Prepare in a thread.

        Raises:
            PolicyUnusable: it does not load.
        """
        return await beside_the_loop(self._prepared, source, parameters, approved)

    def _prepared(
        self, source: str, parameters: Mapping[str, float] | None, approved: bool
    ) -> Ready:
        ready = self._prepare(source, parameters)
        if self._state is not None:
            kept = KeptPolicy(source, parameters or {}, approved)
            keep_policy(self._state, ready.digest, kept)
        return ready

    async def of_snapshot(
        self, policy: SnapshotPolicy | None, present: Collection[Ready]
    ) -> Ready | None:
        """A policy of a snapshot; one that is in place already goes on, with its memory.

        Raises:
            PolicyUnusable: it does not load.
            SnapshotRefused: it is something else here than what the snapshot says, or was proved
                with signals that this host's door lacks.
        """
        if policy is None:
            return None
        for one in present:
            if one.digest == policy.digest:
                return one
        if self.signals is not None:
            await beside_the_loop(check_signals, policy, self.signals)
        ready = await self.of_source(policy.source, policy.parameters, approved=True)
        if ready.digest != policy.digest:
            raise SnapshotRefused(
                f"The snapshot's policy is {ready.digest[:12]} here, not {policy.digest[:12]}: "
                "approve it again under this version."
            )
        return ready

    async def of_snapshot_or_none(
        self, policy: SnapshotPolicy | None, present: Collection[Ready]
    ) -> Ready | None:
        """A policy beside the active one; if it does not load, that must not keep that one out."""
        try:
            return await self.of_snapshot(policy, present)
        except AdapterError as refusal:
            _log.warning("policy %s unusable: %s", policy.digest[:12] if policy else "", refusal)
            return None
