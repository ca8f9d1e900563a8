"""Single windows request by request, as a page shows them: distributions, series, what was lost."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from policy_store.records import EvidenceRecord, Kind, PolicyDetails
from policy_store.review.charts import curves
from policy_store.review.evidence_words import seconds, share
from sandbox.close_up import (
    NO_INSTANCE,
    OTHER_TENANTS,
    CloseUp,
    CloseUpRefused,
    Conduct,
    Fate,
    Request,
    Why,
    Window,
)
from sandbox.report import Curves, Series

MINE, THEIRS = "this policy", "active policy"  # in this order everywhere: it gives the colours
WHY = {
    Why.WORST: "its worst window", Why.TYPICAL: "a typical window", Why.BEST: "its best window",
    Why.LAST_HOUR: "the last real hour",
}  # fmt: skip
Number = float | int | None


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart, with its values for who wants numbers; cells are texts."""

    id: str
    title: str
    chart: Markup
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Side:
    """What one policy did with a request: pairs of what and how, in the same order for both."""

    facts: tuple[tuple[str, str], ...]
    load: str


@dataclass(frozen=True, slots=True)
class Loss:
    """A request under both policies."""

    request: Request
    title: str
    about: str
    mine: Side
    theirs: Side


@dataclass(frozen=True, slots=True)
class Compared:
    """One measurement of both."""

    name: str
    mine: str
    theirs: str


@dataclass(frozen=True, slots=True)
class WindowView:
    """One window.

    Attributes:
        distributions, series: figures.
        conduct: what both did, side by side.
        tenants, instances: rows of texts; the first is a name.
    """

    window: Window
    key: str
    why: str
    distributions: tuple[Figure, ...]
    series: tuple[Figure, ...]
    losses: tuple[Loss, ...]
    gains: tuple[Loss, ...]
    conduct: tuple[Compared, ...]
    tenants: tuple[tuple[str, ...], ...]
    instances: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class CloseUpView:
    """What was looked at closely; `problem` says why nothing can be shown."""

    windows: tuple[tuple[str, str], ...] = ()
    shown: WindowView | None = None
    active: str = ""
    problem: str = ""


def close_up_view(details: PolicyDetails, chosen: str = "") -> CloseUpView:
    """The latest close-up of a policy at one of its windows, the worst unless one is chosen."""
    documents = details.of_kind(Kind.CLOSE_UP)
    if not documents:
        return CloseUpView(problem="No window was looked at closely for this policy.")
    return _view(documents[-1], chosen)


@functools.lru_cache(maxsize=32)
def _view(filed: EvidenceRecord, chosen: str) -> CloseUpView:
    try:
        record = CloseUp.from_document(filed.document)
    except CloseUpRefused as refused:
        return CloseUpView(problem=str(refused))
    keys = [window.why.value for window in record.windows]
    place = keys.index(chosen) if chosen in keys else 0
    return CloseUpView(
        windows=tuple((one.why.value, WHY[one.why]) for one in record.windows),
        shown=window_view(record.windows[place]),
        active=record.active,
    )


def window_view(window: Window) -> WindowView:
    """Everything of one window."""
    sides = (window.candidate, window.active)
    return WindowView(
        window=window,
        key=window.why.value,
        why=WHY[window.why],
        distributions=tuple(_distributions(sides)),
        series=tuple(_series(window)),
        losses=tuple(_loss(one) for one in window.losses),
        gains=tuple(_loss(one) for one in window.gains),
        conduct=tuple(_conduct(sides)),
        tenants=tuple(_tenants(window)),
        instances=tuple(
            (f"instance {number}", share(mine), share(theirs))
            for number, (mine, theirs) in enumerate(
                zip(window.candidate.instance_share, window.active.instance_share, strict=True)
            )
        ),
    )


def _distributions(sides: Sequence[Conduct]) -> Iterable[Figure]:
    for key, title in (("e2e_s", "End-to-end time"), ("ttft_s", "Time to first token"),
                       ("tpot_s", "Time per output token")):  # fmt: skip
        values: list[tuple[float, ...]] = [getattr(side, key) for side in sides]
        if not any(values):
            continue
        drawn = [
            Series(name, tuple((value, _place(k, mine)) for k, value in enumerate(mine)))
            for name, mine in zip((MINE, THEIRS), values, strict=True)
            if mine
        ]
        rows = _quantile_rows(values)
        chart = curves(Curves(f"{title}: share of requests done within", "seconds", tuple(drawn)))
        heads = ("requests", MINE, THEIRS)
        yield Figure(f"distribution-{key.removesuffix('_s')}", title, chart, heads, rows)


def _place(place: int, values: Sequence[float]) -> float:
    return place / max(len(values) - 1, 1)


