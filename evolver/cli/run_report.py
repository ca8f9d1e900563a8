"""One run for people: verdict, curves, whom it had to beat, the winner's line, who earned what."""

from __future__ import annotations

from collections.abc import Sequence

from evolver.archive import VETERAN
from evolver.cli.policy_report import ago
from evolver.cli.run_proof import proof
from evolver.cli.run_words import (
    change,
    dollars,
    duration,
    headline,
    pruned,
    share,
    short,
    spent,
    verdict_word,
    why,
)
from evolver.run_accounts import (
    Earned,
    Reason,
    called,
    earned,
    gain_at,
    gain_over,
    lineage,
    reasons,
    searched,
    until_end,
)
from evolver.run_history import RunHistory, Scored, Step, mapping, number_or_none, words
from sandbox.report import Cell, Report, Series, Tone

STEPS_SHOWN = 12
AXES = ("evaluations", "seconds", "dollars")


def list_report(histories: Sequence[RunHistory]) -> Report:
    """A line for each run, newest first."""
    report = Report("Runs")
    if not histories:
        return report.say("No run is stored yet.")
    rows = [_listed(history) for history in histories]
    columns = (
        "run", "began", "trace", "verdict", ">in search", ">proved", ">evals", ">time", ">cost"
    )  # fmt: skip
    return report.grid(columns, rows)


def _listed(history: RunHistory) -> tuple[str | Cell, ...]:
    run, tone = history.run, headline(history)[1]
    summary = run.summary or {}
    evaluations = number_or_none(summary.get("evaluations"))
    return (
        run.id[:12],
        ago(run.started_at),
        history.trace,
        Cell(verdict_word(run.verdict), tone),
        share(searched(history)),
        share(number_or_none(history.outcome.get("gain"))),
        f"{history.spent.evaluations if evaluations is None else evaluations:.0f}",
        duration(number_or_none(summary.get("seconds")) or history.spent.seconds),
        dollars(history.spent.price_usd),
    )


def run_report(history: RunHistory) -> Report:
    """Everything about one run that fits a terminal."""
    report = Report(f"Evolution run {history.run.id[:12]}")
    said, tone = headline(history)
    report.say("", said, tone=tone).say(why(history)).say(*pruned(history), tone=Tone.DIM)
    report.grid(("", ""), facts(history))
    proof(report, history)
    best_so_far(report, history)
    baselines(report, history)
    _line(report, history)
    proposers(report, history)
    _finalists(report, history)
    _reasons(report, history)
    _calls(report, history)
    return report


def facts(history: RunHistory) -> list[tuple[str, str]]:
    """What was searched on, with what, and what it took."""
    config, limits = history.run.config, history.limits
    ground = mapping(config.get("cluster"))
    cluster = words(ground.get("name"))
    rows = [
        ("run", history.run.id),
        ("began", ago(history.run.started_at)),
        ("trace", f"{history.trace} on {cluster}" if cluster else history.trace),
        ("signals", words(ground.get("signals"))),
        ("windows", ", ".join(f"{count} {split}" for split, count in history.windows.items())),
        ("seed", f"{int(number_or_none(config.get('seed')) or 0)}"),
        ("model", _models(config.get("model"))),
        ("spent", spent(history.spent) + (f"; {allowed}" if (allowed := _allowed(limits)) else "")),
        ("policy", words((history.run.summary or {}).get("policy"))[:12]),
    ]
    return [(name, value) for name, value in rows if value]


def _models(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(one) for one in value) or "none"
    return words(value) or "none"


def _allowed(limits: object) -> str:
    from evolver.budget import Limits

    if not isinstance(limits, Limits):
        return ""
    given = [
        (limits.evaluations, "{:g} evaluations"), (limits.seconds, "{:g} s"),
        (limits.tokens, "{:,} tokens"), (limits.price_usd, "${:g}"),
    ]  # fmt: skip
    allowed = [form.format(value) for value, form in given if value is not None]
    return f"allowed: {', '.join(allowed)}" if allowed else ""


def best_so_far(report: Report, history: RunHistory) -> None:
    """The best of all against what was spent: curves and a table of the steps."""
    if not history.curve:
        return
    report.heading(
        "Best so far", "gain over the best policy as people wrote it, on the windows of the search"
    )
    for axis in AXES:
        series = Series("best so far", points(history, axis))
        if moves(series, axis):
            report.curves(f"gain against {axis}", axis, [series], tuned_level(history))
    rows = [_stepped(history, step) for step in _fewer(history.curve)]
    columns = (">evaluations", ">time", ">dollars", ">gain", "leads")
    report.grid(columns, rows)


def moves(series: Series, axis: str) -> bool:
    """Whether the curve is worth drawing: without a model nothing costs dollars."""
    if not series.points:
        return False
    first = series.points[0][0]
    held = [y for x, y in series.points if x == first][-1]
    later = [y for x, y in series.points if x > first]
    return bool(later) and (axis == AXES[0] or any(y != held for y in later))


def points(history: RunHistory, axis: str) -> tuple[tuple[float, float], ...]:
    """The curve over one of `AXES`."""
    name = {"dollars": "price_usd"}.get(axis, axis)
    return tuple(
        (float(getattr(step.spent, name)), gain_at(history, step)) for step in until_end(history)
    )


