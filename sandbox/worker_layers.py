"""Layers of isolation as the parent sees them: which are missing, and who accepts that.

Code that nobody approved runs only behind all of them. An operator whose system lacks one may
accept that, by name, for a run or in the environment; nothing else makes up for it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from sandbox.errors import SandboxError
from sandbox.worker_lockdown import LAYERS, Layer
from sandbox.worker_process import Role, WarmProcess, WorkerSetup

ACCEPT_MISSING = "EVOLVER_ACCEPT_MISSING"


class IsolationMissing(SandboxError):
    """Unapproved code would run behind fewer layers than somebody accepted."""

    def __init__(self, sentence: str, names: Sequence[str] = ()) -> None:
        self.names = tuple(names)
        super().__init__(sentence)

    def __reduce__(self) -> tuple[type[IsolationMissing], tuple[str, tuple[str, ...]]]:
        return type(self), (str(self), self.names)


def accepted(names: Collection[str]) -> frozenset[str]:
    """Layers that may be missing: those named, and those the environment names.

    Raises:
        IsolationMissing: there is no layer of such a name.
    """
    told = os.environ.get(ACCEPT_MISSING, "").replace(",", " ").split()
    wanted = frozenset(names) | frozenset(told)
    if unknown := min(wanted - LAYERS.keys(), default=""):
        raise IsolationMissing(
            f"No layer of isolation is called {unknown!r}; they are: {', '.join(LAYERS)}."
        )
    return wanted


def agreed(roles: Sequence[Sequence[Layer]]) -> tuple[Layer, ...]:
    """The layers of all kinds of children: in force where they are in every kind."""
    by_name: dict[str, Layer] = {}
    for layer in (layer for layers in roles for layer in layers):
        if layer.name not in by_name or not layer.in_force:
            by_name[layer.name] = layer
    return tuple(by_name.values())


def probe() -> tuple[Layer, ...]:
    """The layers of this system, found by locking a process of each kind down.

    Raises:
        WorkersUnavailable: no process can be started.
    """
    job = f"{__name__}:nothing"
    roles = {"score": Role(job), "compile": Role(job, reads_packages=True)}
    warm = WarmProcess(WorkerSetup(roles), None)
    try:
        return layers_of(warm, roles)
    finally:
        warm.close()


def layers_of(warm: WarmProcess, roles: Collection[str]) -> tuple[Layer, ...]:
    """The layers that children of some roles say they have, by forking one of each.

    Raises:
        WorkersUnavailable: the system forks no more.
    """
    found = []
    for role in roles:
        child = warm.fork(role)
        found.append(child.layers)
        warm.end(child)
    return agreed(found)


def nothing(_payload: object, _message: object, _attachment: bytes, _kept: object) -> bytes:
    """The job of a process that is only looked at."""
    return b""


def demand(layers: Sequence[Layer], may_miss: Collection[str]) -> None:
    """Go on only behind every layer but those accepted to be missing.

    Raises:
        IsolationMissing: one is missing; says which, why and how to accept that.
    """
    missing = [x for x in layers if not x.in_force and x.name not in may_miss]
    if not missing:
        return
    names = [layer.name for layer in missing]
    why = "; ".join(f"{x.name}: {LAYERS[x.name]} ({x.note})" for x in missing)
    options = " ".join(f"--accept-missing {name}" for name in names)
    raise IsolationMissing(
        f"Code that nobody approved would run without {why}. Run it on a system that has this, or "
        f"accept it with {options}, or with {ACCEPT_MISSING}={','.join(names)}.",
        names,
    )
