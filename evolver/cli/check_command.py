"""`evolver check`: every gate on one policy file, cheapest first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.options import OutFile, Output, OutputOption, Quiet, screen_of
from evolver.cli.policies import read_policy_file
from evolver.cli.results import show_result
from evolver.cli.screen import Screen

if TYPE_CHECKING:
    from sandbox.errors import Refusal
    from sandbox.replay import ReplayResult
    from sandbox.report import Report
    from sandbox.source import PolicySource

SMOKE_PROFILE, SMOKE_SECONDS, SMOKE_CLUSTER = "azure2023_conv", 60.0, "mixed-8b"


def check(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A policy: one Python file.")],
    run: Annotated[bool, typer.Option(help="Also compile it and run it for a minute.")] = True,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Verify a policy file, and run it on a generated minute of traffic.

    \b
    evolver check mine.py               exit code 0 when it is admitted, 1 when not
    evolver check mine.py --no-run      only read it
    evolver check mine.py -o json
    """
    from sandbox.errors import PolicyRefused, Refusal
    from sandbox.verifier import verify

    screen = screen_of(context, quiet)
    text = read_policy_file(file)
    source, smoke, refusals = None, None, list[Refusal]()
    try:
        source = verify(text, file.stem)
    except PolicyRefused as refused:
        refusals = list(refused.refusals)
    if source is not None and run:
        smoke = _smoke_run(screen, source)
        refusals = _smoke_refusals(text, smoke)
    accepted = not refusals
    show_result(
        screen, output, out,
        lambda: _document(source, refusals, smoke),
        lambda: _report(file, text, source, refusals, smoke),
    )  # fmt: skip
    if not accepted:
        screen.next(f"mend {file} and type: evolver check {file}")
        raise typer.Exit(1)
    screen.next(f"evolver replay TRACE -p {file} -p least_loaded")


def _smoke_run(screen: Screen, source: PolicySource) -> ReplayResult:
    """A generated minute on eight GPUs, under the compiled engine."""
    from evolver.cli.kernel import warm_kernel
    from sandbox.cluster import load_cluster
    from sandbox.engine import load_policy
    from sandbox.replay import replay
    from sandbox.simulation import Setup
    from telemetry.generator import generate
    from telemetry.profile import TrafficProfile, load_profile

    warm_kernel(screen)
    profile = load_profile(SMOKE_PROFILE)
    assert isinstance(profile, TrafficProfile)  # noqa: S101 - ours, shipped
    trace = generate(profile, span_s=SMOKE_SECONDS, seed=0, rate_scale=4.0)
    setup = Setup(trace, load_cluster(SMOKE_CLUSTER))
    loaded = load_policy(source, engine="compiled")
    return replay(setup, [(source.name, loaded)])[0]


def _smoke_refusals(text: str, smoke: ReplayResult) -> list[Refusal]:
    """A decision that failed is a reason to refuse, at the line of the hook that failed."""
    from sandbox.errors import Refusal

    if not smoke.faults:
        return []
    words = smoke.fault or "a hook stopped"
    hook = words.split(":")[0].split(" ")[0]
    lines = text.splitlines()
    line = next((n for n, x in enumerate(lines, 1) if x.startswith(f"def {hook}(")), 1)
    reason = f"{smoke.faults:,} decisions failed in the smoke run; the first: {words}."
    mend = "Guard that case, so that every decision is one of those offered."
    return [Refusal(line, "smoke-run", reason, mend)]


def _document(
    source: PolicySource | None, refusals: Sequence[Refusal], smoke: ReplayResult | None
) -> dict[str, object]:
    return {
        "accepted": not refusals,
        "refusals": [
            {"line": r.line, "code": r.code, "reason": r.reason, "mend": r.mend} for r in refusals
        ],
        "cost": dict(source.cost) if source else None,
        "digest": source.digest() if source else None,
        "hooks": list(source.hooks) if source else [],
        "parameters": source.parameters() if source else {},
        "fields_read": sorted(source.fields_read) if source else [],
        "smoke_run": smoke.to_json() if smoke else None,
    }


def _report(
    file: Path,
    text: str,
    source: PolicySource | None,
    refusals: Sequence[Refusal],
    smoke: ReplayResult | None,
) -> Report:
    from sandbox.report import Report, Tone

    report = Report(f"Check of {file.name}")
    if refusals:
        count = "1 reason" if len(refusals) == 1 else f"{len(refusals)} reasons"
        report.say(f"{file.name} is refused, for {count}.", tone=Tone.BAD)
        for refusal in refusals:
            _refusal(report, text.splitlines(), refusal)
        return report
    report.say(f"{file.name} is accepted.", tone=Tone.GOOD)
    if source is not None:
        _admitted(report, source)
    if smoke is not None:
        numbers = smoke.metrics.numbers
        report.say(
            f"Smoke run: {smoke.requests:,} requests, {int(numbers['finished']):,} finished, no "
            f"faulty decision, {numbers['fuel_per_decision']:,.0f} units of fuel a decision."
        )
    return report


def _refusal(report: Report, lines: Sequence[str], refusal: Refusal) -> None:
    from sandbox.report import Tone

    written = lines[refusal.line - 1].strip() if 0 < refusal.line <= len(lines) else ""
    report.say(f"\nline {refusal.line}  {written[:90]}", tone=Tone.STRONG)
    report.say(f"  {refusal.reason}", f"  {refusal.mend}")
    report.say(f"  {refusal.code}", tone=Tone.DIM)


def _admitted(report: Report, source: PolicySource) -> None:
    from sandbox.language.cost import REQUEST_HOOK_LIMIT
    from sandbox.language.kinds import PLANNER_HOOKS
    from sandbox.report import Tone

    report.say(source.claim.strip().split("\n")[0], tone=Tone.DIM)
    rows = []
    for hook in source.hooks:
        limit = "time budget" if hook in PLANNER_HOOKS else f"of {REQUEST_HOOK_LIMIT:,}"
        rows.append((hook, f"{source.cost[hook]:,}", limit))
    report.grid(("hook", ">worst fuel", ""), rows)
    if source.tunables:
        report.grid(
            ("tunable", ">value", ">low", ">high"),
            [(t.name, f"{t.value:g}", f"{t.low:g}", f"{t.high:g}") for t in source.tunables],
        )
    by_record: dict[str, list[str]] = {}
    for name in sorted(source.fields_read):
        record, _, field = name.partition(".")
        by_record.setdefault(record, []).append(field)
    report.grid(
        ("record", "fields read"), [(record, ", ".join(f)) for record, f in by_record.items()]
    )
    report.say(f"digest {source.digest()}", tone=Tone.DIM)