def _quantile_rows(values: Sequence[Sequence[float]]) -> tuple[tuple[str, ...], ...]:
    length = max(map(len, values))
    rows = []
    for place in range(length):
        texts = (seconds(side[place]) if side else "" for side in values)
        rows.append((share(place / max(length - 1, 1)), *texts))
    return tuple(rows)


def _series(window: Window) -> Iterable[Figure]:
    for key, title, unit in (
        ("e2e_s", "Mean end-to-end time, by arrival", "s"),
        ("waiting", "Requests without a first token", ""),
        ("running", "Requests being answered", ""),
        ("busiest_share", "Tokens on the busiest instance", "%"),
        ("kv_use", "KV cache in use", "%"),
        ("instances", "Instances that serve", ""),
        ("reconfigurations", "Reconfigurations", ""),
    ):
        mine: Sequence[Number] = getattr(window.candidate.series, key)
        theirs: Sequence[Number] = getattr(window.active.series, key)
        if not _tells(key, (*mine, *theirs)):
            continue
        drawn = tuple(
            Series(name, _points(values, window.bin_s))
            for name, values in ((MINE, mine), (THEIRS, theirs))
        )
        rows = tuple(
            (f"{place * window.bin_s:g} s", _shown(a, unit), _shown(b, unit))
            for place, (a, b) in enumerate(zip(mine, theirs, strict=True))
        )
        chart = curves(Curves(title, "seconds into the window", drawn, unit=unit))
        yield Figure(f"series-{key.removesuffix('_s')}", title, chart, ("from", MINE, THEIRS), rows)


def _tells(key: str, values: Sequence[Number]) -> bool:
    """Whether a series is worth a picture: always the same is not."""
    known = {value for value in values if value is not None}
    return len(known) > 1 if key in ("instances", "reconfigurations") else bool(known)


def _points(values: Sequence[Number], bin_s: float) -> tuple[tuple[float, float], ...]:
    return tuple((k * bin_s, float(v)) for k, v in enumerate(values) if v is not None)


def _shown(value: Number, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "s":
        return seconds(float(value))
    return share(float(value)) if unit == "%" else f"{value:,.3g}"


def _conduct(sides: Sequence[Conduct]) -> Iterable[Compared]:
    rows: tuple[tuple[str, list[str]], ...] = (
        ("objective", [_shown(side.objective_s, "s") for side in sides]),
        ("requests finished", [f"{side.finished:,}" for side in sides]),
        ("rejected", [f"{side.rejected:,}" for side in sides]),
        ("unfinished", [f"{side.unfinished:,}" for side in sides]),
        ("held back", [f"{side.held:,}" for side in sides]),
        ("preempted", [f"{side.preempted:,}" for side in sides]),
        ("moved between instances", [f"{side.moved:,}" for side in sides]),
        ("reconfigurations an hour", [f"{side.reconfigurations_per_hour:.3g}" for side in sides]),
        ("busiest instance's tokens", [share(max(side.instance_share, default=0.0))
                                       for side in sides]),
        ("fuel per decision", [f"{side.fuel_per_decision:,.0f}" for side in sides]),
        ("decisions that failed", [f"{side.faults:,}" for side in sides]),
    )  # fmt: skip
    yield from (Compared(name, *texts) for name, texts in rows)


def _tenants(window: Window) -> Iterable[tuple[str, ...]]:
    for one in window.tenants:
        name = "all others" if one.number == OTHER_TENANTS else f"tenant {one.number}"
        yield (
            name, share(one.share_of_requests), share(one.candidate_share), share(one.active_share),
            _shown(one.candidate_e2e_s, "s"), _shown(one.active_e2e_s, "s"),
        )  # fmt: skip


def _loss(one: Request) -> Loss:
    lost = f"{seconds(abs(one.lost_s))} {'longer' if one.lost_s > 0 else 'shorter'}"
    about = (
        f"{one.prompt_tokens:,} prompt and {one.output_tokens:,} output tokens, class "
        f"{one.class_number}, arrived {one.arrival_s:.1f} s into the window"
    )
    return Loss(one, f"Request {one.row}: {lost}", about, _side(one.candidate), _side(one.active))


def _side(fate: Fate) -> Side:
    facts = (
        ("ended", fate.end.value.replace("_", " ")),
        ("served by", "none" if fate.instance == NO_INSTANCE else f"instance {fate.instance}"),
        ("first token after", _shown(fate.ttft_s, "s")),
        ("done after", _shown(fate.e2e_s, "s")),
        ("held, preempted, moved", f"{fate.held}, {fate.preempted}, {fate.moved}"),
    )
    load = ", ".join(
        f"{number}: {running} + {waiting}"
        for number, (running, waiting) in enumerate(zip(fate.running, fate.waiting, strict=True))
    )
    return Side(facts, load)
