"""The program of a working process: a warm parent that forks one locked-down child per candidate.

Started by `sandbox.worker_process.WarmProcess` as `python -P -m sandbox.worker_main FD`. FD is a
Unix socket on which the parent sends, in this order: the set-up (JSON), the payload (pickle, from
the trusted side only), and then commands: `fork ROLE` together with the descriptor of a fresh
socket for the child, or `reap PID`. The warm process imports the roles' jobs, unpickles the
payload, prepares (loads what all children share), and never runs a policy itself. Its children
inherit all of that, lock themselves down as their role says, and answer jobs on their own socket.

A job is a function `job(payload, message, attachment, kept) -> bytes`; `kept` is a dictionary
that lives as long as the child. Descriptors that came with `fork` after the socket's are in
`kept["lent"]`: sockets as sockets, all else as the memory that it maps.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import mmap
import os
import pickle
import socket
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from sandbox import wire
from sandbox.worker_lockdown import CHANNEL, Limits, lock_down, package_folders

REFUSALS = frozenset({"PolicyRefused", "ParametersRefused"})  # by name: not every job has them
Job = Callable[[Any, Mapping[str, Any], bytes, dict[str, Any]], bytes]
Roles = Mapping[str, Mapping[str, Any]]
Lent = socket.socket | mmap.mmap


def main(argv: Sequence[str]) -> int:
    """Prepare, say so, then serve commands until the parent closes its end."""
    control = socket.socket(fileno=int(argv[1]))
    setup = json.loads(wire.receive_bytes(control) or b"null")
    packed = wire.receive_bytes(control)
    if setup is None or packed is None:
        return 1
    try:
        roles, payload = _prepare(setup, packed)
    except Exception as error:  # reported whole: nothing of a candidate has run yet
        wire.send_json(control, {"error": f"{type(error).__name__}: {error}"[:2000]})
        return 1
    del packed
    gc.collect()
    gc.freeze()  # children share these pages
    wire.send_json(control, {"pid": os.getpid()})
    _serve_commands(control, roles, payload)
    return 0


def _prepare(setup: Mapping[str, Any], packed: bytes) -> tuple[Roles, object]:
    sys.path[:0] = setup["search_path"]
    roles = {name: {**role, "job": _resolve(role["job"])} for name, role in setup["roles"].items()}
    payload = pickle.loads(packed)  # noqa: S301 - written by the parent before any policy ran
    if setup["prepare"]:
        cast(Callable[[object], None], _resolve(setup["prepare"]))(payload)
    return roles, payload


def _resolve(path: str) -> object:
    module, _, name = path.partition(":")
    found: object = getattr(importlib.import_module(module), name)
    return found


def _serve_commands(control: socket.socket, roles: Roles, payload: object) -> None:
    """`fork` answers with the child's pid; `reap` waits for a child that was told to end."""
    while True:
        command, descriptors, _, _ = socket.recv_fds(control, 64, 3)
        if not command:
            return
        word, _, rest = command.decode().strip().partition(" ")
        if word == "reap":
            with contextlib.suppress(ChildProcessError):
                os.waitpid(int(rest), 0)
            wire.send_json(control, {"reaped": int(rest)})
            continue
        pid = _fork_child(control, descriptors, roles[rest], payload)
        for descriptor in descriptors:
            os.close(descriptor)
        wire.send_json(control, {"pid": pid})


def _fork_child(
    control: socket.socket, descriptors: Sequence[int], role: Mapping[str, Any], payload: object
) -> int:
    """Fork; the child never returns from here."""
    parent_pid = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        control.close()
        os.dup2(descriptors[0], CHANNEL)
        channel = socket.socket(fileno=CHANNEL)
        lent, kept_open = _taken(descriptors[1:])
        readable = package_folders() if role["reads_packages"] else ()
        sys.dont_write_bytecode = True
        layers = lock_down(Limits(**role["limits"]), parent_pid, readable, kept_open)
        wire.send_json(channel, [[x.name, x.in_force, x.note] for x in layers])
        _serve_jobs(channel, role, payload, lent)
        status = 0
    finally:
        os._exit(status)


def _taken(descriptors: Sequence[int]) -> tuple[tuple[Lent, ...], int]:
    """Lent descriptors as what they are, and how many stay open with the channel's.

    They are looked at now, since a locked-down process cannot ask what a descriptor is.
    """
    lent: list[Lent] = []
    place = CHANNEL
    for descriptor in descriptors:
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            place += 1
            os.dup2(descriptor, place)
            lent.append(socket.socket(fileno=place))
        else:
            lent.append(mmap.mmap(descriptor, 0))  # its memory stays when it is closed
    return tuple(lent), place + 1


def _serve_jobs(
    channel: socket.socket, role: Mapping[str, Any], payload: object, lent: tuple[Lent, ...]
) -> None:
    """Answer jobs until the parent closes the socket."""
    kept: dict[str, Any] = {"lent": lent}
    while (data := wire.receive_bytes(channel)) is not None:
        answer = _answer(role["job"], payload, data, kept)
        if len(answer) > 1 + role["max_reply_bytes"]:
            answer = wire.FAULT + b"crash the reply is longer than allowed"
        channel.sendall(wire.framed(answer))


def _answer(job: Job, payload: object, data: bytes, kept: dict[str, Any]) -> bytes:
    """A reply, or why there is none; an error is named by its type and place, not its words."""
    try:
        message, attachment = wire.unpacked_job(data)
        return wire.REPLY + job(payload, message, attachment, kept)
    except MemoryError:
        return wire.FAULT + b"memory MemoryError"
    except Exception as error:
        refused = any(kind.__name__ in REFUSALS for kind in type(error).__mro__)
        fault = f"{'refused' if refused else 'crash'} {_place(error)}"
        return wire.FAULT + fault.encode("ascii", "replace")[: wire.MAX_FAULT_BYTES]


def _place(error: Exception) -> str:
    """Type of an error and the innermost line it came from."""
    trace, where = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        where = f"{os.path.basename(code.co_filename)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__} at {where}"[:200]


if __name__ == "__main__":
    sys.exit(main(sys.argv))
