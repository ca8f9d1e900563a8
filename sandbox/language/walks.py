"""How lowered code walks what can be looped over: a length, and what is at each place."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sandbox.language import cost
from sandbox.language.conversions import (
    converted,
    item,
    new_list,
    push,
    tuple_text,
    unpacked,
)  # fmt: skip
from sandbox.language.iterables import step_of
from sandbox.language.kinds import FLOAT, INT, ROW_CAPACITY, Kind
from sandbox.language.lattice import Cell, Watch, all_of, list_of, tuple_of

if TYPE_CHECKING:
    from sandbox.language.lowering import Lowering

Element = tuple[str, Kind] | list["Element"]  # a value, or the parts of one that is not made yet


@dataclass(frozen=True, slots=True)
class Walk:
    """How to walk an iterable: text of its length, the most it can be, the k-th element.

    `ends` are lines for where a loop over it has come to its end.
    """

    length: str
    most: int
    at: Callable[[str], Element]
    ends: tuple[str, ...] = ()


def over(writer: Lowering, node: ast.expr) -> Walk:
    """The walk over an expression; emits what has to be computed before the loop."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        name = node.func.id
        if name in _ITERATORS:
            writer.spend(1)
            return _ITERATORS[name](writer, node)
    if isinstance(node, ast.GeneratorExp):
        return _generated(writer, node)
    kind = writer.present(node)
    sequence = frozen(writer, writer.saved(writer.value(node, kind)))
    return along(writer, sequence, kind, writer.bounds.length(node))


def along(writer: Lowering, sequence: str, kind: Kind, most: int | None) -> Walk:
    """The walk over a value of some kind; `sequence` is its name."""
    if kind.name == "rows":
        record = Kind("record", kind.record)
        place = "turned(frame, {0}, len({1}))" if kind.record == "Instance" else "{0}"
        return Walk(
            f"len({sequence})",
            ROW_CAPACITY[kind.record],
            lambda k: (f"{sequence}[{place.format(k, sequence)}]", record),
        )
    if kind.name == "tuple":
        part = all_of(kind.parts)
        alike = writer.saved(converted(writer, sequence, kind, tuple_of([part] * len(kind.parts))))
        count = len(kind.parts)
        return Walk(str(count), count, lambda k: (unpacked(f"{alike}[{k}]", part), part))
    if kind.name == "list":
        return _along_list(writer, sequence, kind)
    length, most = held(writer, f"len({sequence})", most)
    return Walk(length, most, lambda k: (f"{sequence}[{k}]", FLOAT))


def _along_list(writer: Lowering, sequence: str, kind: Kind) -> Walk:
    cell = kind.cell.root() if kind.cell is not None else Cell(Watch())
    length, most = held(writer, f"size(frame, {sequence})", cell.most)
    if not cell.grows:
        return Walk(length, most, lambda k: (item(writer, sequence, kind, k), cell.element))
    length = writer.saved(length)
    # Python's loop would follow a list that changes under it.
    unchanged = f"require(frame, size(frame, {sequence}) == {length}, NO_VALUE)"

    def at(k: str) -> Element:
        writer.emit(unchanged)
        return item(writer, sequence, kind, k), cell.element

    return Walk(length, most, at, (unchanged,))


def _generated(writer: Lowering, node: ast.expr) -> Walk:
    """What a generator or iterable yields, kept in a list that nobody else sees."""
    from sandbox.language.reductions import collected

    cell = Cell(Watch())
    cell.hold(writer.inference.yields[node])
    made, cell.most = collected(writer, node, list_of(cell))
    return along(writer, made, list_of(cell), cell.most)


def held(writer: Lowering, length: str, most: int | None) -> tuple[str, int]:
    """A length and its bound; an unknown one is held to the limit in per-request hooks."""
    if most is not None:
        return length, max(most, 0)
    if writer.capped:
        length = f"bounded(frame, {length}, {cost.UNKNOWN_TURNS})"
    return writer.saved(length), cost.UNKNOWN_TURNS


def frozen(writer: Lowering, name: str) -> str:
    """A name for a value that the loop's body cannot change."""
    if name.removeprefix("v_") not in writer.assigned:
        return name
    copy = writer.temporary()
    writer.emit(f"{copy} = {name}")
    return copy


def listed(writer: Lowering, text: str, kind: Kind, wanted: Kind) -> str:
    """Rows copied into a list."""
    walk = along(writer, writer.saved(text), kind, None)
    length = writer.saved(walk.length)
    made = new_list(writer, wanted, length, walk.most)
    k = writer.temporary()
    with writer.nested() as body:
        push(writer, made, wanted, *leaf(walk.at(k)))
    writer.place_loop(k, length, body, walk.most)
    return made