def tuned_level(history: RunHistory) -> tuple[str, float] | None:
    """The best human policy with its constants tuned, where that gained anything."""
    tuned, untuned = history.tuned, history.untuned
    if tuned is None or untuned is None or tuned is untuned:
        return None
    return "best human policy, tuned", gain_over(untuned, tuned.score)


def _fewer(curve: Sequence[Step]) -> list[Step]:
    """The steps that changed the leader; the first, the last and some between when many."""
    steps = [step for k, step in enumerate(curve) if k == 0 or step.score < curve[k - 1].score]
    if len(steps) <= STEPS_SHOWN:
        return steps
    places = {round(k * (len(steps) - 1) / (STEPS_SHOWN - 1)) for k in range(STEPS_SHOWN)}
    return [steps[place] for place in sorted(places)]


def _stepped(history: RunHistory, step: Step) -> tuple[str, ...]:
    at = step.spent
    return (
        f"{at.evaluations:.1f}", duration(at.seconds), dollars(at.price_usd),
        share(gain_at(history, step)), step.name,
    )  # fmt: skip


def baselines(report: Report, history: RunHistory) -> None:
    """The human policies, tuned and as they were written, and the best candidate."""
    if not history.baselines:
        return
    ranked = sorted(history.baselines, key=lambda one: one.score)
    rows: list[tuple[str | Cell, ...]] = [
        (one.name, "active" if one.active else "", change(one.score)) for one in ranked
    ]
    veterans = [one for one in history.scored if one.proposer == VETERAN]
    rows += [(one.name, VETERAN, change(one.score)) for one in veterans]
    if history.best is not None:
        best = history.best
        name = Cell(f"{best.name} (best candidate)", Tone.STRONG)
        rows.insert(0, (name, "", Cell(change(best.score), Tone.STRONG)))
    report.heading("Whom it had to beat")
    title = "objective on the windows of the search, against the best policy of each window"
    report.grid(("policy", "", ">objective"), rows, title)


def _line(report: Report, history: RunHistory) -> None:
    line = lineage(history)
    if len(line) < 2:
        return
    name = "the winner" if history.verdict == "improved" else line[-1].scored.name
    report.heading(f"How {name} came about", "each from the one above; gain: over that one")
    rows = []
    for ancestor in line:
        one = ancestor.scored
        beside = f" (with {', '.join(ancestor.beside)})" if ancestor.beside else ""
        idea = short(one.idea, 60) if not one.human else "as people wrote it"
        if one.human and one.tuned_from:
            idea = "constants tuned"
        rows.append(
            (one.name, f"{one.generation}" if one.generation else "",
             "people" if one.human else one.proposer, f"{idea}{beside}", change(one.score),
             share(one.gain))
        )  # fmt: skip
    columns = ("policy", ">gen", "by", "idea", ">objective", ">gain")
    report.grid(columns, rows)


def proposers(report: Report, history: RunHistory) -> None:
    """What became of each proposer's tries, and of the budget."""
    lines = earned(history)
    if lines:
        about = "gain: over the best at its time; better: than the parent; budget: its share"
        report.heading("Which proposer earned what", about)
        report.grid(
            ("proposer", ">asked", ">legal", ">scored", ">better", ">gain", ">budget", ">cost",
             ">best"),
            [_earned(line) for line in lines],
        )  # fmt: skip


def _earned(line: Earned) -> tuple[str, ...]:
    return (
        line.proposer, f"{line.asked:,}", f"{line.legal:,}", f"{line.scored:,}", f"{line.better:,}",
        share(line.gain), share(line.share), dollars(line.price_usd),
        "-" if line.best is None else change(line.best),
    )  # fmt: skip


def _finalists(report: Report, history: RunHistory) -> None:
    if not history.finalists:
        return
    rows = [
        (one.name, change(one.score), "-" if one.varied is None else change(one.varied))
        for one in history.finalists
    ]  # fmt: skip
    report.heading("Finalists")
    report.grid(("policy", ">objective", ">under other conditions"), rows)


def _reasons(report: Report, history: RunHistory) -> None:
    found = reasons(history)
    if not found:
        return
    tries = len(history.rejected) + len(history.scored)
    lost = sum(reason.count for reason in found)
    about = f"{lost:,} of {tries:,} tries"
    if history.tuning_tries:
        about += f"; {history.tuning_tries:,} more were for the constants of human policies"
    report.heading("Why tries came to nothing", about)
    rows = [_reason(reason) for reason in found]
    report.grid(("what", "why", ">tries", "mostly", "example"), rows)


def _reason(reason: Reason) -> tuple[str, ...]:
    proposer, _ = reason.proposers[0]
    return (
        reason.kind,
        reason.code,
        f"{reason.count:,}",
        proposer,
        short(reason.examples[0].reason),
    )


def _calls(report: Report, history: RunHistory) -> None:
    rows = [
        (line.model, f"{line.calls:,}", _failures(line.failures), f"{line.tokens_in:,}",
         f"{line.tokens_out:,}", dollars(line.price_usd) if line.price_known else "unknown",
         duration(line.seconds))
        for line in called(history.calls)
    ]  # fmt: skip
    if rows:
        report.heading("Calls of models").grid(
            ("model", ">calls", "failed", ">tokens in", ">tokens out", ">cost", ">waited"), rows
        )


def _failures(failures: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {name}" for name, count in failures) or "none"


def source_title(one: Scored) -> str:
    """One scored policy in a line."""
    return f"{one.name}: {change(one.score)}, {short(one.idea) or 'no idea given'}"
