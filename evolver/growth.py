"""Grows a hook: typical terms are put into it all at once at weight zero, then weighed one by one.

A term joins a score as a summand, or a condition as a limit that it must keep. The enriched policy
is compiled once and decides as the plain one does until a weight moves, so that dozens of terms
cost simulations only. What is worth nothing is left out of the text that remains.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from evolver.draft import Draft, expression
from evolver.insertions import WEIGHT_SPAN, fits, place_term, weight_name
from evolver.sites import Site, gate_sites, score_sites
from evolver.splice import take_hook
from evolver.terms import BY_HOOK, PLACEMENT, Term

Place = Literal["score", "gate"]
GROWING: Mapping[str, tuple[Place, ...]] = {
    "route": ("score", "gate"),
    "route_decode": ("score",),
    "priority": ("score",),
    "evict": ("score",),
    "admit": ("gate",),
}
"""Hooks that grow, and where in them, in this order."""

AT_ONCE = 14  # terms of one enriched policy: with more of them it takes long to compile
MAGNITUDES = (0.01, 0.3, 10.0)  # of a weight; scores are seconds, shares or counts
FINER = (1.0, 0.2, 5.0)  # times the magnitude found, once others have joined
PROMISING = 8  # terms that are weighed together
LEAST = 1e-4  # share of the objective that a term must save to stay
SURE = 1.0  # standard errors that it must be away from saving nothing
MOST_WEIGHT = 1000.0  # up and down, while terms are weighed

Weights = dict[str, float]
Scores = Callable[[Sequence[Weights]], list[Sequence[float]]]
"""Logarithms of an enriched policy's objectives, window by window, under some weights."""


@dataclass(frozen=True, slots=True)
class Enriched:
    """A policy with terms in one of its scores or conditions.

    Attributes:
        text: to be verified.
        terms: by the constant that weighs each.
    """

    text: str
    terms: Mapping[str, Term]


def groups(hook: str) -> list[tuple[Term, ...]]:
    """The terms of a hook, as many at once as compile well.

    Those of admission are conditions already: limits are put on what placement looks at.
    """
    terms = PLACEMENT if hook == "admit" else BY_HOOK.get(hook, PLACEMENT)
    return [terms[k : k + AT_ONCE] for k in range(0, len(terms), AT_ONCE)]


def enriched(
    plain: Draft, default: Draft, hook: str, place: Place, terms: Sequence[Term]
) -> Enriched | None:
    """The policy with these terms at weight zero; None where it has no such place for them.

    A hook that it lacks is first taken from the default policy.
    """
    draft, site = _opened(plain, default, hook, place, terms)
    if site is None:
        return None
    found: dict[str, Term] = {}
    for term in terms:
        if fits(term, site):
            weight = draft.add_constant("GROWN", 0.0, -MOST_WEIGHT, MOST_WEIGHT)
            _put(draft, site, term, weight, place, positive=True)
            found[weight.id] = term
    return Enriched(draft.text(), found) if found else None


def grown(
    plain: Draft,
    default: Draft,
    hook: str,
    place: Place,
    terms: Sequence[Term],
    weighed: Sequence[tuple[Term, float]],
) -> str | None:
    """The policy with those terms only that have a weight, each under a name of its own."""
    draft, site = _opened(plain, default, hook, place, terms)
    if site is None:
        return None
    for term, value in weighed:
        size = abs(value)
        low, high = size / WEIGHT_SPAN, size * WEIGHT_SPAN
        weight = draft.add_constant(weight_name(term), size, low, high)
        _put(draft, site, term, weight, place, positive=value > 0.0)
    ideas = ", ".join(term.idea for term, _ in weighed)
    draft.claim = f"{draft.claim.split('. ')[0].rstrip('.')}. {hook} also weighs: {ideas}."
    return draft.text()


def weigh(names: Sequence[str], first: Scores, all_of_it: Scores) -> Weights:
    """Weights that save something, found one by one on a first look, joined on all of it.

    Each term is tried at all magnitudes and under both signs; the best of them are then put in
    together, best first, as far as each makes the whole better.
    """
    settings = [
        {name: sign * size} for name in names for size in MAGNITUDES for sign in (1.0, -1.0)
    ]
    (start, *values) = (fmean(each) for each in first([{}, *settings]))
    best: dict[str, tuple[float, Weights]] = {}
    for value, setting in zip(values, settings, strict=True):
        (name,) = setting
        best[name] = min(best.get(name, (start, {})), (value, setting), key=lambda pair: pair[0])
    promising = sorted((pair for pair in best.values() if pair[1]), key=lambda pair: pair[0])
    return _joined([setting for _, setting in promising[:PROMISING]], all_of_it)


def _joined(settings: Sequence[Weights], scores: Scores) -> Weights:
    """Those settings together that surely make each other better."""
    found: Weights = {}
    if not settings:
        return found
    (least,) = scores([found])
    for setting in settings:
        ((name, size),) = setting.items()
        tries = [{**found, name: size * times} for times in FINER]
        values = scores(tries)
        pairs = [saving(least, value) for value in values]
        gains = [mean - SURE * error for mean, error in pairs]
        if max(gains) > LEAST:
            place = gains.index(max(gains))
            found, least = tries[place], values[place]
    return found


def saving(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """What logarithms of objectives fall by, as a mean and its standard error.

    Minus infinity where a decision failed. A mean alone would prefer luck in a few windows to a
    little in all of them, and dozens are tried.
    """
    saved = [old - new for old, new in zip(before, after, strict=True)]
    if not all(map(math.isfinite, saved)):
        return -math.inf, 0.0
    error = stdev(saved) / math.sqrt(len(saved)) if len(saved) > 1 else 0.0
    return fmean(saved), error


def _opened(
    plain: Draft, default: Draft, hook: str, place: Place, terms: Sequence[Term]
) -> tuple[Draft, Site | None]:
    """A copy that has the hook, and the place in it or in a helper that most terms fit."""
    draft = plain.copy()
    if hook not in draft.functions:
        take_hook(draft, default, hook)
    reached = draft.reachable({hook})
    found = score_sites(draft) if place == "score" else gate_sites(draft)
    sites = [site for site in found if site.function in reached]
    fitting = [(sum(fits(term, site) for term in terms), site.function == hook) for site in sites]
    if not sites or not max(fitting)[0]:
        return draft, None
    return draft, sites[fitting.index(max(fitting))]


def _put(
    draft: Draft, site: Site, term: Term, weight: ast.Name, place: Place, *, positive: bool
) -> None:
    """Add the weighted term to a score, or ask of it not to be above 1 (below -1)."""
    value = place_term(draft, term, site)
    if place == "score":
        sign = ast.Add() if positive else ast.Sub()
        site.put(ast.BinOp(site.value, sign, ast.BinOp(weight, ast.Mult(), value)))
        return
    limit = "<= 1.0" if positive else ">= -1.0"
    condition = expression(f"{weight.id} * {value.id} {limit}")
    old = site.value
    asked = old.values if isinstance(old, ast.BoolOp) and isinstance(old.op, ast.And) else [old]
    site.put(ast.BoolOp(ast.And(), [*asked, condition]))
