"""The process of one comparison: predicted against served, promised against found, a refit.

python -P -m evolver.daemon.check_process FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from evolver.daemon.calibrating import Calibrator, Window
from evolver.daemon.calibration_shelf import CalibrationShelf
from evolver.daemon.check_order import CheckOrder, Found, read_order, write_found
from evolver.daemon.child import begin_child
from evolver.daemon.staleness import staleness
from evolver.errors import EvolverError
from sandbox.engine import LoadedPolicy, load_policy
from sandbox.errors import SandboxError
from sandbox.evidence import Evidence, EvidenceRefused
from sandbox.identity import canonical_json
from sandbox.simulation import Setup
from sandbox.verifier import verify
from telemetry.errors import TelemetryError
from telemetry.segments import read


def main(arguments: Sequence[str]) -> int:
    """Compare what a folder asks for; 0 when it could be compared."""
    folder = Path(arguments[0])
    try:
        order = read_order(folder)
        begin_child(order.nice)
        write_found(folder, compare(order))
    except (EvolverError, SandboxError, TelemetryError, OSError) as error:
        write_found(folder, Found(f"Simulator and fleet could not be compared: {error}"))
        return 1
    return 0


def compare(order: CheckOrder) -> Found:
    """Check, refit where it is due, and look for what the live policy was promoted for.

    Raises:
        SandboxError, TelemetryError: the window says nothing, or cannot be simulated.
    """
    requests = read(order.segments, order.since_unix_s, order.until_unix_s + 1e-6)
    window = Window(order.since_unix_s, order.until_unix_s, requests, clock_speed=order.clock_speed)
    window = window.since_entry(order.digest)
    calibrator = Calibrator(CalibrationShelf(order.shelf), order.cluster)
    live = _loaded(order.text, "live")
    error = calibrator.check(window, live)
    known = error.error("e2e")
    said = "What is served was compared with what is simulated" + (
        "." if known is None else f": mean end-to-end time is {known:.0%} off."
    )
    now = order.until_unix_s
    if reason := calibrator.due(now):
        refit = calibrator.refit(window, live, now, reason)
        said = f"{said} {reason} The profile was fitted again. {refit.reason}"
    if order.digest is None:
        return Found(said)
    seen = window.observed()
    setup = Setup(seen.trace, calibrator.cluster(now))
    found = staleness(_evidence(order), live, _loaded(order.before, "before"), setup, seen)
    return Found(f"{said} {found.reason}", found.reason if found.stale else "", order.digest)


def _loaded(text: str, name: str) -> LoadedPolicy:
    return load_policy(verify(text, name), engine="compiled")


def _evidence(order: CheckOrder) -> Evidence | None:
    if order.evidence is None:
        return None
    try:
        return Evidence.from_json(canonical_json(order.evidence))
    except EvidenceRefused:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
