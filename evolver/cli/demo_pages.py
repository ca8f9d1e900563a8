"""What the demo says: one page for each act, in words that need no dictionary."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from evolver import library
from evolver.cli.demo_decision import Decision
from evolver.cli.demo_scene import GPUS, PROFILE, REFUSED, Scale
from evolver.cli.demo_swap import Swap
from evolver.cli.evolve_report import diff_text
from evolver.evolution import Evolution
from evolver.problem import Problem
from evolver.verdict import Effect
from evolver.written import written
from sandbox.evidence import Evidence, Role
from sandbox.replay import ReplayResult
from sandbox.report import Cell, Report, Tone
from sandbox.verifier import PolicyRefused, verify
from serving_adapter.emulation.rehearsal import Half
from telemetry import Window, load_profile, summarise


def page(number: int, title: str, *about: str) -> Report:
    """The head of one act."""
    return Report(title).heading(f"{number}. {title}").say(*about, tone=Tone.DIM)


def opening(problem: Problem, seed: int) -> Report:
    """The window in numbers, and a plot of it."""
    window = summarise(problem.trace)
    report = page(
        1, "The window",
        f"Traffic drawn with seed {seed} from the profile {PROFILE}, which ships with the program "
        f"and was fitted to a public trace ({load_profile(PROFILE).source.split(';')[0][:60]}). "
        "No request of it is real, and nothing was downloaded.",
    )  # fmt: skip
    report.plot("requests a second", window.dynamics.rate_series, f"over {window.span_s:,.0f} s")
    report.grid(("", ">mean", ">p50", ">p95", ">most"), _lengths(window))
    report.say("", *_traffic(window), f"fleet: {problem.cluster.describe()}")
    return report.say(problem.load.sentence, tone=Tone.DIM)


def _lengths(window: Window) -> list[tuple[str, ...]]:
    spreads = (("prompt tokens", window.whole.prompt_tokens),
               ("output tokens", window.whole.output_tokens))  # fmt: skip
    return [
        (name, *(f"{value:,.0f}" for value in (s.mean, s.p50, s.p95, s.max))) for name, s in spreads
    ]


def _traffic(window: Window) -> list[str]:
    whole = window.whole
    lines = [
        f"{whole.requests:,} requests in {window.span_s:,.0f} s, {whole.rate_rps:.3g} a second"
    ]
    if whole.cv_iat is not None:
        lines.append(
            f"burstiness {whole.cv_iat:.2f}: the spread of the gaps between arrivals over their "
            "mean; 1 is pure chance"
        )
    return lines


def baselines(results: Sequence[ReplayResult]) -> Report:
    """What people wrote, on the whole window."""
    report = page(
        2, "What people wrote",
        "Each policy is a Python file that picks an engine for every request. All serve the same "
        "window in the simulator. TTFT: time to first token. TPOT: time per further token. E2E: "
        "time to the last token. p99: one request in a hundred waits longer.",
    )  # fmt: skip
    ranked = sorted(results, key=lambda result: result.metrics.objective_s)
    rows = [_baseline(result, result is ranked[0]) for result in ranked]
    columns = ("policy", ">TTFT s", ">p99 s", ">TPOT ms", ">E2E s", ">p99 s", "its idea")
    return report.grid(columns, rows)


def _baseline(result: ReplayResult, best: bool) -> list[Cell]:
    of = result.metrics.latencies
    numbers = (
        f"{of['ttft_s']['mean']:.2f}", f"{of['ttft_s']['p99']:.2f}",
        f"{1000 * of['tpot_s']['mean']:.1f}", f"{of['e2e_s']['mean']:.2f}",
        f"{of['e2e_s']['p99']:.1f}",
    )  # fmt: skip
    tone = Tone.GOOD if best else Tone.PLAIN
    cells = [Cell(result.policy, tone), *(Cell(number, tone) for number in numbers)]
    return [*cells, Cell(_idea(result.policy), Tone.DIM)]


def _idea(name: str) -> str:
    """The first sentence of a policy's docstring, without its title."""
    claim = verify(library.read(name), name).claim.split("\n\n")[0]
    return " ".join(claim.split()).split(". ")[0].rstrip(".").partition(": ")[2]


