"""`evolver replay`: policies side by side on one trace, at one load or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Misused
from evolver.cli.inputs import CapacityChoice, TraceChoice, checked_load, read_ground
from evolver.cli.options import (
    USUAL_CLUSTER,
    CalibrationFiles,
    CapacityFile,
    CapacityFormat,
    CapacityFrom,
    CapacityOptions,
    CapacitySpeed,
    Cluster,
    EngineChoice,
    EngineOption,
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
    TraceFile,
    Until,
    screen_of,
)
from evolver.cli.policies import Named, find_policy
from evolver.cli.results import show_result
from evolver.cli.screen import Screen

if TYPE_CHECKING:
    from evolver.cli.replaying import Replayed
    from sandbox.engine import LoadedPolicy

LOADS = (0.5, 0.8, 0.95)


Policies = Annotated[
    list[str],
    typer.Option("-p", "--policy", metavar="POLICY", help="Name, file, digest; repeatable."),
]
Loads = Annotated[
    list[float] | None,
    typer.Option(metavar="SHARE", help="Of what the fleet serves; repeatable. 0.5, 0.8, 0.95."),
]


def replay(
    context: typer.Context,
    trace: TraceFile,
    policy: Policies,
    cluster: Cluster = USUAL_CLUSTER,
    calibration: CalibrationFiles = None,
    signals: Signals = None,
    load: Loads = None,
    rate_as_recorded: RateAsRecorded = False,
    capacity: CapacityFile = None,
    node: Node = None,
    capacity_from: CapacityFrom = 0.0,
    capacity_speed: CapacitySpeed = 1.0,
    capacity_format: CapacityFormat = None,
    capacity_option: CapacityOptions = None,
    polarity: Polarity = None,
    mode: ModeOption = Mode.OPEN,
    seed: Seed = 0,
    start_s: From = 0.0,
    until_s: Until = None,
    span_s: Span = None,
    engine: EngineOption = EngineChoice.COMPILED,
    format: Format = None,
    option: Options = None,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Compare policies on a trace, on a simulated cluster.

    \b
    evolver replay requests.csv.gz -p round_robin -p least_loaded
    evolver replay requests.csv.gz -p mine.py -p active --load 0.8 -o json
    evolver replay requests.csv.gz -p static_plan --capacity spot.csv --node L40S:1
    evolver replay requests.csv.gz -p mine.py --signals gateway
    evolver replay requests.csv.gz -p mine.py -o html --out report.html

    A policy is a library name (evolver policy list --library), a file, the first digits of a stored
    digest, `active` or `default`.
    """
    screen = screen_of(context, quiet)
    loads = _loads(load, rate_as_recorded)
    choice = CapacityChoice(
        capacity, capacity_format, polarity, capacity_option, node, capacity_from, capacity_speed
    )
    named = [find_policy(word) for word in dict.fromkeys(policy)]
    ground = read_ground(
        TraceChoice(trace, format, option, start_s, until_s, span_s), cluster, choice, mode, seed,
        calibration or (), signals,
    )  # fmt: skip
    screen.note(*ground.sentences())
    from evolver.cli.replaying import replay_all

    replayed = replay_all(screen, ground, loads, _load(screen, named, engine))
    _show(screen, output, out, replayed, engine)
    _warn(screen, replayed)


def _loads(given: Sequence[float] | None, as_recorded: bool) -> list[float | None]:
    if as_recorded:
        if given:
            raise Misused("Give --load or --rate-as-recorded, not both.")
        return [None]
    return list(dict.fromkeys(checked_load(load) for load in given or LOADS))


def _load(
    screen: Screen, named: Sequence[Named], engine: EngineChoice
) -> list[tuple[str, LoadedPolicy]]:
    """Each policy ready to be called; compiling is the slow part."""
    from evolver.cli.kernel import warm_kernel
    from sandbox.engine import load_policy

    warm_kernel(screen)
    loaded = []
    with screen.steps("loading policies", len(named)) as bar:
        for policy in named:
            ready = load_policy(policy.source, policy.parameters, engine.value)
            loaded.append((policy.name, ready))
            bar.step()
    return loaded


def _show(
    screen: Screen, output: Output, out: Path | None, replayed: Replayed, engine: EngineChoice
) -> None:
    from evolver.cli.replay_report import document_of, report_of

    show_result(
        screen, output, out,
        lambda: document_of(replayed, engine.value),
        lambda: report_of(replayed),
    )  # fmt: skip


def _warn(screen: Screen, replayed: Replayed) -> None:
    """Say which policies made faulty decisions, once each."""
    said = set[str]()
    for _, results in replayed.runs:
        for result in results:
            if result.faults and result.policy not in said:
                said.add(result.policy)
                screen.warn(
                    f"{result.policy} made {result.faults:,} faulty decisions: the default policy "
                    f"decided instead, a plan stayed as it was; the first: {result.fault}."
                )
