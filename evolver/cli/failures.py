"""What a person is told when something goes wrong: one sentence, and the next command to type.

    CommandError
    |- Misused      what was typed cannot be meant; exit code 2
    `- Declined     understood, and refused; exit code 1

Errors of the packages carry their own sentence. Anything else is a defect: its traceback goes to a
file under EVOLVER_HOME, never to the screen.
"""

from __future__ import annotations

import errno
import time
import traceback
from pathlib import Path

REFUSED, MISUSED, DEFECT, INTERRUPTED = 1, 2, 70, 130


class CommandError(Exception):
    """Ends a command with a sentence, the next command to type and an exit code."""

    code = REFUSED

    def __init__(self, sentence: str, next_command: str = "") -> None:
        super().__init__(sentence)
        self.next_command = next_command


class Misused(CommandError):
    """What was typed cannot be meant."""

    code = MISUSED


class Declined(CommandError):
    """The command was understood and refuses."""


HELP = ""  # of the command that failed

# By name: importing every error's module would import what raises it. The first of an error's
# classes that is listed here decides.
_NEXT: dict[str, tuple[int, str]] = {
    "ClusterError": (MISUSED, HELP),
    "FormatError": (MISUSED, HELP),
    "ReadError": (REFUSED, HELP),
    "SegmentError": (REFUSED, HELP),
    "ProfileError": (MISUSED, HELP),
    "TraceError": (MISUSED, HELP),
    "PolicyRefused": (REFUSED, "evolver check FILE"),
    "ParametersRefused": (REFUSED, "evolver policy list"),
    "EngineUnavailable": (REFUSED, "evolver doctor"),
    "WorkersUnavailable": (REFUSED, "evolver doctor"),
    "UnknownPolicy": (MISUSED, "evolver policy list"),
    "UnknownRun": (MISUSED, "evolver run list"),
    "UnknownRule": (MISUSED, "evolver rule list"),
    "UnknownAccount": (MISUSED, "evolver review user list"),
    "LastAdmin": (REFUSED, "evolver review user list"),
    "SignInRefused": (REFUSED, "evolver review user list"),
    "InvalidInput": (MISUSED, HELP),
    "ForbiddenMove": (REFUSED, "evolver policy list"),
    "StaleDecision": (REFUSED, "evolver status"),
    "NothingLive": (REFUSED, "evolver status"),
    "SnapshotError": (REFUSED, "evolver status"),
    "TrustUnusable": (REFUSED, "evolver keys list"),
    "KeyMissing": (REFUSED, "evolver keys new"),
    "KeyProblem": (REFUSED, "evolver doctor"),
    "UnknownSchema": (REFUSED, "evolver store info"),
    "BackupUnusable": (REFUSED, HELP),
    "StoreNotEmpty": (REFUSED, HELP),
    "StoreError": (REFUSED, "evolver doctor"),
    "BudgetTooSmall": (MISUSED, HELP),
    "ModelSetupWrong": (MISUSED, "evolver doctor"),
    "ProposerFailed": (REFUSED, HELP),
    "EvolverError": (REFUSED, HELP),
    "SandboxError": (REFUSED, HELP),
    "AdapterError": (REFUSED, HELP),
    "TelemetryError": (REFUSED, HELP),
}
_ROOTS = frozenset({"TelemetryError", "SandboxError", "StoreError", "EvolverError", "AdapterError"})


def expected(error: BaseException) -> tuple[int, str, str] | None:
    """Exit code, sentence and next command of an error that was raised on purpose, else None."""
    if isinstance(error, CommandError):
        return error.code, str(error), error.next_command
    classes = [kind.__name__ for kind in type(error).__mro__]
    if not _ROOTS.intersection(classes):
        return None
    code, command = next((_NEXT[name] for name in classes if name in _NEXT), (REFUSED, ""))
    return code, str(error), command


def from_system(error: OSError) -> tuple[int, str, str] | None:
    """The same for files that cannot be read or written; None for anything else of the system."""
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return REFUSED, f"The result cannot be written: {error.strerror}; make room.", ""
    if error.filename is None or error.strerror is None:
        return None
    return REFUSED, f"{error.filename}: {error.strerror.lower()}; check the path.", "evolver doctor"


def keep_traceback(error: BaseException) -> Path | None:
    """Write a defect's traceback under EVOLVER_HOME; None when even that is impossible."""
    from sandbox.home import home

    folder = home() / "logs"
    path = folder / f"defect-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return None
    return path
