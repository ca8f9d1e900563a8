"""Asks policies whom they would pick in made-up cases: each in a locked-down process of its own.

Decisions are interpreted, under the fuel of a real one and a deadline; memory is new for each. A
warm process is started with the first question; answers are kept for those who ask again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from sandbox import contract
from sandbox.engine import load_policy
from sandbox.errors import PolicyFault, SandboxError
from sandbox.frame import FAULTS, Caller
from sandbox.records import dtype_of
from sandbox.scores import Candidate
from sandbox.verifier import verify
from sandbox.what_if import MOST_INSTANCES, STEPS, Case, InstanceCase
from sandbox.worker_child import JobFault
from sandbox.worker_layers import accepted, demand
from sandbox.worker_lockdown import Limits
from sandbox.worker_process import Role, WarmProcess, WorkerSetup, WorkersUnavailable

DEADLINE_S = 5.0
WAIT_S = 20.0  # for others who ask
FUEL = 60_000  # as a decision has
MEMORY_BYTES = 2 << 30
MOST_KEPT = 512
MOST_CASES = 1 + STEPS
_NO_HOOK = b"none"
_ANSWER = np.dtype([("pick", "i8"), ("fuel", "i8"), ("fault", "i8")])
_ROLE = "ask"


class WhatIfFailed(SandboxError):
    """A policy that gave no answer; the message says why."""


class Kind(StrEnum):
    """What a decision was."""

    INSTANCE = "instance"
    HOLD = "hold"
    REJECT = "reject"
    INVALID = "invalid"  # an instance that there is not
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Pick:
    """One decision.

    Attributes:
        instance: number of the one picked, -1 for none.
        fuel: that it took, units.
        fault: why it failed, in words.
    """

    kind: Kind
    instance: int = -1
    fuel: int = 0
    fault: str = ""


class WhatIf:
    """Answers for one page; safe to use from many threads, one question at a time."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._warm: WarmProcess | None = None
        self._kept: OrderedDict[tuple[object, ...], tuple[Pick, ...] | str | None] = OrderedDict()

    def picks(self, policy: Candidate, cases: Sequence[Case]) -> tuple[Pick, ...] | None:
        """What a policy decides in each case; None when it has no `route`.

        Raises:
            WhatIfFailed: it was refused, crashed or took too long, or others ask too much.
            WorkersUnavailable, IsolationMissing: no policy is to blame.
        """
        if not 0 < len(cases) <= MOST_CASES:
            raise ValueError(f"Ask about 1 to {MOST_CASES} cases.")
        parameters = tuple(sorted((policy.parameters or {}).items()))
        key = (policy.source_digest, parameters, tuple(cases))
        if not self._turn.acquire(timeout=WAIT_S):
            raise WhatIfFailed("Others ask as well: try again in a moment.")
        try:
            if key not in self._kept:
                self._kept[key] = self._asked(policy, cases)
                while len(self._kept) > MOST_KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            found = self._kept[key]
        finally:
            self._turn.release()
        if isinstance(found, str):
            raise WhatIfFailed(found)
        return found

    def close(self) -> None:
        """End the processes."""
        with self._turn:
            if self._warm is not None:
                self._warm.close()
                self._warm = None

    def _asked(self, policy: Candidate, cases: Sequence[Case]) -> tuple[Pick, ...] | str | None:
        """The answer, or why there is none: whoever hangs is not asked the same again."""
        try:
            return self._answer(policy, cases)
        except WhatIfFailed as failed:
            return str(failed)
        except WorkersUnavailable:
            if self._warm is not None:  # it may have been killed: a new one gets one chance
                self._warm.close()
                self._warm = None
            return self._answer(policy, cases)

    def _answer(self, policy: Candidate, cases: Sequence[Case]) -> tuple[Pick, ...] | None:
        if self._warm is None:
            self._warm = WarmProcess(_setup(), None)
        child = self._warm.fork(_ROLE)
        try:
            demand(child.layers, accepted(()))
            parameters = {k: float(v) for k, v in (policy.parameters or {}).items()}
            message = {"source": policy.source_text, "parameters": parameters,
                       "instances": [len(case.instances) for case in cases]}  # fmt: skip
            reply = child.ask(message, _rows_of(cases), deadline_s=DEADLINE_S)
        except (JobFault, ValueError) as fault:
            raise WhatIfFailed(_words(fault)) from fault
        finally:
            self._warm.end(child)
        return None if reply == _NO_HOOK else _read(reply, cases)


