"""`evolver evolve`: look for a better policy on a trace, prove it, and file it for approval."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evolver.cli.evolve_inputs import ProblemInputs
from evolver.cli.failures import Misused
from evolver.cli.inputs import CapacityChoice, TraceChoice, checked_load
from evolver.cli.options import (
    USUAL_CLUSTER,
    CalibrationFiles,
    CapacityFile,
    CapacityFormat,
    CapacityFrom,
    CapacityOptions,
    CapacitySpeed,
    Cluster,
    Format,
    From,
    Mode,
    ModeOption,
    Node,
    Options,
    OutFile,
    Output,
    OutputOption,
    Polarity,
    Quiet,
    RateAsRecorded,
    Seed,
    Signals,
    Span,
    Until,
    screen_of,
)
from evolver.cli.results import show_result
from evolver.cli.screen import Screen

if TYPE_CHECKING:
    from evolver.budget import Limits
    from evolver.cli.evolve_view import EvolveView
    from evolver.evolution import Evolution, Means
    from evolver.model_settings import ModelSettings
    from evolver.task import Human
    from policy_store.rule_application import Applied

USUAL_SECONDS = 60.0


Load = Annotated[float, typer.Option(metavar="SHARE", help="Of what the fleet serves.")]
Seconds = Annotated[
    float | None, typer.Option(metavar="S", help="For search and proof; 60 without a budget.")
]
Evaluations = Annotated[
    float | None, typer.Option(metavar="N", help="Policies scored; same seed, same end.")
]
Tokens = Annotated[int | None, typer.Option(metavar="N", help="Of the model.")]
Dollars = Annotated[float | None, typer.Option(metavar="USD", help="For the model.")]
Workers = Annotated[
    int | None, typer.Option(min=1, max=256, help="Processes that score; one per core.")
]
Ray = Annotated[
    str | None,
    typer.Option("--ray", metavar="ADDRESS", help="Score on a Ray cluster: auto, HOST:PORT, ..."),
]
Models = Annotated[
    list[str] | None,
    typer.Option(metavar="PROVIDER/NAME", help="Writes candidates, too; may be given again."),
]
Resume = Annotated[
    str | None, typer.Option(metavar="RUN", help="Go on with an interrupted run, and nothing else.")
]
SomeTrace = Annotated[
    Path | None, typer.Argument(metavar="TRACE", help="A request trace.", show_default=False)
]
AcceptMissing = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A layer of isolation that may be missing; see doctor."),
]
ApiBase = Annotated[str | None, typer.Option(metavar="URL", help="An OpenAI-compatible endpoint.")]


def evolve(
    context: typer.Context,
    trace: SomeTrace = None,
    cluster: Cluster = USUAL_CLUSTER,
    calibration: CalibrationFiles = None,
    signals: Signals = None,
    load: Load = 0.8,
    rate_as_recorded: RateAsRecorded = False,
    seed: Seed = 0,
    budget_seconds: Seconds = None,
    budget_evaluations: Evaluations = None,
    budget_tokens: Tokens = None,
    budget_usd: Dollars = None,
    workers: Workers = None,
    accept_missing: AcceptMissing = None,
    ray: Ray = None,
    model: Models = None,
    api_base: ApiBase = None,
    resume: Resume = None,
    capacity: CapacityFile = None,
    node: Node = None,
    capacity_from: CapacityFrom = 0.0,
    capacity_speed: CapacitySpeed = 1.0,
    capacity_format: CapacityFormat = None,
    capacity_option: CapacityOptions = None,
    polarity: Polarity = None,
    mode: ModeOption = Mode.OPEN,
    start_s: From = 0.0,
    until_s: Until = None,
    span_s: Span = None,
    format: Format = None,
    option: Options = None,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Look for a better policy on a trace, and prove it.

    \b
    evolver evolve requests.csv.gz --seed 1
    evolver evolve requests.csv.gz --signals gateway --budget-evaluations 300 -o json
    evolver evolve requests.csv.gz --model openai/NAME --api-base http://localhost:8000/v1
    evolver evolve --resume RUN

    The search sees one part of the trace, the proof another. Without a proved gain it says so and
    proposes nothing. An interrupted run goes on to the same end. Keys come from the environment.
    """
    screen, typed = screen_of(context, quiet), context.params
    means = _means(workers, accept_missing, ray)
    if resume is not None:
        if trace is not None:
            raise Misused("A run goes on with its own trace; leave TRACE out beside --resume.")
        evolution, view = _resumed(screen, resume, means)
    else:
        limits = _limits(budget_seconds, budget_evaluations, budget_tokens, budget_usd)
        models = _models(model or (), api_base, limits)
        evolution, view = _searched(screen, _inputs(typed), limits, models, means)
    applied = _ruled(screen, evolution)
    _shown(screen, output, out, evolution, view, applied)
    _next(screen, trace, evolution, view, applied)


