"""Guardrails of a win: what a shorter mean end-to-end time must not be bought with.

A candidate is compared with one human policy on the same windows. Each guardrail has slack for
what chance does to a policy that is no worse: relative slack where much is summed, a few requests
where few are counted, three standard errors where a group is small. What one sentence cannot show
in numbers is no guardrail.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from evolver.prompt_lines import number, percent
from evolver.task import Gate, Results, WindowResult
from sandbox.cluster import ClusterSpec

GOODPUT_SLACK = 0.02  # smooth goodput may be lower by so much
READER_SLACK = 0.02  # readers may lose so much more of the time that all requests take
TAIL_SLACK = 0.05  # the windows' p99 may be longer by so much on average
TAIL_ERRORS = 2.0  # and by so many standard errors: five requests of 500 decide one of them;
WORST_SLACK = 0.75  # the worst window's by so much: two standard errors of one ratio of those
TTFT_SHARE_OF_SLO = 0.5  # a tail within so much of what is promised harms nobody
TPOT_SHARE_OF_SLO = 0.8
FEW_REQUESTS = 1.0  # one request more or less is chance,
LOST_SHARE = 0.0005  # and so is one in two thousand
FEW_STARVED, STARVED_SHARE = 2.0, 0.001
FAIR_SLACK = 0.25  # a class or tenant may be slowed by so much for the good of all
FAIR_ERRORS = 3.0  # and by so many standard errors; slowdowns spread about as wide as their mean
FEWEST_OF_GROUP = 30  # requests, for a mean to say anything
WARMUP_SLACK = 0.01  # requests of the warm-up may take so much longer,
WARMUP_SHARE = 0.5  # and by so much of the time that those measured save
OFFLINE_SLACK = 0.02  # offline work finished may be less by so much
OFFLINE_TIMES = 1.5  # and its mean time so many times as long, unless within what is promised
REPLANS_PER_HOUR = 12.0  # so many reconfigurations are never too many,
REPLANS_TIMES = 2.0  # nor are so many times the human's,
FEW_REPLANS = 2.0  # nor so many more
PRICE_SLACK = 0.05  # a GPU second may cost so much more
KEPT_SLACK = 0.02  # quality and training may be less by so much
KEPT = {"answer_quality": "quality of answers", "finetune_gpu_hours": "fine-tuning done"}


@dataclass(frozen=True, slots=True)
class Pair:
    """Candidate and human on the windows on which the human was measured."""

    candidate: tuple[WindowResult, ...]
    human: tuple[WindowResult, ...]

    @classmethod
    def of(cls, candidate: Results, human: Results) -> Pair:
        """Side by side, in order of the windows' names."""
        names = [name for name in sorted(human) if human[name].metrics]
        return cls(tuple(candidate[n] for n in names), tuple(human[n] for n in names))

    def values(self, metric: str) -> tuple[list[float], list[float]]:
        """Both's values where the human has one; infinity where only the candidate lacks it."""
        pairs = [
            (_value(mine, metric, math.inf), _value(theirs, metric, math.nan))
            for mine, theirs in zip(self.candidate, self.human, strict=True)
        ]
        known = [pair for pair in pairs if math.isfinite(pair[1])]
        return [mine for mine, _ in known], [theirs for _, theirs in known]

    def totals(self, *metrics: str) -> tuple[float, float]:
        """Sums over windows and metrics; what was not counted is none."""
        mine, theirs = (
            math.fsum(_value(result, metric, 0.0) for result in results for metric in metrics)
            for results in (self.candidate, self.human)
        )
        return mine, theirs


def guardrails(candidate: Results, human: Results, cluster: ClusterSpec) -> tuple[Gate, ...]:
    """Every guardrail that applies; a window that only the candidate failed on breaks the first."""
    pair = Pair.of(candidate, human)
    missing = [result.window for result in pair.candidate if not result.metrics]
    if missing:
        sentence = f"Nothing was measured on {missing[0]}, where the human policy served."
        return (Gate("measured", False, sentence),)
    return tuple(gate for guard in _GUARDS for gate in guard(pair, cluster))


def relative(mine: float, theirs: float) -> float:
    """Change from theirs to mine as a share of theirs; infinite where theirs is none."""
    if theirs == 0.0 or not math.isfinite(mine):
        return 0.0 if mine == theirs else math.inf
    return mine / theirs - 1.0


def _value(result: WindowResult, metric: str, missing: float) -> float:
    value = result.metrics.get(metric, math.nan)
    return value if math.isfinite(value) else missing


def _goodput(pair: Pair, _: ClusterSpec) -> Iterator[Gate]:
    mine, theirs = pair.values("smooth_goodput")
    change = relative(math.fsum(mine), math.fsum(theirs)) if all(map(math.isfinite, mine)) else -1.0
    yield Gate("smooth_goodput", change >= -GOODPUT_SLACK, f"Smooth goodput {change:+.1%}.")


