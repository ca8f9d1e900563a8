"""Results on windows as evidence by cause: where the time went, who does better and why.

Only numbers and names of windows, which our own code chose, are written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from evolver.archive import geometric_mean
from evolver.prompt_lines import Cell, number, percent, table
from evolver.task import Gate, Results, WindowResult

WORST_WINDOWS = 3
REMARKS = 4
WORTH_A_WORD = 5e-4  # a smaller share or change is none

PHASES: Mapping[str, str] = {
    "waiting_mean_s": "waiting",
    "prefill_mean_s": "prefill",
    "decode_mean_s": "decode",
    "slowed_mean_s": "slowed",
}
"""Parts of the mean request's time; together its mean end-to-end time."""

GLOSSARY = (
    "Measurements are seconds of the mean finished request. waiting: before its first token, its "
    "own prefill not counted (queues, holding, other prompts). prefill, decode: what it takes "
    "alone on the fastest replica. slowed: decoding slower than that (the batch it shares, a "
    "slower replica, transfers). preempted: the part of that in requests that were preempted.",
    "lost: what rejected and unfinished requests add to the objective.",
)
"""What the columns mean, told once a run."""

_LOSSES = ("rejected", "unfinished", "never_came")
_FLEET = {
    "scheduling_s": "idle while a plan is computed",
    "reconfiguration_s": "loading engines",
    "serving_s": "serving",
}
_COUNTS = {
    "ttft_p99_s": "TTFT p99 s",
    "tpot_mean_s": "TPOT mean s",
    "e2e_p99_s": "e2e p99 s",
    "slo_attainment": "in SLO",
    "smooth_goodput": "smooth goodput",
    "cached_share": "cached share",
    "busiest_share": "busiest engine's share",
    "preemptions": "preemptions",
    "recomputed_tokens": "recomputed tokens",
    "migrations": "migrations",
    "reconfigurations": "reconfigurations",
    "plans": "plans",
    "longest_wait_s": "longest wait s",
    "starved": "starved",
    "rejected": "rejected",
    "unfinished": "unfinished",
    "never_came": "never came",
    "fuel_per_decision": "fuel per decision",
}
_GROUP = re.compile(r"requests_(class_\d+|tenant_\d+|tenant_rest)")
_TIMES = ("charged", "alone")
_ALWAYS = frozenset({"ttft_p99_s", "tpot_mean_s", "slo_attainment", "smooth_goodput"})


def evidence_lines(
    results: Results, rivals: Sequence[Results] = (), gates: Sequence[Gate] = ()
) -> tuple[str, ...]:
    """Time by cause, other measurements, the best rival of each window, what went worst.

    Args:
        results: of one policy by window.
        rivals: of the policies to beat, on the same windows.
        gates: guardrails, as measured against one of them.
    """
    return (
        *_phases(results),
        *_fleet(results),
        *_counts(results),
        *_groups(results),
        *_rivals(results, rivals),
        *_broken(gates),
        *_remarks(results, rivals),
    )


def _phases(results: Results) -> Iterable[str]:
    names = [name for name in (*PHASES, "preemption_mean_s") if _some(results, name)]
    if not names:
        return
    more: dict[str, dict[str, Cell]] = {}
    if any(_lost(result) > 0.0 for result in results.values()):
        more["lost"] = {window: _lost_s(result) for window, result in results.items()}
    if any(result.fault for result in results.values()):
        more["fault"] = {w: "faulted" if result.fault else "" for w, result in results.items()}
    heads = ("window", "objective", *(PHASES.get(name, "preempted") for name in names), *more)
    rows: list[tuple[Cell, ...]] = []
    whole = math.fsum(_mean(results, name) for name in PHASES)
    if whole > 0.0:
        shares = (percent(_mean(results, name) / whole) for name in names)
        rows.append(("share of all", "", *shares, *("" for _ in more)))
    for window, result in sorted(results.items()):
        values = (result.metrics.get(name) for name in names)
        rows.append((window, result.objective, *values, *(more[name][window] for name in more)))
    yield from table(heads, rows)


def _lost(result: WindowResult) -> float:
    """Requests that were rejected or did not finish."""
    return math.fsum(result.metrics.get(name, 0.0) for name in _LOSSES)


def _lost_s(result: WindowResult) -> float:
    """What lost requests add to the objective, seconds."""
    return result.objective - _value(result, "e2e_mean_s") if _lost(result) > 0.0 else 0.0


def _fleet(results: Results) -> Iterable[str]:
    whole = _mean(results, "total_s")
    lost = _mean(results, "scheduling_s") + _mean(results, "reconfiguration_s")
    if lost <= WORTH_A_WORD * whole and not _mean(results, "reconfigurations"):
        return
    parts = (f"{percent(_mean(results, m) / whole)} {words}" for m, words in _FLEET.items())
    switched = _mean(results, "reconfigurations")
    yield (
        f"GPU time: {', '.join(parts)}. Planner time {number(_mean(results, 'planning_s'))} s and "
        f"{number(switched)} reconfigurations a window."
    )