def floats(writer: Lowering, text: str, kind: Kind) -> str:
    """The numbers of a list in an array, for the toolkit to read."""
    walk = along(writer, writer.saved(text), kind, None)
    length = writer.saved(walk.length)
    made = writer.saved(f"vector(frame, {length})")
    writer.spend(1, cost.scratch_cost(walk.most))
    k = writer.temporary()
    with writer.nested() as body:
        value, given = leaf(walk.at(k))
        writer.emit(f"put(frame, {made}, {k}, {converted(writer, value, given, FLOAT)})")
        writer.spend(2)
    writer.place_loop(k, length, body, walk.most)
    return made


def _range(writer: Lowering, node: ast.Call) -> Walk:
    step = step_of(node)
    bounds = node.args[:2]
    texts = writer.values(bounds, [INT] * len(bounds))
    start, stop = (texts[0], texts[1]) if len(texts) == 2 else ("0", texts[0])
    start = writer.saved(start)
    if start == "0" and step == 1:
        raw = f"max2(0, {stop})"
    else:
        raw = f"trips(frame, {start}, {stop}, {step})"
    length, most = held(writer, raw, writer.bounds.trips(bounds, step))
    scaled = "{}" if step == 1 else f"({{}} * {step})"
    base = "" if start == "0" else f"{frozen(writer, start)} + "
    return Walk(writer.saved(length), most, lambda k: (f"({base}{scaled.format(k)})", INT))


def _enumerate(writer: Lowering, node: ast.Call) -> Walk:
    first = [*node.args[1:], *(keyword.value for keyword in node.keywords)]
    inner = over(writer, node.args[0])
    if not first:
        return Walk(inner.length, inner.most, lambda k: [(k, INT), inner.at(k)], inner.ends)
    start = frozen(writer, writer.saved(writer.value(first[0], INT)))
    length = writer.saved(inner.length)
    return Walk(
        length, inner.most, lambda k: [(f"add(frame, {start}, {k})", INT), inner.at(k)],
        inner.ends,
    )  # fmt: skip


def _zip(writer: Lowering, node: ast.Call) -> Walk:
    inner = []
    for argument in node.args:
        walk = over(writer, argument)
        inner.append(replace(walk, length=writer.saved(walk.length)))
    length = inner[0].length
    for one in inner[1:]:
        length = f"min2({length}, {one.length})"
    most = min(one.most for one in inner)
    ends = tuple(line for one in inner for line in one.ends)
    return Walk(writer.saved(length), most, lambda k: [one.at(k) for one in inner], ends)


def _reversed(writer: Lowering, node: ast.Call) -> Walk:
    inner = over(writer, node.args[0])
    length = writer.saved(inner.length)
    return Walk(
        length, inner.most, lambda k: inner.at(writer.saved(f"{length} - 1 - {k}")), inner.ends
    )


def _sorted(writer: Lowering, node: ast.Call) -> Walk:
    """Positions in order; what the loop may write to is copied before, as sorted() does."""
    from sandbox.language.reductions import ranked

    source = node.args[0]
    inner = over(writer, source) if _is_fixed(writer, source) else _generated(writer, source)
    length = writer.saved(inner.length)
    ranks = ranked(writer, length, inner.most, lambda k: leaf(inner.at(k)), node)
    return Walk(length, inner.most, lambda k: inner.at(writer.saved(f"int({ranks}[{k}])")))


def _is_fixed(writer: Lowering, node: ast.expr) -> bool:
    """Can nothing that happens in a loop change what an iterable yields?"""
    name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
    if isinstance(node, ast.Call) and name in _ITERATORS:
        return name == "range" or all(_is_fixed(writer, one) for one in node.args)
    if isinstance(node, ast.ListComp):
        return True
    return not isinstance(node, ast.GeneratorExp) and writer.present(node).name == "rows"


def leaf(element: Element) -> tuple[str, Kind]:
    """An element as one value: parts become a tuple."""
    if isinstance(element, tuple):
        return element
    parts = [leaf(one) for one in element]
    kinds = [kind for _, kind in parts]
    return tuple_text([text for text, _ in parts], tuple(kinds)), tuple_of(kinds)


def bind(writer: Lowering, target: ast.expr, element: Element) -> None:
    """Assign what an iterable yields to a loop's target."""
    if isinstance(target, ast.Tuple) and isinstance(element, list):
        for part, one in zip(target.elts, element, strict=True):
            bind(writer, part, one)
    else:
        writer.store(target, *leaf(element))


_ITERATORS: dict[str, Callable[[Lowering, ast.Call], Walk]] = {
    "range": _range, "enumerate": _enumerate, "zip": _zip, "reversed": _reversed,
    "sorted": _sorted,
}  # fmt: skip
