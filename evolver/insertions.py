"""Typical terms put into a policy: as summands, factors, guards, conditions and whole hooks.

Every edit changes the draft in place and says what it did, or gives None when the draft has no
place for it.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Sequence

from evolver.draft import Draft, expression, names_in, parsed_function
from evolver.sites import Site, condition_sites, score_sites, substituted
from evolver.terms import BY_HOOK, PLACEHOLDERS, PLACEMENT, Term
from sandbox.language.trees import tree_of

COST_WEIGHT = (0.01, 10.0)  # new terms start within; costs are seconds, shares or counts
FACTOR_WEIGHT = (0.1, 10.0)
WEIGHT_SPAN = 30.0  # a tuner may go so far from the start, up and down


def insert_term(draft: Draft, rng: random.Random) -> str | None:
    """Add a typical term to a score, as a summand or as a factor around it."""
    pair = _site_and_term(score_sites(draft), rng)
    if pair is None:
        return None
    site, term = pair
    value = place_term(draft, term, site)
    if rng.random() < 0.5:
        weight = _weight(draft, term, COST_WEIGHT, rng)
        sign = ast.Add() if term.sign > 0 else ast.Sub()
        site.put(ast.BinOp(site.value, sign, ast.BinOp(weight, ast.Mult(), value)))
        return f"{term.idea} added to {site.function}"
    weight = _weight(draft, term, FACTOR_WEIGHT, rng)
    factor = f"1.0 + {weight.id} * {value.id}"
    if term.sign > 0:
        site.put(ast.BinOp(site.value, ast.Mult(), expression(factor)))
    else:
        site.put(ast.BinOp(site.value, ast.Div(), expression(f"max({factor}, 0.001)")))
    return f"{site.function} scaled by {term.idea}"


def guard(draft: Draft, rng: random.Random) -> str | None:
    """Multiply a score where a term is above a threshold."""
    pair = _site_and_term(score_sites(draft), rng)
    if pair is None:
        return None
    site, term = pair
    value = place_term(draft, term, site).id
    level = draft.add_constant("LEVEL", _log_uniform(0.05, 5.0, rng), 0.001, 100.0).id
    factor = draft.add_constant("FACTOR", rng.choice((0.25, 0.5, 2.0, 4.0, 10.0)), 0.05, 50.0).id
    old = ast.unparse(site.value)
    site.put(expression(f"({old}) * ({factor} if {value} > {level} else 1.0)"))
    return f"{site.function} guarded by {term.idea}"


def join_condition(draft: Draft, rng: random.Random) -> str | None:
    """Join a typical condition to what a trigger or an admission answers."""
    sites = [s for s in condition_sites(draft) if s.function in ("admit", "should_reschedule")]
    pair = _site_and_term([s for s in sites if isinstance(s.statement, ast.Return)], rng)
    if pair is None:
        return None
    site, term = pair
    joint = ast.And() if rng.random() < 0.5 else ast.Or()
    site.put(ast.BoolOp(joint, [site.value, place_term(draft, term, site)]))
    return f"{site.function} also asks: {term.idea}"


def skip_some(draft: Draft, rng: random.Random) -> str | None:
    """Leave out of a choice the instances on which a term is above a threshold."""
    sites = [s for s in score_sites(draft) if s.loops and s.of_kind("Instance")]
    pair = _site_and_term(sites, rng)
    if pair is None:
        return None
    site, term = pair
    value = place_term(draft, term, site).id
    level = draft.add_constant("LIMIT", _log_uniform(0.2, 5.0, rng), 0.01, 100.0).id
    site.insert(tree_of(f"if {value} > {level}:\n    continue").body[0])
    return f"{site.function} leaves out instances with much {term.idea}"


_NEW_HOOKS = ("priority", "priority", "evict", "admit", "route", "route")


def new_hook(draft: Draft, rng: random.Random) -> str | None:
    """Write an expression hook anew from one to three typical terms."""
    hooks = [hook for hook in _NEW_HOOKS if draft.wanted is None or hook in draft.wanted]
    if not hooks:
        return None
    hook = rng.choice(hooks)
    terms = rng.sample(BY_HOOK.get(hook, PLACEMENT), 1 if hook == "admit" else rng.choice((2, 3)))
    names = " and ".join(term.idea for term in terms)
    if hook == "admit":
        text = _ADMIT.format(condition=_with_constants(draft, terms[0]))
    else:
        lines, total = _weighted_sum(draft, terms, rng)
        indent = "\n        " if hook == "route" else "\n    "
        text = _TEMPLATES[hook].format(lines=indent.join(lines), total=total)
    function = parsed_function(text)
    inst = "inst" if hook == "route" else "instance"
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id == "inst":
            node.id = inst
    draft.functions[hook] = function
    return f"{hook} written anew from {names}"


_ADMIT = """
def admit(request, instance, memory):
    return {condition}
