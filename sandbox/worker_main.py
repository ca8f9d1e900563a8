"""The program of a scoring process: a warm parent that forks one locked-down child per candidate.

Started by `sandbox.worker.WorkerPool` as `python -P -m sandbox.worker_main FD`. FD is a Unix
socket on which the pool sends, in this order: the set-up (JSON), the payload (pickle, from the
trusted side only), and then commands: `fork` together with the descriptor of a fresh socket for
the child, or `reap PID`. The warm process imports the scorer, unpickles the payload, lets the
scorer prepare (compile what all candidates share), and never runs a policy itself. Its children
inherit all of that, lock themselves down, and answer jobs on their own socket with JSON.

A scorer is a function `score(payload, candidate, windows, kept) -> list[WindowScore]`; `kept` is a
dictionary that lives as long as the child, which only ever sees one source text: the place for a
compiled policy that new parameters do not change.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pickle
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from sandbox import wire
from sandbox.scores import Candidate, WindowScore, score_as_json
from sandbox.worker_lockdown import Limits, lock_down

REFUSALS = frozenset({"PolicyRefused", "ParametersRefused"})  # by name: not every scorer has them
Scorer = Callable[[Any, Candidate, Sequence[str], dict[str, Any]], list[WindowScore]]


def main(argv: Sequence[str]) -> int:
    """Prepare, say so, then serve commands until the pool closes its end."""
    control = socket.socket(fileno=int(argv[1]))
    setup = json.loads(wire.receive_bytes(control) or b"null")
    packed = wire.receive_bytes(control)
    if setup is None or packed is None:
        return 1
    try:
        scorer, payload = _prepare(setup, packed)
    except Exception as error:  # reported whole: nothing of a candidate has run yet
        wire.send_json(control, {"error": f"{type(error).__name__}: {error}"[:2000]})
        return 1
    del packed
    gc.collect()
    gc.freeze()  # children share these pages
    wire.send_json(control, {"pid": os.getpid()})
    _serve_commands(control, scorer, payload, Limits(**setup["limits"]))
    return 0


def _prepare(setup: Mapping[str, Any], packed: bytes) -> tuple[Scorer, object]:
    sys.path[:0] = setup["search_path"]
    scorer = cast(Scorer, _resolve(setup["score"]))
    payload = pickle.loads(packed)  # noqa: S301 - written by the pool before any policy ran
    if setup["prepare"]:
        cast(Callable[[object], None], _resolve(setup["prepare"]))(payload)
    return scorer, payload


def _resolve(path: str) -> object:
    module, _, name = path.partition(":")
    found: object = getattr(importlib.import_module(module), name)
    return found


def _serve_commands(
    control: socket.socket, scorer: Scorer, payload: object, limits: Limits
) -> None:
    """`fork` answers with the child's pid; `reap` waits for a child that was told to end."""
    while True:
        command, descriptors, _, _ = socket.recv_fds(control, 64, 1)
        if not command:
            return
        word, _, number = command.decode().strip().partition(" ")
        if word == "reap":
            with contextlib.suppress(ChildProcessError):
                os.waitpid(int(number), 0)
            wire.send_json(control, {"reaped": int(number)})
            continue
        pid = _fork_child(control, descriptors[0], scorer, payload, limits)
        os.close(descriptors[0])
        wire.send_json(control, {"pid": pid})


def _fork_child(
    control: socket.socket, descriptor: int, scorer: Scorer, payload: object, limits: Limits
) -> int:
    """Fork; the child never returns from here."""
    parent_pid = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        control.close()
        channel = socket.socket(fileno=descriptor)
        layers = lock_down(limits, parent_pid)
        wire.send_json(channel, [[x.name, x.in_force, x.note] for x in layers])
        _serve_jobs(channel, scorer, payload)
        status = 0
    finally:
        os._exit(status)


def _serve_jobs(channel: socket.socket, scorer: Scorer, payload: object) -> None:
    """Answer jobs until the pool closes the socket."""
    kept: dict[str, Any] = {}
    while (message := wire.receive_bytes(channel)) is not None:
        job = json.loads(message)
        candidate = Candidate(job["source_text"], job["parameters"])
        wire.send_json(channel, _answer(scorer, payload, candidate, job["windows"], kept))


def _answer(
    scorer: Scorer,
    payload: object,
    candidate: Candidate,
    windows: Sequence[str],
    kept: dict[str, Any],
) -> dict[str, object]:
    """Scores, or why there are none; an error is named by its type and place, not its words."""
    try:
        scores = scorer(payload, candidate, windows, kept)
        return {"scores": [score_as_json(score) for score in scores]}
    except MemoryError:
        return {"fault": "memory", "detail": "MemoryError"}
    except Exception as error:
        refused = any(kind.__name__ in REFUSALS for kind in type(error).__mro__)
        return {"fault": "refused" if refused else "crash", "detail": _place(error)}


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
