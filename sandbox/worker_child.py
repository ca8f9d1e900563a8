"""One locked-down process as its parent sees it: jobs go out, bounded bytes or a fault come back.

Nothing here blocks on the child: one that does not read, drips its answer byte by byte or sends
too much costs its parent a bounded buffer, until the deadline.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sandbox import wire
from sandbox.errors import SandboxError
from sandbox.worker_lockdown import Layer

FaultKind = Literal["memory", "refused", "crash", "timeout"]
# what a child may say of itself; the rest is the parent's to say
_SAID: Mapping[str, FaultKind] = {"memory": "memory", "refused": "refused", "crash": "crash"}
_PIECE_BYTES = 1 << 18
_LOOK_S = 0.25  # between looks at the processor time of a child


class JobFault(SandboxError):
    """A job without a reply; the detail is for the log only."""

    def __init__(self, kind: FaultKind, detail: str) -> None:
        self.kind: FaultKind = kind
        self.detail = "".join(c if c.isascii() and c.isprintable() else "?" for c in detail[:200])
        super().__init__(f"{kind}: {self.detail}")

    def __reduce__(self) -> tuple[type[JobFault], tuple[str, str]]:
        return type(self), (self.kind, self.detail)


@dataclass(slots=True)
class Child:
    """One locked-down process; made by `WarmProcess.fork`, ended by `WarmProcess.end`.

    Attributes:
        max_reply_bytes: a longer reply is a crash.
        layers: of isolation, in force or missing and why.
    """

    pid: int
    channel: socket.socket
    max_reply_bytes: int
    layers: tuple[Layer, ...]
    _unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    _received: bytearray = field(default_factory=bytearray)

    def send(self, message: Mapping[str, object], attachment: bytes = b"") -> None:
        """Hand over a job; what does not fit the socket goes out as the child reads.

        Raises:
            ValueError: a number of the message is not finite.
            JobFault: the process is gone, or said something that nobody asked for.
        """
        data = wire.packed_job(message, attachment)
        self.channel.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self._receive()
        if self._received:
            raise JobFault("crash", "an answer to no question")
        self._unsent = memoryview(data)
        self._send_more()

    @property
    def events(self) -> int:
        """What a selector waits for on the channel."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)

    def poll(self) -> bytes | None:
        """The reply, once all of it is here; None while it is not.

        Raises:
            JobFault: the process ended or reported a fault, or what it sends is no reply.
        """
        if self._unsent:
            self._send_more()
        try:
            self._receive()
            return self._whole()
        except BlockingIOError:
            return None
        except wire.BrokenMessage as broken:
            raise JobFault("crash", str(broken)) from broken

    def ask(
        self,
        message: Mapping[str, object],
        attachment: bytes = b"",
        *,
        deadline_s: float,
        most_cpu_s: float = math.inf,
    ) -> bytes:
        """Hand over a job and wait for its reply.

        Args:
            most_cpu_s: of processor time over the process's life, where the system tells.

        Raises:
            JobFault: there is none; end the child then.
        """
        until_s = time.monotonic() + deadline_s
        self.send(message, attachment)
        while (left_s := until_s - time.monotonic()) > 0.0:
            with selectors.DefaultSelector() as selector:
                selector.register(self.channel, self.events)
                ready = selector.select(min(left_s, _LOOK_S) if most_cpu_s < math.inf else left_s)
            if ready and (reply := self.poll()) is not None:
                return reply
            if most_cpu_s < math.inf and self.cpu_s() > most_cpu_s:
                raise JobFault("timeout", f"{most_cpu_s:g} s of processor time")
        raise JobFault("timeout", f"{deadline_s:g} s")

    def cpu_s(self) -> float:
        """Processor time that it has used; 0.0 where the system does not tell."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def pause(self) -> None:
        """Stop it between jobs: whatever it wants to do with the time, it does not."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run again."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """To a process that may be gone with the one that forked it; its channel tells."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _send_more(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self.channel.send(self._unsent[:_PIECE_BYTES]) :]
        except BlockingIOError:
            return
        except OSError as error:
            raise JobFault("crash", "the process takes no jobs") from error

    def _receive(self) -> None:
        try:
            piece = self.channel.recv(_PIECE_BYTES)
        except BlockingIOError:
            raise
        except OSError as error:
            raise JobFault("crash", "the process is gone") from error
        if not piece:
            raise JobFault("crash", "the process ended")
        self._received += piece

    def _whole(self) -> bytes | None:
        """The reply when it is complete."""
        if len(self._received) < wire.HEADER_BYTES:
            return None
        header = self._received[: wire.HEADER_BYTES]
        most = max(self.max_reply_bytes, wire.MAX_FAULT_BYTES) + 1
        end = wire.HEADER_BYTES + wire.message_length(header, most)
        if len(self._received) > end:
            raise wire.BrokenMessage("more than one answer")
        if len(self._received) < end:
            return None
        answer = bytes(self._received[wire.HEADER_BYTES :])
        self._received.clear()
        return _reply(answer)


def _reply(answer: bytes) -> bytes:
    """What the child computed; raises what it could not."""
    kind, rest = answer[:1], answer[1:]
    if kind == wire.REPLY:
        return rest
    if kind != wire.FAULT:
        raise JobFault("crash", "the answer is neither a reply nor a fault")
    name, _, detail = rest.decode("ascii", "replace").partition(" ")
    if name not in _SAID:
        raise JobFault("crash", "the fault has a name that none has")
    raise JobFault(_SAID[name], detail)
