"""What one process of a host says about itself, once a second, in a small file of its own.

    STATE/reports/PID-BOOT.json

Whoever looks at the host reads these: another process that wants to know whether its neighbours
serve, `evolver host status`, and what tells the store. A file that was not written for a while is
of a process that has gone. What is in one is checked: any program of this user may write there.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from policy_store.files import open_file, replace_file
from serving_adapter.safety.ejection import Ejection, read_ejection

SCHEMA = 1
MAX_REPORT_BYTES = 16 * 1024
MAX_PROCESSES = 256
MAX_EJECTIONS = 16
MAX_WORD_CHARS = 80
GONE_S = 5.0
FORGOTTEN_S = 3600.0


@dataclass(frozen=True, slots=True)
class TrialReport:
    """A canary beside its control, in one process, since it came.

    Attributes:
        weight: the share of sessions that it was given.
        decisions, canary_decisions, control_decisions: of all requests, by it, and by its control.
        canary_requests, control_requests: outcomes that count in the comparison.
        standing: `worse`, `better` or `open`.
        evidence, advantage: wealth of who bets that it is worse, and that it is better; either is
            proven at `proof`.
    """

    digest: str
    weight: float
    decisions: int
    canary_decisions: int
    control_decisions: int
    canary_requests: int
    control_requests: int
    standing: str
    evidence: float
    advantage: float
    proof: float


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """A shadow beside who decides, in one process, since it came.

    Attributes:
        live_s, shadow_s: predicted end-to-end time of all choices that were made, and of all that
            it would have made, where both are known.
    """

    digest: str
    agree: int
    differ: int
    fault: int
    live_s: float
    shadow_s: float


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """One process of a host; counts since it started.

    Attributes:
        boot: drawn when it started; its decisions carry it.
        digest: of the first policy that is asked; None for the built-in default.
        since_unix_s: when it went live with what it runs.
        behind: it runs less than its host has admitted, and takes no work.
        off: why no policy is asked; empty when they are.
        decided: decisions by their author.
        fallbacks: decisions that were not made by whom they belonged to.
        swap_s: the longest that a swap took; mean_swap_s: all of them.
        dropped: decision inputs that were not kept.
    """

    pid: int
    boot: str
    started_unix_s: float
    unix_s: float
    sequence: int
    digest: str | None
    since_unix_s: float
    behind: bool
    off: str
    decided: Mapping[str, int]
    fallbacks: int
    swaps: int
    swap_s: float
    mean_swap_s: float
    dropped: int = 0
    canary: TrialReport | None = None
    shadow: ShadowReport | None = None
    ejections: tuple[Ejection, ...] = ()


def report_path(state: Path, pid: int, boot: str) -> Path:
    """Where a process says how it stands."""
    return state / "reports" / f"{pid}-{boot}.json"


def write_report(path: Path, report: ProcessReport) -> None:
    """Replace the file, at once and whole; waits for no disk.

    Raises:
        OSError: the disk refuses.
    """
    body = {"schema": SCHEMA, **asdict(report)}
    body["ejections"] = [asdict(one) for one in report.ejections[-MAX_EJECTIONS:]]
    text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_file(path, text.encode("ascii"), 0o600, durable=False)


def living_reports(state: Path) -> tuple[ProcessReport, ...]:
    """What the processes of a host say that are alive, by their age; never raises."""
    found = []
    for path in _paths(state):
        age_s = _age_s(path)
        if -GONE_S < age_s < GONE_S and (report := read_report(path)) is not None:
            found.append(report)
    return tuple(sorted(found, key=lambda one: (one.started_unix_s, one.pid)))


def forget_old(state: Path) -> None:
    """Remove what processes left behind that went long ago; never raises."""
    for path in _paths(state):
        if _age_s(path) > FORGOTTEN_S:
            with contextlib.suppress(OSError):  # a folder, say
                path.unlink(missing_ok=True)


def read_report(path: Path) -> ProcessReport | None:
    """One report; None where the file is gone, or says what no process says."""
    try:
        with open_file(path) as file:
            content = file.read(MAX_REPORT_BYTES + 1)
        if len(content) > MAX_REPORT_BYTES:
            return None
        return _parse(json.loads(content))
    except (OSError, ArithmeticError, ValueError, KeyError, TypeError, AttributeError,
            RecursionError):  # fmt: skip
        return None


def _paths(state: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(state / "reports"))
    except OSError:
        return []
    return [state / "reports" / name for name in names if name.endswith(".json")][:MAX_PROCESSES]


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return math.inf


def _parse(body: dict[str, Any]) -> ProcessReport:
    if body.pop("schema") != SCHEMA:
        raise ValueError("another schema")
    ejections = body.pop("ejections")[:MAX_EJECTIONS]
    canary, shadow, digest = body.pop("canary"), body.pop("shadow"), body.pop("digest")
    decided = {_word(name): _count(count) for name, count in body.pop("decided").items()}
    if len(decided) > MAX_EJECTIONS:
        raise ValueError("more authors than there are")
    return ProcessReport(
        **_plain(ProcessReport, body),
        digest=None if digest is None else _word(digest),
        decided=decided,
        canary=None if canary is None else TrialReport(**_plain(TrialReport, canary)),
        shadow=None if shadow is None else ShadowReport(**_plain(ShadowReport, shadow)),
        ejections=tuple(read_ejection(json.dumps(one), _word(one["digest"])) for one in ejections),
    )


def _plain(record: type, body: Mapping[str, object]) -> dict[str, Any]:
    """The fields of plain types, each checked for its own."""
    kinds = record.__annotations__
    return {name: _CHECKS[kinds[name]](value) for name, value in body.items()}


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise ValueError("no count")
    return value


def _amount(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError("no amount")
    return float(value)


def _word(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_WORD_CHARS or not value.isprintable():
        raise ValueError("no word")
    return value


_CHECKS: dict[str, Callable[[object], object]] = {
    "int": _count, "float": _amount, "bool": lambda value: value is True, "str": _word,
}  # fmt: skip
