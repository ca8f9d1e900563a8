"""Runs the process of a search, so that neither its memory nor its end is the daemon's."""

from __future__ import annotations

import math
from pathlib import Path

from evolver.daemon.child import Child
from evolver.daemon.job import SAID, Job, heard
from evolver.daemon.protocols import Ended

SLOWEST_TIMES = 3.0  # of its seconds; a search that takes longer hangs
SPARE_S = 900.0  # for compiling, proving and looking at the winner


class SearchProcess:
    """One process at a time; its run in the store is all that counts."""

    def __init__(self) -> None:
        self._child = Child("evolver.daemon.search_process")
        self._folder = Path()

    def ensure(self, job: Job, folder: Path) -> None:
        """Start it, unless it runs."""
        if self._child.runs:
            return
        (folder / SAID).unlink(missing_ok=True)
        usual_s = math.inf if job.limits.seconds is None else job.limits.seconds
        self._child.start(folder, usual_s * SLOWEST_TIMES + SPARE_S)
        self._folder = folder

    def ended(self, folder: Path) -> Ended | None:
        """How the one on this folder ended, once; None while it runs, or when there was none.

        The process of an earlier search, whose run told its end, may only now have gone.
        """
        code = self._child.ended()
        if code is None or self._folder != folder:
            return None
        said = heard(self._folder)
        fault = said.fault or (f"Its process ended with code {code}." if code else "")
        return Ended(fault, said.hopeless)

    def stop(self, within_s: float) -> None:
        """Ask it to leave, and make it."""
        self._child.stop(within_s)