def search_opening(windows: str, scale: Scale) -> Report:
    """What is about to happen, and three candidates that do not get that far."""
    report = page(
        3, "The evolution",
        "The built-in mutator (no model, no key) rewrites these policies as code. Every candidate "
        "is read by a verifier, runs in a locked-down process, and is scored in the simulator. "
        "First, three that we wrote to be refused:",
    )  # fmt: skip
    report.grid(("", "line", "the verifier says"), [_refusal(*each) for each in REFUSED])
    most = f"{scale.evaluations:.0f} evaluations or {scale.seconds:.0f} s"
    report.say("", f"Now the search, for {most}. {windows}")
    return report.say(
        "A score compares the mean E2E time with the best baseline of each window: -10 % means a "
        "tenth less. Baselines are above 0 % because no single one is the best on every window.",
        "",
        tone=Tone.DIM,
    )


def _refusal(title: str, text: str) -> tuple[str | Cell, ...]:
    try:
        verify(text, title)
    except PolicyRefused as refused:
        first = refused.refusals[0]
        line = text.splitlines()[first.line - 1].strip() if first.line else ""
        return Cell(title, Tone.BAD), line, f"{first.reason} {first.mend}"
    raise ValueError(f"the verifier admits the candidate that {title}")


def proof(evolution: Evolution, forebear: tuple[str, str] | None) -> Report:
    """The winner's code against the best human policy, and its evidence.

    Args:
        forebear: name and source of the policy of a person that the winner descends from.
    """
    verdict = evolution.result.verdict
    report = page(5, "The winner and its proof")
    if evolution.policy is None or verdict.winner is None or evolution.evidence is None:
        report.say("The search found no better policy within this budget:", tone=Tone.STRONG)
        report.say(verdict.reason, "So it proposes nothing, and the best human policy stays.")
        return report
    before = written(verdict.best_human.text, verdict.best_human.parameters)
    after = written(verdict.winner.text, verdict.winner.parameters)
    human = verdict.best_human.name
    report.say(f"What changed: {verdict.winner.idea.rstrip('.')}.")
    if forebear is not None and forebear[0] != human.removesuffix(", tuned"):
        report.say("", f"The winner grew out of {forebear[0]}, whose source it changed like this:")
        old = written(forebear[1], {}).canonical
        report.code(diff_text(old, after.canonical, forebear[0], "the winner"), "diff")
        report.say("", "Against the best human policy:")
    report.code(diff_text(before.canonical, after.canonical, human, "the winner"), "diff")
    _windows(report, evolution.evidence, human)
    for effect in verdict.effects:
        report.say(_effect(effect), tone=Tone.GOOD)
    report.say(
        "Guardrails, against the same policies. First tokens may come later while their p99 stays "
        "within half of what is promised.",
        tone=Tone.DIM,
    )
    for gate in {gate.name: gate for gate in verdict.gates}.values():
        report.say(f"  kept: {gate.sentence}", tone=Tone.DIM)
    return report.say(f"evidence record {evolution.evidence.digest[:12]}", tone=Tone.DIM)


def _windows(report: Report, evidence: Evidence, human: str) -> None:
    """One line for each sealed window."""
    rows = []
    for window in evidence.windows:
        if window.sealed:
            mine, theirs = window.objective[Role.CANDIDATE], window.objective[Role.BEST_HUMAN]
            span = f"{window.start_s:,.0f} to {window.stop_s:,.0f} s"
            change = 100 * (mine / theirs - 1)
            tone = Tone.GOOD if change < 0 else Tone.BAD
            rows.append([Cell(span), Cell(f"{theirs:.2f}"), Cell(f"{mine:.2f}"),
                         Cell(f"{change:+.1f} %", tone)])  # fmt: skip
    title = "mean E2E seconds on windows that the search did not see"
    report.grid((">window", f">{human}", ">winner", ">change"), rows, title)


def _effect(effect: Effect) -> str:
    low, gain, high = (100 * value for value in (effect.low, effect.gain, effect.high))
    return (
        f"{gain:.1f} % less time than {effect.rival.name}; with 95 % confidence between "
        f"{low:.1f} % and {high:.1f} % ({effect.windows} windows)"
    )


