"""Lowering of loops, comprehensions, sums, extremes and orders into index loops."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from sandbox.language import cost, walks
from sandbox.language.conversions import (
    components,
    converted,
    less,
    new_list,
    nobody,
    push,
    truth_of,
)  # fmt: skip
from sandbox.language.iterables import Comprehension
from sandbox.language.kinds import INT, Kind
from sandbox.language.lattice import present
from sandbox.language.walks import Walk, leaf
from sandbox.language.writer import Block

if TYPE_CHECKING:
    from sandbox.language.lowering import Lowering

Each = Callable[[str, Kind], None]
Start = Callable[[str, int], None]


def loop(writer: Lowering, node: ast.For) -> None:
    """A `for` statement."""
    walk = walks.over(writer, node.iter)
    k = writer.temporary()
    whole = writer.open_loop(node, walk.ends)
    with writer.nested() as body:
        writer.spend(1)
        walks.bind(writer, node.target, walk.at(k))
        writer.statements(node.body)
    writer.place_loop(k, walk.length, body, walk.most)
    writer.close_loop(node, whole, walk.ends)


def over(
    writer: Lowering, node: ast.expr, each: Each, stop: str = "", start: Start | None = None
) -> int:
    """Loops of a comprehension or iterable; `each` writes what happens to an element.

    `stop` names a flag that ends all loops once it is true; `start` is told the length of the
    outermost loop, when it is the only one, and the most turns of all. Returns the latter.
    """
    if isinstance(node, Comprehension):
        names = [
            name.id
            for generator in node.generators
            for name in ast.walk(generator.target)
            if isinstance(name, ast.Name)
        ]
        walk = _started(writer, walks.over(writer, node.generators[0].iter))
        single = len(node.generators) == 1
        if start:
            start(walk.length if single else "0", walk.most if single else 0)
        writer.open_scope(node, names)
        most = _generator(writer, node, 0, walk, each, stop)
        writer.close_scope()
        return most
    walk = _started(writer, walks.over(writer, node))
    if start:
        start(walk.length, walk.most)
    k = writer.temporary()
    with writer.nested() as body:
        writer.spend(2)
        each(*leaf(walk.at(k)))
        if stop:
            _break_if(writer, stop)
    writer.place_loop(k, walk.length, body, walk.most)
    _end(writer, walk, stop)
    return walk.most


def _started(writer: Lowering, walk: Walk) -> Walk:
    return replace(walk, length=writer.saved(walk.length))


def _generator(
    writer: Lowering, node: Comprehension, depth: int, walk: Walk, each: Each, stop: str
) -> int:
    generator = node.generators[depth]
    k = writer.temporary()
    most = walk.most
    with writer.nested() as body:
        writer.spend(1)
        walks.bind(writer, generator.target, walk.at(k))
        for test in generator.ifs:
            text = writer.truth(test)
            writer.emit(f"if not {text}:")
            writer.block.lines.append(["continue"])
        if depth + 1 < len(node.generators):
            inner = walks.over(writer, node.generators[depth + 1].iter)
            most *= _generator(writer, node, depth + 1, inner, each, stop)
        else:
            each(writer.value(node.elt), writer.kind(node.elt))
        if stop:
            _break_if(writer, stop)
    writer.place_loop(k, walk.length, body, walk.most)
    _end(writer, walk, stop)
    return most


def _end(writer: Lowering, walk: Walk, stop: str) -> None:
    """What a walk says at its end, which a loop that was stopped does not come to."""
    with writer.nested() as ends:
        writer.block.lines.extend(walk.ends)
        writer.spend(len(walk.ends))
    if stop and ends.lines:
        writer.place_branches(f"not {stop}", ends, Block())
    else:
        writer.block.lines.extend(ends.lines)
        writer.spend(ends.units)


def _break_if(writer: Lowering, flag: str) -> None:
    writer.emit(f"if {flag}:")
    writer.block.lines.append(["break"])
    writer.block.stops = True


def collected(writer: Lowering, node: ast.expr, kind: Kind) -> tuple[str, int]:
    """A new list of what an iterable or comprehension yields, and the most it can hold."""
    made = writer.temporary()

    def start(length: str, most: int) -> None:
        writer.emit(f"{made} = {new_list(writer, kind, length, most)}")

    def each(text: str, given: Kind) -> None:
        push(writer, made, kind, text, given)

    return made, over(writer, node, each, start=start)


def total(writer: Lowering, node: ast.Call) -> str:
    """sum(...)."""
    kind = writer.kind(node)
    name = writer.temporary()
    start = "0" if kind == INT else "0.0"
    if len(node.args) > 1:
        start = writer.value(node.args[1], kind)
    writer.emit(f"{name} = {start}")

    def each(text: str, element: Kind) -> None:
        number = converted(writer, text, element, kind)
        plus = f"add(frame, {name}, {number})" if kind == INT else f"{name} + {number}"
        writer.emit(f"{name} = {plus}")

    over(writer, node.args[0], each)
    return name


def count(writer: Lowering, node: Comprehension) -> str:
    """len([... for ...]): the elements are computed, since computing one may stop the policy."""
    name = writer.temporary()
    writer.emit(f"{name} = 0")

    def each(text: str, _kind: Kind) -> None:
        writer.saved(text)
        writer.emit(f"{name} = {name} + 1")

    over(writer, node, each)
    return name


def any_all(writer: Lowering, node: ast.Call) -> str:
    """any(...) and all(...): stop at the first that decides, but a list is computed whole."""
    whole = isinstance(node.args[0], ast.ListComp)
    wants = isinstance(node.func, ast.Name) and node.func.id == "any"
    found = writer.temporary()
    writer.emit(f"{found} = False")

    def each(text: str, kind: Kind) -> None:
        test = truth_of(writer, text, kind)
        if whole:
            decides = writer.saved(test if wants else f"(not {test})")
            writer.emit(f"{found} = {found} or {decides}")
        else:
            writer.emit(f"{found} = {test}" if wants else f"{found} = not {test}")

    over(writer, node.args[0], each, stop="" if whole else found)
    return found if wants else f"(not {found})"


def extreme(writer: Lowering, node: ast.Call, name: str) -> str:
    """min and max of one iterable, with a key or a default."""
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    sign = "<" if name == "min" else ">"
    kind, key = writer.kind(node), keywords.get("key")
    best, least, found = writer.temporary(), writer.temporary(), writer.temporary()
    default = keywords.get("default")
    writer.emit(f"{best} = {writer.value(default, kind) if default else nobody(kind)}")
    writer.emit(f"{found} = False")
    started: list[str] = []

    def each(text: str, element: Kind) -> None:
        candidate = writer.saved(text if key else converted(writer, text, element, kind))
        value, ordered = candidate, kind
        if key:
            value, ordered = key_value(writer, key, (candidate, element))
            value = writer.saved(value)
            started.append(f"{least} = {nobody(ordered)}")
        with writer.nested() as test:
            better = less(writer, value, sign, least if key else best, ordered)
        writer.block.lines.extend(test.lines)
        writer.emit(f"if not {found} or {better}:")
        with writer.nested() as taken:
            one = converted(writer, candidate, element, kind) if key else candidate
        keep = [f"{least} = {value}"] if key else []
        writer.block.lines.append([*taken.lines, f"{best} = {one}", *keep, f"{found} = True"])
        writer.spend(2 + taken.units, taken.extra)

    place = len(writer.block.lines)
    over(writer, node.args[0], each)
    writer.block.lines[place:place] = started
    if default is None:
        writer.emit(f"require(frame, {found}, EMPTY)")
    return best


def key_value(
    writer: Lowering, key: ast.expr | None, element: tuple[str, Kind]
) -> tuple[str, Kind]:
    """Text of a key function's value for an element, None stopping the policy, and its kind."""
    text, kind = element
    if isinstance(key, ast.Lambda):
        name = key.args.args[0].arg
        wanted = writer.present(key.body)
        writer.open_scope(key, [name])
        writer.store(ast.Name(name, ast.Store()), text, kind)
        value = writer.value(key.body, wanted)
        writer.close_scope()
        return value, wanted
    if isinstance(key, ast.Name):
        units, extra = writer.costs[f"f_{key.id}"]
        writer.spend(2 + units, extra)
        (parameter,) = writer.program.functions[key.id].args.args
        wanted = writer.inference.variables[key.id, parameter.arg]
        result = writer.inference.results[key.id]
        call = f"f_{key.id}(frame, P, {converted(writer, text, kind, wanted)})"
        return converted(writer, call, result, present(result)), present(result)
    return text, kind


