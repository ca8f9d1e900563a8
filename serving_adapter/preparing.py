"""Makes policies ready off the event loop, so that it keeps its turns meanwhile."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Collection, Mapping

from policy_store.snapshot import SnapshotPolicy
from serving_adapter.activation import Prepare, Ready
from serving_adapter.errors import AdapterError, SnapshotRefused

SWAP_SWITCH_INTERVAL_S = 0.0005

_log = logging.getLogger("evolver.host")


class Preparing:
    """Prepares the policies of one host, one after the other."""

    def __init__(self, prepare: Prepare) -> None:
        self._prepare = prepare
        self._switch_interval_s = sys.getswitchinterval()

    async def of_source(self, source: str, parameters: Mapping[str, float] | None) -> Ready:
        """Prepare in a thread.

        Compilation is mostly Python, and the loop waits one switch interval for the interpreter
        after every system call; ten times shorter turns keep it answering.

        Raises:
            PolicyUnusable: it does not load.
        """
        sys.setswitchinterval(SWAP_SWITCH_INTERVAL_S)
        try:
            return await asyncio.to_thread(self._prepare, source, parameters)
        finally:
            sys.setswitchinterval(self._switch_interval_s)

    async def of_snapshot(
        self, policy: SnapshotPolicy | None, present: Collection[Ready]
    ) -> Ready | None:
        """A policy of a snapshot; one that is in place already goes on, with its memory.

        Raises:
            PolicyUnusable: it does not load.
            SnapshotRefused: it is something else here than what the snapshot says.
        """
        if policy is None:
            return None
        for one in present:
            if one.digest == policy.digest:
                return one
        ready = await self.of_source(policy.source, policy.parameters)
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
