"""What an engine is told about policies: through its environment, as it makes its scheduler."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.engine import EngineName
from sandbox.home import home
from serving_adapter.activation import ENGINE_NAMES
from serving_adapter.errors import AdapterError


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSettings:
    """Where an engine takes its policies from.

    Attributes:
        snapshot: the signed file to follow; it need not be there yet.
        trust: the file of trusted keys, or a folder of them.
        state: what must outlive a restart; engines of one host share it.
        name: of this engine; by it a canary is drawn.
        decision_log: where each decision gets a line; None for no log.
        metrics_port: on loopback, 0 for any that is free; None for no listener.
    """

    snapshot: Path
    trust: Path
    state: Path
    deployment: str = "default"
    name: str
    engine: EngineName = "auto"
    decision_log: Path | None = None
    metrics_port: int | None = None


def settings_of(environment: Mapping[str, str], rank: int = 0) -> HookSettings:
    """Read EVOLVER_SNAPSHOT, _TRUST, _STATE, _DEPLOYMENT, _ENGINE_NAME, _ENGINE_MODE,
    _DECISION_LOG and _METRICS_PORT; what is not said is as for `evolver serve`.

    Args:
        environment: of the process.
        rank: among the engines of one server; those above 0 have a name, log and port of theirs.

    Raises:
        AdapterError: a value makes no sense.
    """
    deployment = environment.get("EVOLVER_DEPLOYMENT") or "default"
    snapshot = "active.json" if deployment == "default" else f"active-{deployment}.json"
    mode = environment.get("EVOLVER_ENGINE_MODE") or "auto"
    if mode not in ENGINE_NAMES:
        raise AdapterError(
            f"EVOLVER_ENGINE_MODE is {mode!r}: give one of {', '.join(ENGINE_NAMES)}."
        )
    log = environment.get("EVOLVER_DECISION_LOG")
    suffix = f".{rank}" if rank else ""
    return HookSettings(
        snapshot=Path(environment.get("EVOLVER_SNAPSHOT") or home() / snapshot),
        trust=Path(environment.get("EVOLVER_TRUST") or home() / "trusted_keys.json"),
        state=Path(environment.get("EVOLVER_STATE") or home() / "hosts" / deployment),
        deployment=deployment,
        name=(environment.get("EVOLVER_ENGINE_NAME") or socket.gethostname()) + suffix,
        engine=mode,
        decision_log=Path(log + suffix) if log else None,
        metrics_port=_port(environment.get("EVOLVER_METRICS_PORT"), rank),
    )


def _port(text: str | None, rank: int) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or int(text) + rank > 65535:
        raise AdapterError(f"EVOLVER_METRICS_PORT is {text!r}: give a port, 0 for a free one.")
    return int(text) + rank if int(text) else 0