def key_kind(writer: Lowering, key: ast.expr | None, kind: Kind) -> Kind:
    """Kind of a key function's value."""
    if isinstance(key, ast.Lambda):
        return writer.present(key.body)
    if isinstance(key, ast.Name):
        return present(writer.inference.results[key.id])
    return kind


def ranked(
    writer: Lowering, length: str, most: int, at: Callable[[str], tuple[str, Kind]], node: ast.Call
) -> str:
    """Name of the positions in the order of a call's key and reverse, stable."""
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    sign, key = _sign(writer, keywords.get("reverse")), keywords.get("key")
    vectors: list[str] = []
    k = writer.temporary()
    with writer.nested() as body:
        text, kind = key_value(writer, key, at(k))
        parts = components(writer.saved(text), kind)
        vectors = [writer.temporary() for _ in parts]
        for name, part in zip(vectors, parts, strict=True):
            writer.emit(f"put(frame, {name}, {k}, {sign.format(part)})")
        writer.spend(len(parts))
    for name in vectors:
        writer.emit(f"{name} = vector(frame, {length})")
    writer.place_loop(k, length, body, most)
    ranks = writer.saved(f"order(frame, {vectors[-1]}, {length})")
    for name in reversed(vectors[:-1]):
        ranks = writer.saved(f"ordered_by(frame, {name}, {ranks}, {length})")
    each = 2 * cost.scratch_cost(most) + cost.order_cost(most)
    writer.spend(2 * len(vectors), len(vectors) * each)
    return ranks


def _sign(writer: Lowering, reverse: ast.expr | None) -> str:
    if reverse is None:
        return "{}"
    if isinstance(reverse, ast.Constant):
        return "-({})" if reverse.value else "{}"
    sign = writer.saved(f"(-1.0 if {writer.truth(reverse)} else 1.0)")
    return f"({sign} * {{}})"