def _readers(pair: Pair, _: ClusterSpec) -> Iterator[Gate]:
    """Waiting for late tokens, with what was given up as if waited for to the very end.

    Smooth goodput counts no more than all tokens of a request as lost, so a policy gains nothing
    by serving who has lost them already; this goes on counting.
    """
    mine, theirs = pair.totals("reader_loss_s")
    whole = math.fsum(one.objective * _value(one, "requests", 0.0) for one in pair.human)
    longest = max((_value(one, "total_s", 0.0) for one in pair.human), default=0.0)
    most = READER_SLACK * whole + 2.0 * FEW_REQUESTS * longest
    yield Gate(
        "reader_loss",
        mine - theirs <= most,
        f"Time that readers lose {mine - theirs:+.3g} s (human: {theirs:.3g} s; at most "
        f"{most:+.3g} s).",
    )


def _tails(pair: Pair, cluster: ClusterSpec) -> Iterator[Gate]:
    """p99 of first tokens and of the pace: over all windows, and on the worst."""
    for metric, words, soon_s in (
        ("ttft_p99_s", "time to first token", TTFT_SHARE_OF_SLO * cluster.slo.ttft_s),
        ("tpot_p99_s", "time per output token", TPOT_SHARE_OF_SLO * cluster.slo.tpot_s),
    ):
        mine, theirs = pair.values(metric)
        if not theirs:
            continue
        change, error = _ratio(mine, theirs)
        worst, before = max(mine), max(theirs)
        surely = change - TAIL_ERRORS * error > TAIL_SLACK
        kept = not surely and worst <= (1.0 + WORST_SLACK) * before
        yield Gate(
            metric,
            kept or worst <= soon_s,
            f"p99 {words} {change:+.1%} over all windows (standard error {error:.1%}), {worst:.3g} "
            f"s on the worst (human: {before:.3g} s).",
        )