def approval(decision: Decision | None, by: str) -> Report:
    """What was decided, and how anybody can check it."""
    report = page(
        6, "The approval",
        "Nothing goes live without a person, or a rule that a person wrote. Here the demo decides "
        f"for you, as {by}, in a store of its own.",
    )  # fmt: skip
    if decision is None:
        return report.say("Without a proof there is nothing to approve.")
    rows = [(e.actor, e.action.replace("_", " "), e.note or "-") for e in decision.history]
    report.grid(("who", "what", "why"), rows)
    audit = decision.audit
    intact = f"intact, {audit.entries} entries" if audit.intact else f"damaged: {audit.reason}"
    digest = decision.snapshot.digest or ""
    return report.say(
        "",
        f"active since decision {decision.snapshot.sequence}: policy {digest[:12]}",
        f"the file that serving hosts read, its signature checked: {decision.path}",
        f"audit log, every entry chained to the one before: {intact}",
    )


def swap_opening(before: str, after: str, requests: int, scale: Scale) -> Report:
    """What is about to be sent where."""
    return page(
        7, "The swap, under load",
        f"Three emulated engines ({', '.join(GPUS)}) answer the OpenAI API with measured step "
        f"times, {scale.time_scale:g} times as fast, behind the real gateway. {requests} requests "
        f"of a window that the search did not see are sent over HTTP under {before}, then again "
        f"under {after}; the swap falls between two decisions.",
    )  # fmt: skip


def swap_result(swap: Swap, digest: str | None) -> Report:
    """Latency before and after, and what became of the requests."""
    live, predicted = swap.report, swap.predicted_s
    halves = ((swap.before_name, live.before, predicted[0]),
              (swap.after_name, live.after, predicted[1]))  # fmt: skip
    rows = [_half(*half) for half in halves]
    pairs = zip(_latencies(live.before), _latencies(live.after), strict=True)
    changes = [_change(*pair) for pair in (*pairs, predicted)]
    report = Report("The swap").grid(
        ("engine seconds", ">sent", ">failed", ">TTFT", ">p95", ">E2E", ">p95",
         ">simulated E2E"),
        [*rows, [Cell("change"), Cell(""), Cell(""), *changes]],
    )  # fmt: skip
    tone = Tone.GOOD if live.failed == 0 else Tone.BAD
    report.say("", f"{live.failed} of {len(live.served)} requests failed", tone=tone)
    report.say(
        f"the new policy was verified, compiled and tried in {live.prepare_s:.2f} s while the old "
        f"one served; the gateway stood still for at most {1000 * live.longest_stall_s:.0f} ms"
    )
    if digest is not None and live.after.policy == digest:
        report.say(f"answers after the swap carry the approved digest, {digest[:12]}")
    return report


def _half(name: str, half: Half, predicted_s: float) -> list[Cell]:
    numbers = (*_latencies(half), predicted_s)
    return [
        Cell(name), Cell(f"{half.requests}"), Cell(f"{half.failed}"),
        *(Cell(f"{number:.2f}") for number in numbers),
    ]  # fmt: skip


def _latencies(half: Half) -> tuple[float, float, float, float]:
    return half.ttft_mean_s, half.ttft_p95_s, half.e2e_mean_s, half.e2e_p95_s


def _change(before: float, after: float) -> Cell:
    if not (math.isfinite(before) and math.isfinite(after) and before > 0):
        return Cell("-")
    change = 100 * (after / before - 1)
    return Cell(f"{change:+.0f} %", Tone.GOOD if change < 0 else Tone.BAD)


def program() -> str:
    """How this program is called from here: by its name when that is on the path."""
    if shutil.which("evolver"):
        return "evolver"
    return os.path.relpath(Path(sys.executable).with_name("evolver"))


def closing(home: Path, policy: str | None, seconds: float) -> Report:
    """What to type next."""
    me, example = program(), Path("examples/own_policy.py")
    mine = str(example) if example.is_file() else "YOUR_POLICY.py"
    rows = [
        ("your own trace", f"{me} replay YOUR_TRACE -p round_robin -p least_loaded"),
        ("a search on it", f"{me} evolve YOUR_TRACE --seed 1"),
        ("with a model", f"{me} evolve YOUR_TRACE --model openai/NAME --api-base URL"),
        ("your own policy", f"{me} check {mine}"),
        ("is all well", f"{me} doctor"),
    ]
    if policy is not None:
        shown = f"EVOLVER_HOME={home} {me} policy show {policy[:12]}"
        rows[:0] = [("the winner", shown), ("its page", f"EVOLVER_HOME={home} {me} review")]
    report = page(8, "Next").grid(("", ""), rows)
    return report.say("", f"{seconds:.0f} s in all; the demo's store is in {home}", tone=Tone.DIM)
