"""Grafts between policies: whole hooks and single expressions, with all that they need."""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Mapping

from evolver.draft import Constant, Draft, locals_of, names_in, parsed_function
from evolver.sites import Site, closed, score_sites, substituted

WEIGHT = (1.0, 0.01, 100.0)  # of a grafted expression, relative to what was there


def take_hook(target: Draft, donor: Draft, hook: str) -> None:
    """Replace (or add) a hook of the target by the donor's, with its constants and helpers."""
    target.functions.pop(hook, None)
    names = carry(target, donor, donor.needs(hook))
    target.functions[hook] = _renamed(donor.functions[hook], names, target)


def carry(target: Draft, donor: Draft, roots: set[str]) -> dict[str, str]:
    """Copy definitions of the donor and all they need; their names in the target.

    A definition that the target has word for word is shared, a clash gets a new name.
    """
    needed = donor.reachable(roots)
    order = [name for name in (*donor.constants, *donor.functions) if name in needed]
    differing = {name for name in order if not _same(target, donor, name)}
    copied = [name for name in order if donor.reachable({name}) & differing]
    names = {name: name for name in order}
    for name in copied:
        names[name] = target.fresh(name)
        if name in donor.constants:
            target.constants[names[name]] = copy.deepcopy(donor.constants[name])
        else:
            target.functions[names[name]] = copy.deepcopy(donor.functions[name])
    for name in copied:
        if name in donor.constants:
            _rename_constant(target.constants[names[name]], names)
        else:
            function = _renamed(donor.functions[name], names, target)
            function.name = names[name]
            target.functions[names[name]] = function
    return names


def graft(target: Draft, donor: Draft, place: Site, rng: random.Random) -> str | None:
    """Put a score of the donor into a place of the target: instead, added, or as a factor.

    Returns what was done, None when no score of the donor fits.
    """
    fitting = [
        (site, value, names)
        for site in score_sites(donor)
        if (value := closed(donor, site)) is not None
        and (names := matching(value, site, place)) is not None
    ]
    if not fitting:
        return None
    site, value, names = rng.choice(fitting)
    carried = carry(target, donor, names_in(value) & (donor.constants.keys() | donor.functions))
    # Renamed in one step, so that no new name is taken for an old one.
    value = substituted(value, {**carried, **names})
    way = rng.choice(("instead", "added", "multiplied"))
    if way == "instead":
        place.put(value)
        return f"score of {site.function} in the place of {place.function}'s"
    weight = target.add_constant("MIX", *WEIGHT)
    grafted = _times(weight, place.name_before(target.fresh("other"), value))
    if way == "added":
        place.put(ast.BinOp(place.value, ast.Add(), grafted))
    else:
        factor = ast.BinOp(ast.Constant(1.0), ast.Add(), grafted)
        place.put(ast.BinOp(place.value, ast.Mult(), factor))
    return f"score of {site.function} {way} to {place.function}"


def graft_somewhere(target: Draft, donor: Draft, rng: random.Random) -> str | None:
    """`graft` into one of the target's scores."""
    places = score_sites(target)
    return graft(target, donor, rng.choice(places), rng) if places else None


def matching(value: ast.expr, site: Site, place: Site) -> dict[str, str] | None:
    """The names in `place` of the records that the site's expression reads, if all are there."""
    names: dict[str, str] = {}
    for name in sorted(names_in(value) & site.records.keys()):
        found = place.of_kind(site.records[name])
        if not found:
            return None
        names[name] = found[-1]
    return names


def blend_routes(target: Draft, donor: Draft, hook: str, rng: random.Random) -> str | None:
    """Route by a weighted sum of two policies' costs, each relative to its sum over instances."""
    ours, theirs = _loop_cost(target, hook, rng), _loop_cost(donor, hook, rng)
    if ours is None or theirs is None:
        return None
    mixed = target.copy()
    carried = carry(mixed, donor, names_in(theirs) & (donor.constants.keys() | donor.functions))
    first = _as_function(mixed, "cost", ours)
    second = _as_function(mixed, "other_cost", substituted(theirs, carried))
    weight = mixed.add_constant("MIX", *WEIGHT).id
    mixed.functions[hook] = parsed_function(
        _BLEND.format(hook=hook, a=first, b=second, weight=weight)
    )
    target.constants, target.functions = mixed.constants, mixed.functions
    return f"{hook} blends two costs"


_BLEND = """
def {hook}(request, instances, memory):
    sum_a, sum_b = 0.0, 0.0
    for inst in instances:
        sum_a = sum_a + abs({a}(request, inst))
        sum_b = sum_b + abs({b}(request, inst))
    best, least = instances[0].id, INF
    for inst in instances:
        total = ratio({a}(request, inst), sum_a, 0.0)
        total = total + {weight} * ratio({b}(request, inst), sum_b, 0.0)
        if total < least:
            best, least = inst.id, total
    return best
"""


def _loop_cost(draft: Draft, hook: str, rng: random.Random) -> ast.expr | None:
    """A closed cost of the hook's loop over instances, its records called request and inst."""
    costs = []
    for site in score_sites(draft):
        value = closed(draft, site) if site.function == hook and site.loops else None
        if value is None:
            continue
        names = {
            n: {"Request": "request", "Instance": "inst"}.get(k) for n, k in site.records.items()
        }
        if all(names.values()) and "inst" in names.values():
            costs.append(substituted(value, {n: new for n, new in names.items() if new}))
    return rng.choice(costs) if costs else None


def _as_function(draft: Draft, wanted: str, value: ast.expr) -> str:
    name = draft.fresh(wanted)
    function = parsed_function(f"def {name}(request, inst):\n    return 0")
    function.body = [ast.Return(value)]
    draft.functions[name] = function
    return name


def _times(weight: ast.expr, value: ast.expr) -> ast.expr:
    return ast.BinOp(weight, ast.Mult(), value)


def _same(target: Draft, donor: Draft, name: str) -> bool:
    """Does the target define this name exactly as the donor does?"""
    if name in donor.constants:
        ours, theirs = target.constants.get(name), donor.constants[name]
        return ours is not None and ours.line(name) == theirs.line(name)
    function = target.functions.get(name)
    return function is not None and ast.dump(function) == ast.dump(donor.functions[name])


def _rename_constant(constant: Constant, names: Mapping[str, str]) -> None:
    constant.value = substituted(constant.value, dict(names))


def _renamed(function: ast.FunctionDef, names: Mapping[str, str], target: Draft) -> ast.FunctionDef:
    """A copy for the target: global names as carried, locals kept apart from its globals."""
    function = copy.deepcopy(function)
    local = locals_of(function)
    globals_there = target.constants.keys() | target.functions.keys() | set(names.values())
    moved = {n: f"{n}_" for n in local & globals_there}
    changes = {**{n: new for n, new in names.items() if n not in local}, **moved}
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            node.id = changes.get(node.id, node.id)
        elif isinstance(node, ast.arg):
            node.arg = changes.get(node.arg, node.arg)
    return function


def hooks_to_take(target: Draft, donor: Draft) -> list[str]:
    """Hooks of the donor that the target lacks or writes otherwise."""
    return [
        hook
        for hook in donor.hooks
        if hook not in target.functions or not _same(target, donor, hook)
    ]
