"""The process of one search: begins its run or goes on with it, and says how it ended.

    python -P -m evolver.daemon.search_process FOLDER

It leaves when its parent does, whatever became of that: the run is in the store, and whoever comes
next goes on with it.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from evolver.budget import Limits
from evolver.daemon.child import begin_child
from evolver.daemon.job import WINDOW, Job, Said, read_job, run_of, say
from evolver.errors import BudgetTooSmall, EvolverError, NothingToStartFrom, RecordStale
from evolver.evolution import Means, evolve, resume
from evolver.model_settings import ModelSettings
from evolver.models import check_models
from evolver.problem import Problem
from evolver.run_start import Writers
from evolver.task import Human
from policy_store.errors import StoreError
from policy_store.store import PolicyStore
from sandbox.errors import SandboxError
from sandbox.home import home
from sandbox.replay import LoadReport, capacity_rps
from sandbox.simulation import SimulationError
from telemetry.errors import TelemetryError
from telemetry.trace import Trace

REACH_S = 3.0
_HOPELESS = (RecordStale, BudgetTooSmall, NothingToStartFrom, SimulationError)


def main(arguments: Sequence[str]) -> int:
    """Search in a folder; 0 when the run has come to its end."""
    folder = Path(arguments[0])
    try:
        job = read_job(folder)
        begin_child(job.nice)
        with PolicyStore.open(store_place()) as store:
            search(store, job, Trace.load(folder / WINDOW))
    except (EvolverError, SandboxError, StoreError, TelemetryError, OSError) as error:
        say(folder, Said(str(error), isinstance(error, _HOPELESS)))
        return 1
    say(folder, Said())
    return 0


def store_place() -> str:
    """The store that EVOLVER_STORE names, or the one below EVOLVER_HOME."""
    return os.environ.get("EVOLVER_STORE") or str(home() / "store.db")


def search(store: PolicyStore, job: Job, trace: Trace) -> None:
    """Bring the run of a job to its end; nothing happens where it has one.

    Raises:
        EvolverError, SandboxError, StoreError: as `evolve`.
    """
    run = run_of(store, job.deployment, job.episode)
    if run is not None and run.finished_at is not None:
        return
    problem = problem_of(job, trace)
    if run is None and not (windows := problem.windows()).can_prove:
        raise SimulationError(f"Nothing could be proved on this window: {windows.notes[-1]}.")
    means = Means(job.workers, job.accept_missing)
    if run is not None:
        resume(run.id, problem, store, means=means, author=job.author)
        return
    writers, notes = reachable(job.models, job.limits)
    evolve(
        problem, job.limits, store, writers=writers, means=means, inputs=job.inputs(notes),
        active=Human(job.active_name, job.active_text, active=True), author=job.author,
    )  # fmt: skip


def problem_of(job: Job, trace: Trace) -> Problem:
    """What is searched on: the window as it was, and what share of the fleet it took."""
    most = capacity_rps(trace, job.cluster, job.seed)
    load = trace.rate_rps / most if most > 0.0 else None
    report = LoadReport(load, most, trace.rate_rps, 1.0)
    capacity = None if job.capacity is None else job.capacity.pairing()
    return Problem(trace, job.cluster, report, capacity, seed=job.seed)


def reachable(models: Sequence[ModelSettings], limits: Limits) -> tuple[Writers, tuple[str, ...]]:
    """Who writes: the models that can be asked, and always the mutator; what is wrong with others.

    A search that waited for a dead endpoint would spend its seconds on nothing.
    """
    asked, notes = [], []
    for model in models:
        fault = _fault(model, limits)
        if fault:
            notes.append(f"{model.model} is left out, others write instead: {fault}"[:400])
        else:
            asked.append(model)
    return Writers(tuple(asked)), tuple(notes)


def _fault(model: ModelSettings, limits: Limits) -> str:
    try:
        check_models([model], dollars=limits.price_usd is not None)
        if model.address is not None:
            parts = urlsplit(model.address)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname or "", port), timeout=REACH_S).close()
    except EvolverError as error:
        return str(error)
    except OSError as error:
        return f"nothing answers at {model.place} ({error.strerror or error})."
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
