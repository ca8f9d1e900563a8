"""What each router process of Ray Serve follows: settings from JSON, a host, and its background."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, cast

from sandbox.engine import EngineName
from sandbox.signal_profiles import signal_profile
from serving_adapter.activation import ENGINE_NAMES, prepare_policy
from serving_adapter.admission import Admission
from serving_adapter.errors import AdapterError, defect
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable

_log = logging.getLogger("evolver.ray_serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """`request_router_kwargs`; paths are read on every node that has a proxy or a handle.

    Attributes:
        snapshot, trust: the signed file that is followed, and the keys that count.
        state: what outlives a restart on this node: highest sequence, latches, dumps.
        decisions: a folder for a line per decision; None for no log.
        max_hold_s: after that a held request is placed without the policy.
        poll_s: how often the files are looked at.
    """

    snapshot: str
    trust: str
    deployment: str = "default"
    state: str | None = None
    engine: str = "auto"
    decisions: str | None = None
    max_hold_s: float = 5.0
    poll_s: float = 0.05

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> RouterSettings:
        """Settings from JSON.

        Raises:
            AdapterError: one is unknown, missing or of the wrong kind.
        """
        known = {one.name: str(one.type) for one in fields(cls)}
        for name, value in settings.items():
            kind = (int, float) if known.get(name) == "float" else (str,)
            absent = value is None and "None" in known.get(name, "")
            if name not in known or not (absent or isinstance(value, kind)):
                raise AdapterError(
                    f"{name!r} cannot be {value!r} in request_router_kwargs: see docs/ray-serve.md."
                )
        if missing := {"snapshot", "trust"} - settings.keys():
            raise AdapterError(f"request_router_kwargs lack {min(missing)!r}: name the file.")
        made = cls(**settings)
        if made.engine not in ENGINE_NAMES or not 0 < made.poll_s <= 1 or not made.max_hold_s > 0:
            raise AdapterError(
                f"In request_router_kwargs, engine is one of {', '.join(ENGINE_NAMES)}, poll_s is "
                "above 0 and at most 1, and max_hold_s above 0: correct them."
            )
        return made


def new_host(settings: RouterSettings) -> PolicyHost:
    """A host for one router."""
    state = Path(settings.state) if settings.state is not None else None
    return PolicyHost(
        InstanceTable(counts_flights=False),
        prepare=partial(prepare_policy, engine=cast("EngineName", settings.engine)),
        admission=Admission(Path(settings.trust), deployment=settings.deployment, state=state),
        state=state,
        signals=signal_profile("ray-serve"),
    )


async def follow_in_router(host: PolicyHost, settings: RouterSettings) -> None:
    """Follow the snapshot and watch the policy until the process ends."""
    try:
        async with host.running():
            await host.follow(Path(settings.snapshot), settings.poll_s)
    except Exception as error:
        # The task's error would be seen by nobody; what is live stays live.
        _log.error("the snapshot is not followed any more in this process: %s", defect(error))
