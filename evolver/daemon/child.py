"""A process of ours that may be killed at any moment and that leaves with its parent."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

LEAVE_S = 5.0
LOG = "log.txt"


class Child:
    """One module run on one folder, at most one at a time; any thread may start or stop it."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._until_s = math.inf

    @property
    def runs(self) -> bool:
        """Whether it was started and nobody has heard its end."""
        return self._process is not None

    def start(self, folder: Path, at_most_s: float = math.inf) -> None:
        """Start it."""
        with self._lock, (folder / LOG).open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-P", "-m", self._module, str(folder)],
                stdin=subprocess.PIPE,  # closes with this process, whatever ends it
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self._until_s = time.monotonic() + at_most_s

    def ended(self) -> int | None:
        """Its exit code, once; None while it runs. One that runs for too long is ended."""
        with self._lock:
            if self._process is None:
                return None
            code = self._process.poll()
            if code is None and time.monotonic() > self._until_s:
                self.stop(LEAVE_S)
                return -signal.SIGKILL
            if code is not None:
                self._close()
            return code

    def stop(self, within_s: float) -> None:
        """Ask it to leave, and make it."""
        with self._lock:
            process = self._process
            if process is None:
                return
            process.terminate()
            try:
                process.wait(within_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(LEAVE_S)
            self._close()

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None


def begin_child(nice: int) -> None:
    """In the child: stand back, end cleanly when asked, and leave when the parent has."""
    os.nice(nice)
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _stop(*_: object) -> None:
    sys.exit(143)


def _leave_with_parent() -> None:
    """The parent holds the other end of standard input: it closes when that dies, however."""
    with contextlib.suppress(OSError, ValueError):
        while os.read(0, 1024):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(LEAVE_S)
    os._exit(143)
