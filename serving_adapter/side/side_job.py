"""What a side process does: loads one policy after it has locked itself down, then decides.

It is a job of `sandbox.worker_main`: the first message loads, the second never returns. Both
engines run here; machine code comes with the message, made by whoever may compile.
"""

from __future__ import annotations

import gc
import importlib
import os
import socket
from collections.abc import Mapping
from typing import Any

import numpy as np

from sandbox import contract
from sandbox.engine import load_policy
from sandbox.errors import PolicyFault
from sandbox.frame import OK
from sandbox.native.linking import link
from sandbox.native.machine_code import MachineCode
from sandbox.native.policy_code import PolicyCode
from sandbox.native.toolchain import policy_toolchain
from sandbox.verifier import verify
from serving_adapter.activation import NativeRouter, Router, missing_rows
from serving_adapter.side.side_page import ANSWER, ASK, MAX_INSTANCES, Page, views_of

WARM_UP = '''
"""The first row; the verifier reads the toolkit's sources when a policy uses it."""


def route(request, instances, memory):
    return instances[0].id if prefill_time_s(instances[0], 1.0) >= 0.0 else HOLD
'''


def prepare(_: object) -> None:
    """Before any child is forked: everything that a child needs and could not open any more."""
    loaded = load_policy(verify(WARM_UP), None, "interpreted")
    rows = missing_rows(contract.Instance, 1)
    memory = np.zeros(contract.MEMORY_SLOTS)
    NativeRouter(loaded).route(missing_rows(contract.Request, 1), rows, memory, 0, 1000)
    importlib.import_module("sandbox.compiled")  # which `load_policy` does late
    policy_toolchain()
    link(MachineCode("", "", {}, ()))


def decide(_: object, message: Mapping[str, Any], attachment: bytes, kept: dict[str, Any]) -> bytes:
    """Load a policy and answer with its digest, or, told to serve, decide until the host goes."""
    if "source" in message:
        kept["router"], digest = _load(message, attachment)
        return digest.encode("ascii")
    page, channel = kept["lent"]
    _serve(kept["router"], views_of(page), channel)
    os._exit(0)


def _load(message: Mapping[str, Any], attachment: bytes) -> tuple[Router, str]:
    source = verify(message["source"], "policy")
    if attachment:
        code = PolicyCode.from_bytes(attachment)
        loaded = load_policy(source, message["parameters"], "compiled", ("route",), code)
    else:
        loaded = load_policy(source, message["parameters"], "interpreted", ("route",))
    return NativeRouter(loaded), loaded.digest


def _serve(router: Router, page: Page, channel: socket.socket) -> None:
    """One question after the other, until the host closes its end."""
    gc.collect()
    gc.freeze()
    gc.disable()  # nothing below makes a cycle, and a collection would be a late answer
    while len(asked := channel.recv(ASK.size)) == ASK.size:
        number, count, rotation, fuel = ASK.unpack(asked)
        if not 0 < count <= MAX_INSTANCES:
            return
        rows = page.instances[:count]
        try:
            status, choice = OK, router.route(page.request, rows, page.memory, rotation, fuel)
        except PolicyFault as fault:
            status, choice = fault.kind, 0
        channel.send(ANSWER.pack(number, status, choice))
