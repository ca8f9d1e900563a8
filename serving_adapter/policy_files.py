"""Keeps the source of every policy that ran on a host, so that a replay needs no store.

STATE/policies/DIGEST.json   {"schema": 1, "source": str, "parameters": {name: number},
                              "approved": bool}
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from policy_store.files import open_file, replace_file

SCHEMA = 1
MAX_POLICY_BYTES = 1 << 20
KEPT_POLICIES = 256
_DIGEST = re.compile(r"[0-9a-f]{64}")

_log = logging.getLogger("evolver.host")


@dataclass(frozen=True, slots=True)
class KeptPolicy:
    """A policy that ran here; `approved`: it came in a signed snapshot."""

    source: str
    parameters: Mapping[str, float]
    approved: bool


def keep_policy(state: Path, digest: str, policy: KeptPolicy) -> None:
    """Write it where it is not yet, and drop the oldest beyond `KEPT_POLICIES`; never raises."""
    folder = state / "policies"
    path = folder / f"{digest}.json"
    body = {"schema": SCHEMA, "source": policy.source, "parameters": dict(policy.parameters),
            "approved": policy.approved}  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        known = kept_policy(state, digest)
        if known is not None and known.approved >= policy.approved:
            os.utime(path)
            return
        replace_file(path, json.dumps(body).encode("ascii"), 0o600, durable=False)
        kept = sorted(folder.glob("*.json"), key=lambda one: one.stat().st_mtime_ns)
        for old in kept[:-KEPT_POLICIES]:
            old.unlink(missing_ok=True)
    except OSError as error:
        _log.error("policy %s is not kept for replays: %s", digest[:12], error.strerror)


def kept_policy(state: Path, digest: str) -> KeptPolicy | None:
    """A policy that ran here; None where it is not kept, or the file is damaged."""
    if not _DIGEST.fullmatch(digest):
        return None
    broken = OSError, ArithmeticError, ValueError, KeyError, TypeError, AttributeError
    with contextlib.suppress(*broken, RecursionError):
        with open_file(state / "policies" / f"{digest}.json") as file:
            body = json.loads(file.read(MAX_POLICY_BYTES))
        parameters = {str(name): float(value) for name, value in body["parameters"].items()}
        if body["schema"] == SCHEMA and isinstance(body["source"], str):
            return KeptPolicy(body["source"], parameters, body["approved"] is True)
    return None
