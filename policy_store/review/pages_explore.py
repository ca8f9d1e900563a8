"""The decision explorer: a fleet that a person makes up, and whom each policy picks."""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby

from fastapi import APIRouter, FastAPI, Request, Response

from policy_store.records import Alias
from policy_store.review.access import Viewer
from policy_store.review.last_hours import shown
from policy_store.review.rendering import page
from policy_store.review.site import Here, Site
from sandbox.errors import SandboxError
from sandbox.what_if import (
    ASKED,
    FEWEST_INSTANCES,
    MOST_INSTANCES,
    SIGNALS,
    STEPS,
    Bound,
    Case,
    InstanceCase,
    Signal,
    Sweep,
)
from sandbox.what_if_worker import Kind, Pick, WhatIf

LABELS = {
    Signal.QUEUED: "Waiting requests", Signal.RUNNING: "Running requests",
    Signal.KV_USE: "KV cache in use", Signal.PREFIX_HIT: "Prefix hit",
    Signal.PREFILL: "Prefill speed", Signal.DECODE: "Decode speed",
    Signal.KV_CAPACITY: "KV capacity", "prompt_tokens": "Prompt tokens",
    "predicted_output_tokens": "Predicted output tokens", "class_id": "Class", "age_s": "Age",
}  # fmt: skip
USUAL = (
    InstanceCase(),
    InstanceCase(0, 8, 0.2),
    InstanceCase(4, 24, 0.6, 0.8),
    InstanceCase(8, 32, 0.9),
)
STRIP_WIDTH = 600
_making = threading.Lock()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    asked: WhatIf | None = getattr(app.state, "what_if", None)
    if asked is not None:
        asked.close()


router = APIRouter(include_in_schema=False, lifespan=_lifespan)


@dataclass(frozen=True, slots=True)
class Set:
    """What a person set: a case, what moves, and what was out of bounds."""

    case: Case
    sweep: Sweep
    corrected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring values of a sweep with the same decision.

    Attributes:
        x, width: of its part of the strip.
        mark: a number or a letter; words: the decision.
    """

    x: float
    width: float
    low: float
    high: float
    mark: str
    words: str


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy in the comparison.

    Attributes:
        kind: "candidate", "active" or "": how it looks.
        instance: that it picks, -1 for none.
        said: its decision in words, or why there is none.
    """

    name: str
    kind: str
    instance: int
    said: str
    fuel: int | None
    stretches: tuple[Stretch, ...]


@router.get("/policies/{policy}/explore")
def explore(request: Request, site: Here, visitor: Viewer, policy: str) -> Response:
    """A made-up fleet, and whom this policy, the active one and the default pick."""
    details = site.store.show(policy)
    chosen = set_of(request.query_params)
    asked = _what_if(request)
    contenders = [
        _contender(asked, site, chosen, *one) for one in _who(site, details.version.digest)
    ]
    bound = SIGNALS[chosen.sweep.signal]
    now = getattr(chosen.case.instances[chosen.sweep.instance], chosen.sweep.signal.value)
    return page(
        request, "explore.html", visitor,
        details=details, chosen=chosen, contenders=contenders, signals=SIGNALS, asked=ASKED,
        labels=LABELS, fewest=FEWEST_INSTANCES, most=MOST_INSTANCES, width=STRIP_WIDTH,
        marker=STRIP_WIDTH * (now - bound.low) / (bound.high - bound.low), steps=STEPS,
    )  # fmt: skip


def set_of(query: Mapping[str, str]) -> Set:
    """What the parameters of an address say; what is none is as usual, the rest within bounds."""
    wrong: list[str] = []
    count = int(_number(query, "n", Bound(FEWEST_INSTANCES, MOST_INSTANCES, len(USUAL)), wrong))
    instances = tuple(_instance(query, number, wrong) for number in range(count))
    told = {name: _number(query, name, bound, wrong) for name, bound in ASKED.items()}
    word = query.get("sweep", "")
    signal = Signal(word) if word in list(Signal) else Signal.QUEUED
    on = int(_number(query, "on", Bound(0, count - 1, 0), wrong))
    return Set(Case(instances, **told), Sweep(signal, on), tuple(wrong))


