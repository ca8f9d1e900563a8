"""The folder of a cluster's calibrations, each a version, and of what predictions were worth.

    000007-H100-llama-3.1-8b-tp1.json   a calibration that any cluster file may name, with where
                                        it comes from
    checks.json                         the last prediction errors, newest last

Files are replaced whole, so that a kill leaves the old one or the new one; what cannot be read is
left out and said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from policy_store.files import create_file, replace_file
from sandbox.calibration import Calibration, CalibrationRefused, read_calibration
from sandbox.cluster import ClusterSpec
from sandbox.prediction_error import PredictionError
from sandbox.profiles import UnknownProfile, load_profile

MOST_VERSIONS = 64
MOST_CHECKS = 500
MOST_BYTES = 2**20
CHECKS = "checks.json"
_FILE = re.compile(r"(\d{6})-[A-Za-z0-9._ -]{1,200}\.json")


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison of predicted with realised times.

    Attributes:
        since_unix_s, until_unix_s: the window.
        calibrations: digests of those that were simulated with.
    """

    since_unix_s: float
    until_unix_s: float
    calibrations: tuple[str, ...]
    error: PredictionError


class CalibrationShelf:
    """Keeps versions and checks; one process at a time writes.

    Attributes:
        complaints: files that were left out, and why.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.complaints: tuple[str, ...] = ()

    def versions(self) -> tuple[Calibration, ...]:
        """All that can be read, oldest first."""
        found, complaints = [], []
        for path in self._files():
            try:
                found.append(read_calibration(path))
            except CalibrationRefused as refused:
                complaints.append(str(refused))
        self.complaints = tuple(complaints)
        return tuple(found)

    def keep(self, calibration: Calibration) -> Path:
        """Add a version; the oldest go when there are too many."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files = list(self._files())
        number = int(files[-1].name[:6]) + 1 if files else 1
        name = f"{calibration.gpu}-{calibration.model}-tp{calibration.tp}.json".replace("/", "_")
        target = self._folder / f"{number:06d}-{name}"
        create_file(target, calibration.to_json().encode("utf-8"), 0o600)
        for old in files[: max(0, len(files) + 1 - MOST_VERSIONS)]:
            old.unlink(missing_ok=True)
        return target

    def newest(self, cluster: ClusterSpec) -> tuple[Calibration, ...]:
        """The last version of each replica that a cluster can have and whose tables still stand."""
        last: dict[str, Calibration] = {}
        for one in self.versions():
            if one.model == cluster.model and self._stands(cluster, one):
                last[one.key] = one
        return tuple(last[key] for key in sorted(last))

    def checks(self) -> tuple[Check, ...]:
        """What was measured, newest last."""
        try:
            with (self._folder / CHECKS).open("rb") as file:
                rows = json.loads(file.read(MOST_BYTES))
            return tuple(_check(row) for row in rows)
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            self.complaints = (*self.complaints, f"{CHECKS} is damaged and begins anew")
            return ()

    def note(self, check: Check) -> None:
        """Add a check; the oldest go when there are too many."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = [*self.checks(), check][-MOST_CHECKS:]
        text = json.dumps([_row(one) for one in kept])
        replace_file(self._folder / CHECKS, text.encode("ascii"), 0o600)

    def _files(self) -> Iterator[Path]:
        if self._folder.is_dir():
            names = (p for p in self._folder.iterdir() if _FILE.fullmatch(p.name) and p.is_file())
            yield from sorted(names)

    @staticmethod
    def _stands(cluster: ClusterSpec, calibration: Calibration) -> bool:
        for pool in cluster.pool:
            try:
                profile = load_profile(pool.gpu, cluster.model, calibration.tp)
            except UnknownProfile:
                continue
            if calibration.fits(profile):
                return calibration.tables == profile.tables_digest
        return False


def _row(check: Check) -> dict[str, object]:
    return {
        "since_unix_s": check.since_unix_s, "until_unix_s": check.until_unix_s,
        "calibrations": list(check.calibrations), "error": check.error.to_json(),
    }  # fmt: skip


def _check(row: dict[str, object]) -> Check:
    error, used = row["error"], row["calibrations"]
    if not isinstance(error, dict) or not isinstance(used, list):
        raise TypeError("no check")
    since, until = float(str(row["since_unix_s"])), float(str(row["until_unix_s"]))
    return Check(since, until, tuple(map(str, used)), PredictionError.from_json(error))