def _ratio(mine: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Mean relative change over windows, and its standard error; 0 with one window."""
    changes = [relative(one, other) for one, other in zip(mine, theirs, strict=True)]
    mean = math.fsum(changes) / len(changes)
    if len(changes) < 2 or not math.isfinite(mean):
        return mean, 0.0
    spread = math.fsum((change - mean) ** 2 for change in changes) / (len(changes) - 1)
    return mean, math.sqrt(spread / len(changes))


def _lost(pair: Pair, _: ClusterSpec) -> Iterator[Gate]:
    """Those of warm-ups count, too: whoever drops them begins with less to do."""
    mine, theirs = pair.totals("rejected", "unfinished", "never_came", "lost_early")
    few = max(FEW_REQUESTS, LOST_SHARE * pair.totals("requests")[1])
    yield Gate(
        "rejected",
        mine - theirs <= few,
        f"Rejected or unfinished requests {mine - theirs:+g} (human: {theirs:g}; at most "
        f"+{few:g}).",
    )


def _starvation(pair: Pair, _: ClusterSpec) -> Iterator[Gate]:
    mine, theirs = pair.totals("starved")
    share = STARVED_SHARE * pair.totals("requests")[1]
    few = max(FEW_STARVED, share, 2.0 * math.sqrt(theirs))
    longest = [max(values, default=0.0) for values in pair.values("longest_wait_s")]
    yield Gate(
        "starvation",
        mine - theirs <= few,
        f"Requests that waited longer for their first token than an answer may take {mine:g} "
        f"(human: {theirs:g}; at most +{few:.3g}), the longest {longest[0]:.3g} s "
        f"(human: {longest[1]:.3g} s).",
    )


def _fairness(pair: Pair, _: ClusterSpec) -> Iterator[Gate]:
    """The class, tenant or warm-up whose slowdown grew most for its size."""
    heads = sorted({name for result in pair.human for name in result.metrics})
    groups = [name.removeprefix("requests_") for name in heads if name.startswith("requests_")]
    found = []
    for group in groups:
        requests = pair.totals(f"requests_{group}")[1]
        charged, alone = pair.totals(f"charged_{group}_s"), pair.totals(f"alone_{group}_s")
        if requests >= FEWEST_OF_GROUP and min(*charged, *alone) > 0.0:
            slowed, before = charged[0] / alone[0], charged[1] / alone[1]
            limit = 1.0 + FAIR_SLACK + FAIR_ERRORS / math.sqrt(requests)
            found.append((slowed / before / limit, slowed, before, limit, group))
    if not found:
        return
    over, slowed, before, limit, group = max(found)
    jain = [math.fsum(values) / max(len(values), 1) for values in pair.values("tenant_fairness")]
    evenness = f"; Jain's index of tenants {jain[0]:.3g} (human: {jain[1]:.3g})" if jain[1] else ""
    yield Gate(
        "fairness",
        over <= 1.0,
        f"{group.replace('_', ' ').capitalize()} fares worst: {slowed:.3g} times as long as alone "
        f"(human: {before:.3g}; at most x{limit:.3g}){evenness}.",
    )


def _warmup(pair: Pair, _: ClusterSpec) -> Iterator[Gate]:
    """Time that is not saved but moved to requests that are not measured.

    Putting those last that came before others changes the sum of all times by nothing; a policy
    that is better is so for the requests of the warm-up as well.
    """
    mine, theirs = pair.totals("charged_warmup_s")
    saved = math.fsum(
        (other.objective - one.objective) * _value(other, "requests", 0.0)
        for one, other in zip(pair.candidate, pair.human, strict=True)
    )
    if theirs > 0.0:
        most = WARMUP_SLACK * theirs + WARMUP_SHARE * max(saved, 0.0)
        yield Gate(
            "warmup",
            mine - theirs <= most,
            f"Requests before the measured ones took {mine - theirs:+.3g} s in all, and those "
            f"measured {-saved:+.3g} s (at most {most:+.3g} s may be moved to the former).",
        )


def _offline(pair: Pair, cluster: ClusterSpec) -> Iterator[Gate]:
    asked = pair.totals("offline_requests")[1]
    if not asked:
        return
    mine, theirs = pair.totals("offline_finished")
    times = [total / asked for total in pair.totals("offline_charged_s")]
    enough = theirs - mine <= max(FEW_REQUESTS, OFFLINE_SLACK * theirs)
    soon = times[0] <= max(OFFLINE_TIMES * times[1], cluster.offline_slo.e2e_s)
    yield Gate(
        "offline",
        enough and (soon or asked < FEWEST_OF_GROUP),
        f"Offline requests finished {mine:g} of {asked:g} (human: {theirs:g}), {times[0]:.3g} s "
        f"each with those that were not (human: {times[1]:.3g} s).",
    )


def _replans(pair: Pair, _: ClusterSpec) -> Iterator[Gate]:
    mine, theirs = pair.totals("reconfigurations")
    mine_s, theirs_s = pair.totals("total_s")
    hours = theirs_s / 3600.0
    most = max(REPLANS_PER_HOUR * hours, REPLANS_TIMES * theirs, theirs + FEW_REPLANS)
    rates = mine / max(mine_s / 3600.0, 1e-9), theirs / max(hours, 1e-9)
    yield Gate(
        "reconfigurations",
        mine <= most,
        f"Reconfigurations {mine:g}, {rates[0]:.3g} an hour (human: {theirs:g}, {rates[1]:.3g} an "
        f"hour; at most {most:.3g}).",
    )


def _price(pair: Pair, _: ClusterSpec) -> Iterator[Gate]:
    """What a second of the fleet costs: where GPUs are rented as asked, time can be bought."""
    prices, seconds = pair.totals("price_usd"), pair.totals("total_s")
    if min(*prices, *seconds) <= 0.0:
        return
    change = relative(prices[0] / seconds[0], prices[1] / seconds[1])
    yield Gate("price", change <= PRICE_SLACK, f"Price of the fleet {change:+.1%} a second.")


def _kept(pair: Pair, _: ClusterSpec) -> Iterator[Gate]:
    """What there is any of under the human's policy and must not be given up for latency."""
    for metric, words in KEPT.items():
        mine, theirs = pair.totals(metric)
        if theirs > 0.0:
            change = relative(mine, theirs)
            yield Gate(metric, change >= -KEPT_SLACK, f"{words.capitalize()} {change:+.1%}.")


_GUARDS: tuple[Callable[[Pair, ClusterSpec], Iterator[Gate]], ...] = (
    _goodput,
    _readers,
    _tails,
    _lost,
    _starvation,
    _fairness,
    _warmup,
    _offline,
    _replans,
    _price,
    _kept,
)


def guardrail_lines(cluster: ClusterSpec) -> tuple[str, ...]:
    """The guardrails in words, for proposers."""
    ttft_s, tpot_s = TTFT_SHARE_OF_SLO * cluster.slo.ttft_s, TPOT_SHARE_OF_SLO * cluster.slo.tpot_s
    lines = [
        "Guardrails, against the best human policy on the same windows: smooth goodput at most "
        f"{percent(GOODPUT_SLACK)} lower, waiting for late tokens no longer in all; p99 time to "
        "first token and p99 time per output token at "
        f"most {percent(TAIL_SLACK)} longer over all windows and {percent(WORST_SLACK)} on the "
        f"worst, or within {number(ttft_s)} s and {number(tpot_s)} s; no more requests rejected, "
        "unfinished, or waiting longer for their first token than an answer may take.",
        f"No class or tenant slowed by more than {percent(FAIR_SLACK)} (small ones: by chance "
        f"more); offline work finished, at most {percent(OFFLINE_SLACK)} less of it; "
        f"reconfigurations at most {REPLANS_TIMES:g} times as often, or {REPLANS_PER_HOUR:g} an "
        f"hour; a fleet at most {percent(PRICE_SLACK)} dearer.",
    ]
    if cluster.samples is not None or cluster.finetune is not None:
        lines.append(f"Answer quality and fine-tuning done: at most {percent(KEPT_SLACK)} less.")
    return tuple(lines)