def _inputs(typed: Mapping[str, Any]) -> ProblemInputs:
    """What is searched on, from the options by their names."""
    if typed["trace"] is None:
        raise Misused("Give a TRACE to search on, or --resume RUN.")
    trace = TraceChoice(
        typed["trace"], typed["format"], typed["option"], typed["start_s"], typed["until_s"],
        typed["span_s"],
    )  # fmt: skip
    capacity = CapacityChoice(
        typed["capacity"], typed["capacity_format"], typed["polarity"], typed["capacity_option"],
        typed["node"], typed["capacity_from"], typed["capacity_speed"],
    )  # fmt: skip
    load = None if typed["rate_as_recorded"] else checked_load(typed["load"])
    calibration = tuple(typed["calibration"] or ())
    return ProblemInputs(
        trace, typed["cluster"], capacity, calibration, typed["mode"], typed["seed"], load,
        typed["signals"],
    )  # fmt: skip


def _means(workers: int | None, accept_missing: Collection[str] | None, ray: str | None) -> Means:
    from evolver.evolution import Means

    return Means(workers, accept_missing or (), ray)


def _searched(
    screen: Screen,
    inputs: ProblemInputs,
    limits: Limits,
    models: Sequence[ModelSettings],
    means: Means,
) -> tuple[Evolution, EvolveView]:
    """A new run, watched and recorded."""
    from evolver.cli.evolve_view import EvolveView
    from evolver.cli.policies import open_store
    from evolver.evolution import evolve as search
    from evolver.run_start import Writers

    problem = inputs.read(screen)
    known = problem.windows().notes
    screen.note(*known)  # before anything is spent: a short trace proves nothing
    with open_store() as store, EvolveView.on(screen, limits) as view:
        evolution = search(
            problem, limits, store, writers=Writers(tuple(models)), active=_active(), means=means,
            sinks=(view,), inputs=inputs.data(), progress=view,
        )  # fmt: skip
    screen.note(*(note for note in evolution.windows.notes if note not in known))
    return evolution, view


def _resumed(screen: Screen, run: str, means: Means) -> tuple[Evolution, EvolveView]:
    """An interrupted run, from where it was."""
    from evolver.cli.evolve_view import EvolveView
    from evolver.cli.policies import open_store
    from evolver.evolution import resume
    from evolver.run_start import RunStart

    with open_store() as store:
        row = store.runs.find_run(run)
        start = RunStart.of(row.config)
        problem = ProblemInputs.of(start.inputs).read(screen)
        with EvolveView.on(screen, start.limits) as view:
            evolution = resume(row.id, problem, store, means=means, sinks=(view,), progress=view)
    return evolution, view


def _ruled(screen: Screen, evolution: Evolution) -> Applied | None:
    """What the approval rules make of the winner; the run stands, whatever they come to."""
    from evolver.cli.policies import open_store
    from evolver.cli.rule_applying import ask_rules
    from policy_store.errors import StoreError

    if evolution.policy is None:
        return None
    try:
        with open_store() as store:
            return ask_rules(store, screen, evolution.policy)
    except StoreError as error:
        screen.warn(f"the approval rules were not asked or not heard of by hosts: {error}")
        return None


def _shown(
    screen: Screen,
    output: Output,
    out: Path | None,
    evolution: Evolution,
    view: EvolveView,
    applied: Applied | None,
) -> None:
    from evolver.cli.evolve_report import document_of, report_of

    ruled = {} if applied is None else {"rule": applied.rule, "rules_said": applied.said}
    said = () if applied is None else (applied.said,)
    show_result(
        screen, output, out,
        lambda: {**document_of(evolution), **ruled},
        lambda: report_of(evolution, view).say(*said),
    )  # fmt: skip


def _limits(
    seconds: float | None, evaluations: float | None, tokens: int | None, usd: float | None
) -> Limits:
    from evolver.budget import Limits

    if seconds is None and evaluations is None and tokens is None and usd is None:
        seconds = USUAL_SECONDS
    for name, value in (
        ("seconds", seconds), ("evaluations", evaluations), ("tokens", tokens), ("usd", usd)
    ):  # fmt: skip
        if value is not None and not value > 0:
            raise Misused(f"A budget of {value:g} buys nothing; give --budget-{name} above 0.")
    return Limits(evaluations, seconds, tokens, usd)


def _models(
    names: Sequence[str], api_base: str | None, limits: Limits
) -> tuple[ModelSettings, ...]:
    """How the models are asked; what cannot work is said before anything else is done.

    An address is that of an OpenAI-compatible endpoint where one is named among several models:
    another provider's key must not go there.
    """
    if not names and api_base is not None:
        raise Misused("An endpoint needs a model's name; add --model openai/NAME.")
    from evolver.models import ModelSettings, check_models

    there = [name for name in names if name.startswith("openai/")] or names
    models = tuple(ModelSettings(name, api_base if name in there else None) for name in names)
    check_models(models, dollars=limits.price_usd is not None)
    return models


def _active() -> Human:
    """What runs now: the stored active policy, or the built-in default."""
    from evolver.cli.policies import ACTIVE, find_policy
    from evolver.task import Human
    from evolver.written import written

    named = find_policy(ACTIVE)
    source = written(named.source.annotated(), dict(named.parameters or {}), named.name)
    name = "default" if named.origin == "default" else named.name
    return Human(name, source.annotated(), active=True)


def _next(
    screen: Screen,
    trace: Path | None,
    evolution: Evolution,
    view: EvolveView,
    applied: Applied | None,
) -> None:
    from evolver.cli.evolve_report import next_steps

    if applied is not None and applied.rule is not None:
        screen.next(f"evolver rule show {applied.rule}", "evolver status")
    else:
        screen.next(*next_steps(evolution, trace, view))