def _words(fault: Exception) -> str:
    kind = fault.kind if isinstance(fault, JobFault) else "refused"
    return {
        "timeout": f"It gave no answer within {DEADLINE_S:g} s.",
        "refused": "The verifier of this version does not admit it.",
        "memory": "It needs more memory than it may have.",
    }.get(kind, "Its process crashed.")


def _setup() -> WorkerSetup:
    limits = Limits(memory_bytes=MEMORY_BYTES, cpu_s=60)
    role = Role(f"{__name__}:ask_job", limits=limits, max_reply_bytes=_ANSWER.itemsize * MOST_CASES)
    return WorkerSetup({_ROLE: role}, f"{__name__}:prepare")


def _rows_of(cases: Sequence[Case]) -> bytes:
    parts = [part for case in cases for part in (case.request_row(), case.instance_rows())]
    return b"".join(part.tobytes() for part in parts)


def _read(reply: bytes, cases: Sequence[Case]) -> tuple[Pick, ...]:
    """What an untrusted process says, once it can be true."""
    if len(reply) != _ANSWER.itemsize * len(cases):
        raise WhatIfFailed("Its process answered something else.")
    rows = np.frombuffer(reply, _ANSWER)
    return tuple(
        _pick(int(row["pick"]), int(row["fuel"]), int(row["fault"]), len(case.instances))
        for row, case in zip(rows, cases, strict=True)
    )


def _pick(pick: int, fuel: int, fault: int, instances: int) -> Pick:
    if not 0 <= fuel <= FUEL:
        raise WhatIfFailed("Its process answered with fuel that nobody gave it.")
    if fault:
        return Pick(Kind.FAULT, fuel=fuel, fault=FAULTS.get(fault, "it failed"))
    if 0 <= pick < instances:
        return Pick(Kind.INSTANCE, pick, fuel)
    kinds = {contract.HOLD: Kind.HOLD, contract.REJECT: Kind.REJECT}
    return Pick(kinds.get(pick, Kind.INVALID), fuel=fuel)


def prepare(_payload: object) -> None:
    """Load what children need: they open no file."""
    from sandbox.policies import default_source

    source = default_source()
    case = Case(tuple(InstanceCase() for _ in range(MOST_INSTANCES)))
    kept: dict[str, Any] = {}
    message = {"source": source.canonical, "parameters": {}, "instances": [MOST_INSTANCES]}
    ask_job(None, message, _rows_of([case]), kept)


def ask_job(
    _payload: object, message: Mapping[str, Any], attachment: bytes, _kept: dict[str, Any]
) -> bytes:
    """Decide each case with the interpreted policy; runs in the locked-down child."""
    source = verify(message["source"])
    if "route" not in source.hooks:
        return _NO_HOOK
    policy = load_policy(source, message["parameters"] or None, "interpreted", {"route"})
    caller = Caller(policy)
    request_type, instance_type = (dtype_of(one) for one in (contract.Request, contract.Instance))
    answers = np.zeros(len(message["instances"]), _ANSWER)
    at = 0
    for answer, count in zip(answers, message["instances"], strict=True):
        request = np.frombuffer(attachment, request_type, 1, at).copy()
        at += request.nbytes
        instances = np.frombuffer(attachment, instance_type, count, at).copy()
        at += instances.nbytes
        memory = np.zeros(contract.MEMORY_SLOTS)
        try:
            answer["pick"] = caller.route(request, instances, memory, fuel=FUEL)
        except PolicyFault as fault:
            answer["fault"] = fault.kind
        answer["fuel"] = min(caller.fuel_used, FUEL)
    return answers.tobytes()
