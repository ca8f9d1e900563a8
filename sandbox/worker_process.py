"""The parent's side of working processes: the warm one, and the locked-down children it forks."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sandbox import wire
from sandbox.errors import SandboxError
from sandbox.native.process import command
from sandbox.worker_child import Child
from sandbox.worker_lockdown import Layer, Limits

HANDSHAKE_S = 20.0  # a fork and its lock-down take milliseconds
KEPT_ENVIRONMENT = (
    "EVOLVER_HOME",
    "HOME",
    "LD_LIBRARY_PATH",
    "NUMBA_CACHE_DIR",
    "NUMBA_CPU_FEATURES",
    "NUMBA_CPU_NAME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
)
FIXED_ENVIRONMENT = {  # one thread a process: forking needs it, and cores belong to candidates
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}


class WorkersUnavailable(SandboxError):
    """Working processes cannot be started or kept alive; no candidate is to blame."""


@dataclass(frozen=True, slots=True)
class Role:
    """A kind of child: what it computes, and what is left to it.

    Attributes:
        job: dotted path `package.module:function` of a `sandbox.worker_main.Job`.
        reads_packages: it may read the interpreter's and the packages' folders, as a compiler
            must; another child opens no file at all.
        limits: its ceilings.
        max_reply_bytes: a longer reply is a crash.
    """

    job: str
    reads_packages: bool = False
    limits: Limits = field(default_factory=Limits)
    max_reply_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a warm process is given.

    Attributes:
        roles: of the children, by name.
        prepare: dotted path of a function of the payload that the warm process runs once, before
            any child is forked: the place to import, compile and load what all children share,
            since they open no file. "" for none.
        search_path: folders put first on the import path of the processes.
        start_s: how long the warm process may take to prepare.
    """

    roles: Mapping[str, Role]
    prepare: str = ""
    search_path: tuple[str, ...] = ()
    start_s: float = 300.0


class WarmProcess:
    """Imports, unpickles and compiles once, then forks children in milliseconds.

    The payload is pickled once and handed to each job. Not for use from several threads at once.
    """

    def __init__(self, setup: WorkerSetup, payload: object) -> None:
        self._roles = setup.roles
        self._living: set[int] = set()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _spawn(theirs)
        self._control = ours
        self._control.settimeout(setup.start_s)
        try:
            wire.send_json(ours, _described(setup))
            wire.send_bytes(ours, pickle.dumps(payload, protocol=pickle.HIGHEST_PROTOCOL))
            self._ask(None)
        except BaseException:
            self.close()
            raise
        self._control.settimeout(HANDSHAKE_S)

    def fork(self, role: str, lent: Sequence[int] = ()) -> Child:
        """A fresh child of a role, locked down and waiting for its first job.

        Args:
            lent: up to two sockets or pieces of memory that its job finds in `kept["lent"]`.

        Raises:
            WorkersUnavailable: the warm process is gone, or the system forks no more.
        """
        ours, theirs = socket.socketpair()
        ours.settimeout(HANDSHAKE_S)
        try:
            with theirs:
                pid = self._ask(f"fork {role}".encode(), [theirs.fileno(), *lent])
            self._living.add(pid)
            layers = tuple(Layer(*layer) for layer in _hello(ours))
        except BaseException:
            ours.close()
            raise
        return Child(pid, ours, self._roles[role].max_reply_bytes, layers)

    def end(self, child: Child) -> None:
        """Kill a child with its whole process group, and wait until it is gone."""
        child.channel.close()
        if child.pid in self._living:  # its number may be another process's after `close`
            _kill(child.pid)
            self._living.discard(child.pid)
        self._ask(f"reap {child.pid}".encode())

    def close(self) -> None:
        """End the warm process and every child."""
        self._control.close()
        for pid in self._living:
            _kill(pid)
        self._living.clear()
        self._process.kill()
        self._process.wait()

    def _ask(self, command: bytes | None, descriptors: Sequence[int] = ()) -> int:
        """Send a command, wait for its answer; the pid in it."""
        try:
            if command is not None:
                socket.send_fds(self._control, [command], descriptors)
            answer = json.loads(wire.receive_bytes(self._control, 1 << 16) or b"null")
        except (OSError, ValueError) as error:
            raise WorkersUnavailable(
                "The scoring processes do not answer; check memory and process limits, then "
                "run the command again."
            ) from error
        if answer is None or "error" in answer:
            reason = "it ended" if answer is None else answer["error"]
            raise WorkersUnavailable(f"The scoring processes could not start: {reason}")
        return int(answer.get("pid", 0))


def _described(setup: WorkerSetup) -> dict[str, Any]:
    roles = {name: asdict(role) for name, role in setup.roles.items()}
    return {"roles": roles, "prepare": setup.prepare, "search_path": list(setup.search_path)}


def _kill(pid: int) -> None:
    """SIGKILL to a child's group, and to itself in case it never had one."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _hello(channel: socket.socket) -> Sequence[tuple[str, bool, str]]:
    """The first message of a child: what it gave up."""
    try:
        message = wire.receive_bytes(channel, wire.MAX_NOTE_BYTES)
    except (OSError, ValueError) as error:
        raise WorkersUnavailable("A scoring process hangs while it locks itself down.") from error
    if message is None:
        raise WorkersUnavailable(
            "A scoring process died while it locked itself down: allow it more memory."
        )
    layers: list[tuple[str, bool, str]] = json.loads(message)
    return layers


def _spawn(control: socket.socket) -> subprocess.Popen[bytes]:
    """Our interpreter in a session of its own, without the working directory on its path."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    return subprocess.Popen(  # noqa: S603 - no shell, no outside words
        command("sandbox.worker_main", str(control.fileno())),
        pass_fds=[control.fileno()],
        env=kept | FIXED_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
