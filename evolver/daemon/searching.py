"""Runs the process of a search, so that neither its memory nor its end is the daemon's."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path

from evolver.daemon.job import LOG, SAID, Job, heard
from evolver.daemon.protocols import Ended

SLOWEST_TIMES = 3.0  # of its seconds; a search that takes longer hangs
SPARE_S = 900.0  # for compiling, proving and looking at the winner


class SearchProcess:
    """One process at a time; its run in the store is all that counts."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()
        self._until_s = 0.0

    def ensure(self, job: Job, folder: Path) -> None:
        """Start it, unless it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        (folder / SAID).unlink(missing_ok=True)
        with (folder / LOG).open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-P", "-m", "evolver.daemon.search_process", str(folder)],
                stdin=subprocess.PIPE,  # closes with this process, whatever ends it
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._folder = folder
        usual_s = math.inf if job.limits.seconds is None else job.limits.seconds
        self._until_s = time.monotonic() + usual_s * SLOWEST_TIMES + SPARE_S

    def ended(self) -> Ended | None:
        """How it ended; None while it runs, or when there was none."""
        if self._process is None:
            return None
        code = self._process.poll()
        if code is None and time.monotonic() > self._until_s:
            self.stop(5.0)
            return Ended("It took far longer than its budget, and was ended.")
        if code is None:
            return None
        self._close()
        said = heard(self._folder)
        fault = said.fault or (f"Its process ended with code {code}." if code else "")
        return Ended(fault, said.hopeless)

    def stop(self, within_s: float) -> None:
        """Ask it to leave, and make it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5.0)
        self._close()

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None