def _counts(results: Results) -> Iterable[str]:
    names = [name for name in _COUNTS if _some(results, name) and _tells(results, name)]
    if not names:
        return
    yield "Further measurements:"
    rows = [
        (window, *(result.metrics.get(name) for name in names))
        for window, result in sorted(results.items())
    ]
    yield from table(("window", *(_COUNTS[name] for name in names)), rows)


def _tells(results: Results, name: str) -> bool:
    """Not worth a column when it is nought everywhere; the first plan does not count."""
    usual = 1.0 if name == "plans" else 0.0
    return name in _ALWAYS or any(_value(result, name) > usual for result in results.values())


def _groups(results: Results) -> Iterable[str]:
    """How much longer than alone the requests of each class and tenant took, all windows."""
    heads = {name for result in results.values() for name in result.metrics}
    rows = []
    for head in sorted(heads):
        found = _GROUP.fullmatch(head)
        if found:
            charged, alone = (_total(results, f"{what}_{found[1]}_s") for what in _TIMES)
            times = charged / alone if alone > 0.0 else None
            rows.append((found[1].replace("_", " "), _total(results, head), times))
    yield from table(("online requests of", "requests", "times as long as alone"), rows)


def _broken(gates: Sequence[Gate]) -> Iterable[str]:
    """What keeps it from winning, whatever its objective."""
    broken = [gate.sentence for gate in gates if not gate.passed]
    if gates and not broken:
        yield "It keeps all guardrails against the best human policy."
    yield from (f"It breaks a guardrail, so it cannot win as it is: {words}" for words in broken)


def best_rival(rivals: Sequence[Results]) -> Results | None:
    """The rival with the best geometric mean over its windows."""
    return min(rivals, key=lambda r: geometric_mean(x.objective for x in r.values()), default=None)


def _rivals(results: Results, rivals: Sequence[Results]) -> Iterable[str]:
    """Each window's best rival, the greatest loss first, and the cause that differs most."""
    best = _best_rivals(results, rivals)
    if not best:
        return
    changes = [results[w].objective / rival.objective - 1.0 for w, rival in best.items()]
    wins = sum(change <= -WORTH_A_WORD for change in changes)
    yield (
        f"Against the best human policy of each window, the greatest loss first; it wins {wins} of "
        f"{len(best)}:"
    )
    rows = [
        (w, results[w].objective, rival.objective, _against(results[w], rival),
         difference(results[w], rival))
        for w, rival in best.items()
    ]  # fmt: skip
    heads = ("window", "this policy", "best human", "this is", "what differs most in seconds")
    yield from table(heads, rows)


def _best_rivals(results: Results, rivals: Sequence[Results]) -> dict[str, WindowResult]:
    found = {}
    for window in sorted(results):
        there = [rival[window] for rival in rivals if window in rival]
        if there:
            found[window] = min(there, key=lambda result: result.objective)
    order = sorted(found, key=lambda w: -results[w].objective / found[w].objective)
    return {window: found[window] for window in order}


def _against(mine: WindowResult, rival: WindowResult) -> str:
    change = mine.objective / rival.objective - 1.0
    if mine.fault:
        return "faulted"
    if abs(change) < WORTH_A_WORD:
        return "equal"
    return f"{percent(abs(change))} {'worse' if change > 0.0 else 'better'}"


def difference(mine: WindowResult, rival: WindowResult) -> str:
    """The cause that differs most between two results on a window, in seconds; "" when unknown."""
    changes = {words: _value(mine, name) - _value(rival, name) for name, words in PHASES.items()}
    changes["lost"] = _lost_s(mine) - _lost_s(rival)
    known = {words: change for words, change in changes.items() if math.isfinite(change)}
    if len(known) < len(changes):
        return ""
    most = max(known, key=lambda words: abs(known[words]))
    sign = "+" if known[most] >= 0.0 else ""
    return f"{most} {sign}{number(known[most])}"


def _remarks(results: Results, rivals: Sequence[Results]) -> Iterable[str]:
    """What went worst on the worst windows: those most behind a rival, else the slowest."""
    behind = list(_best_rivals(results, rivals))
    slowest = sorted(results, key=lambda window: (-results[window].objective, window))
    told = [window for window in behind or slowest if results[window].remarks][:WORST_WINDOWS]
    for window in told:
        yield from (f"{window}: {remark}" for remark in results[window].remarks[:REMARKS])


def _value(result: WindowResult, name: str) -> float:
    return result.metrics.get(name, math.nan)


def _some(results: Results, name: str) -> bool:
    return any(math.isfinite(_value(result, name)) for result in results.values())


def _total(results: Results, name: str) -> float:
    values = [_value(result, name) for _, result in sorted(results.items())]
    return math.fsum(value for value in values if math.isfinite(value))


def _mean(results: Results, name: str) -> float:
    values = [_value(result, name) for _, result in sorted(results.items())]
    known = [value for value in values if math.isfinite(value)]
    return math.fsum(known) / len(known) if known else 0.0