"""

_TEMPLATES = {
    "route": """
def route(request, instances, memory):
    best, least = instances[0].id, INF
    for inst in instances:
        {lines}
        cost = {total}
        if cost < least:
            best, least = inst.id, cost
    return best
""",
    "priority": """
def priority(request, instance, memory):
    {lines}
    return {total}
""",
    "evict": """
def evict(entry, instance, memory):
    {lines}
    return {total}
""",
}


def _weighted_sum(draft: Draft, terms: Sequence[Term], rng: random.Random) -> tuple[list[str], str]:
    """Lines that compute the weighted terms, and the expression that adds them up."""
    lines, total = [], ""
    for name, term in zip(("first", "second", "third"), terms, strict=False):
        weight = _weight(draft, term, COST_WEIGHT, rng)
        lines.append(f"{name} = {weight.id} * ({_with_constants(draft, term)})")
        total += f" {'+' if term.sign > 0 else '-'} {name}"
    return lines, total.strip().removeprefix("+ ")


def _site_and_term(sites: Sequence[Site], rng: random.Random) -> tuple[Site, Term] | None:
    """A site with a term whose records are all in scope there."""
    if not sites:
        return None
    site = rng.choice(sites)
    fitting = [term for term in BY_HOOK.get(site.function, PLACEMENT) if fits(term, site)]
    return (site, rng.choice(fitting)) if fitting else None


def fits(term: Term, site: Site) -> bool:
    """Are all records that the term reads in scope at the site?"""
    needed = names_in(expression(term.text)) & PLACEHOLDERS.keys()
    return all(site.of_kind(PLACEHOLDERS[name]) for name in needed)


def place_term(draft: Draft, term: Term, site: Site) -> ast.Name:
    """A variable for the term, assigned on the line before the site."""
    names = {
        name: found[-1] for name, kind in PLACEHOLDERS.items() if (found := site.of_kind(kind))
    }
    value = substituted(expression(_with_constants(draft, term)), names)
    return site.name_before(draft.fresh("extra"), value)


def weight_name(term: Term) -> str:
    """What the constant that weighs a term is called, by the first two words of its idea."""
    return "_".join(term.idea.upper().replace("-", " ").split()[:2]) + "_WEIGHT"


def _with_constants(draft: Draft, term: Term) -> str:
    names = {name: draft.add_constant(name, *span).id for name, span in term.constants.items()}
    return ast.unparse(substituted(expression(term.text), names))


def _weight(draft: Draft, term: Term, span: tuple[float, float], rng: random.Random) -> ast.Name:
    value = _log_uniform(*span, rng)
    low, high = value / WEIGHT_SPAN, value * WEIGHT_SPAN
    return draft.add_constant(weight_name(term), value, low, high)


def _log_uniform(low: float, high: float, rng: random.Random) -> float:
    return float(f"{low * (high / low) ** rng.random():.3g}")