def _instance(query: Mapping[str, str], number: int, wrong: list[str]) -> InstanceCase:
    usual = USUAL[number % len(USUAL)]
    values = {}
    for signal, bound in SIGNALS.items():
        own = Bound(bound.low, bound.high, getattr(usual, signal.value), bound.step)
        values[signal.value] = _number(query, f"{signal.value}-{number}", own, wrong)
    return InstanceCase(**values)


def _number(query: Mapping[str, str], name: str, bound: Bound, wrong: list[str]) -> float:
    text = query.get(name, "")
    if not text:
        return bound.usual
    try:
        value = float(text[:40])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        wrong.append(f"{_words(name)} was no number and is {bound.usual:g} now.")
        return bound.usual
    kept = min(max(value, bound.low), bound.high)
    kept = float(round(kept)) if bound.step >= 1.0 else kept
    if kept != value:
        wrong.append(f"{_words(name)} is {kept:g} now: give {bound.low:g} to {bound.high:g}.")
    return kept


def _words(name: str) -> str:
    stem, _, number = name.partition("-")
    label = {"n": "The number of instances", "on": "The instance that changes"}.get(stem)
    known = label or LABELS.get(stem, stem)
    return f"{known} of instance {number}" if number else known


def _who(site: Site, policy: str) -> list[tuple[str, str, str | None]]:
    """Name, look and digest of each policy once: this one, the active one, the default."""
    active = site.store.slot(Alias.ACTIVE, site.settings.deployment).digest
    if active == policy:
        return [("This policy, which is active", "candidate", policy),
                ("The built-in default", "", None)]  # fmt: skip
    if active is None:
        return [("This policy", "candidate", policy),
                ("The built-in default, which is active", "active", None)]  # fmt: skip
    return [("This policy", "candidate", policy), ("The active policy", "active", active),
            ("The built-in default", "", None)]  # fmt: skip


def _contender(
    asked: WhatIf, site: Site, chosen: Set, name: str, kind: str, digest: str | None
) -> Contender:
    try:
        cases = (chosen.case, *chosen.sweep.cases(chosen.case))
        picks = asked.picks(shown(site.store, digest).candidate, cases)
    except SandboxError as failed:
        return Contender(name, kind, -1, str(failed), None, ())
    if picks is None:
        return Contender(name, kind, -1, "It has no route: the default decides for it.", None, ())
    now, *swept = picks
    stretches = _stretches(chosen.sweep, swept)
    return Contender(name, kind, now.instance, decision(now), now.fuel, stretches)


def decision(pick: Pick) -> str:
    """A decision in words."""
    return {
        Kind.INSTANCE: f"instance {pick.instance}",
        Kind.HOLD: "holds the request back",
        Kind.REJECT: "refuses the request",
        Kind.INVALID: "an instance that there is not: the default decides",
        Kind.FAULT: f"no decision, since {pick.fault}: the default decides",
    }[pick.kind]


def _stretches(sweep: Sweep, picks: Sequence[Pick]) -> tuple[Stretch, ...]:
    found, values, at = [], sweep.values(), 0
    wide = STRIP_WIDTH / len(values)
    for words, group in groupby(picks, decision):
        same = list(group)
        mark = str(same[0].instance) if same[0].kind is Kind.INSTANCE else same[0].kind.value[0]
        low, high = values[at], values[at + len(same) - 1]
        found.append(Stretch(at * wide, len(same) * wide, low, high, mark.upper(), words))
        at += len(same)
    return tuple(found)


def _what_if(request: Request) -> WhatIf:
    """The processes of this page, made when they are first asked."""
    state = request.app.state
    with _making:
        if not hasattr(state, "what_if"):
            state.what_if = WhatIf()
    found: WhatIf = state.what_if
    return found
