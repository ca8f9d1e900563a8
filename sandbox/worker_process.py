"""The parent's side of scoring processes: the warm one, and the locked-down children it forks."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from sandbox import wire
from sandbox.errors import SandboxError
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
    """Scoring processes cannot be started or kept alive; no candidate is to blame."""


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What every scoring process is given.

    Attributes:
        score: dotted path `package.module:function` of a `sandbox.worker_main.Scorer`.
        prepare: dotted path of a function of the payload that the warm process runs once, before
            any child is forked: the place to compile what all candidates share. "" for none.
        search_path: folders put first on the import path of the processes.
        limits: ceilings of a child.
        start_s: how long the warm process may take to prepare.
    """

    score: str
    prepare: str = ""
    search_path: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    start_s: float = 300.0


@dataclass(slots=True)
class Child:
    """One locked-down process, bound to one source text."""

    pid: int
    channel: socket.socket
    source_digest: str
    layers: tuple[Layer, ...]
    jobs_done: int = 0
    busy_s: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    def send_job(
        self, source_text: str, parameters: Mapping[str, float] | None, windows: Sequence[str]
    ) -> None:
        """Hand over a job.

        Raises:
            ValueError: a parameter is not finite, or the text is far too long.
            OSError: the process is gone or does not read.
        """
        plain = None if parameters is None else {k: float(v) for k, v in parameters.items()}
        job = {"source_text": source_text, "parameters": plain, "windows": list(windows)}
        self.received.clear()
        self.channel.settimeout(HANDSHAKE_S)
        wire.send_json(self.channel, job)
        self.channel.setblocking(False)

    def poll(self) -> object | None:
        """The answer, once all of it is here; None while it is not.

        Raises:
            BrokenMessage: the process ended, or what it sends is no bounded JSON.
        """
        try:
            piece = self.channel.recv(1 << 16)
        except BlockingIOError:
            return None
        except OSError as error:
            raise wire.BrokenMessage("the process is gone") from error
        if not piece:
            raise wire.BrokenMessage("the process ended")
        self.received += piece
        if len(self.received) < wire.HEADER_BYTES:
            return None
        header = self.received[: wire.HEADER_BYTES]
        end = wire.HEADER_BYTES + wire.message_length(header, wire.MAX_REPLY_BYTES)
        if len(self.received) > end:
            raise wire.BrokenMessage("more than one answer")
        if len(self.received) < end:
            return None
        return wire.parse_json(self.received[wire.HEADER_BYTES :])


class WarmProcess:
    """Imports, unpickles and compiles once, then forks children in milliseconds."""

    def __init__(self, setup: WorkerSetup, payload: object) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _spawn(theirs)
        self._control = ours
        self._control.settimeout(setup.start_s)
        names = {"score": setup.score, "prepare": setup.prepare}
        folders = {"search_path": list(setup.search_path), "limits": asdict(setup.limits)}
        try:
            wire.send_bytes(ours, json.dumps(names | folders).encode())
            wire.send_bytes(ours, pickle.dumps(payload, protocol=pickle.HIGHEST_PROTOCOL))
            self._ask(None)
        except BaseException:
            self.close()
            raise
        self._control.settimeout(HANDSHAKE_S)

    def fork(self, source_digest: str) -> Child:
        """A fresh child, locked down and waiting for its first job.

        Raises:
            WorkersUnavailable: the warm process is gone, or the system forks no more.
        """
        ours, theirs = socket.socketpair()
        ours.settimeout(HANDSHAKE_S)
        try:
            with theirs:
                pid = self._ask(b"fork", theirs.fileno())
            layers = tuple(Layer(*layer) for layer in _hello(ours))
        except BaseException:
            ours.close()
            raise
        return Child(pid, ours, source_digest, layers)

    def end(self, child: Child) -> None:
        """Kill a child with its whole process group, and wait until it is gone."""
        child.channel.close()
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(child.pid, signal.SIGKILL)
        self._ask(f"reap {child.pid}".encode())

    def close(self) -> None:
        """End the warm process; its children die with it."""
        self._control.close()
        self._process.kill()
        self._process.wait()

    def _ask(self, command: bytes | None, descriptor: int | None = None) -> int:
        """Send a command, wait for its answer; the pid in it."""
        try:
            if command is not None:
                attached = [] if descriptor is None else [descriptor]
                socket.send_fds(self._control, [command], attached)
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


def _hello(channel: socket.socket) -> list[tuple[str, bool, str]]:
    """The first message of a child: what it gave up."""
    try:
        message = wire.receive_bytes(channel, wire.MAX_REPLY_BYTES)
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
        [sys.executable, "-P", "-m", "sandbox.worker_main", str(control.fileno())],
        pass_fds=[control.fileno()],
        env=kept | FIXED_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
