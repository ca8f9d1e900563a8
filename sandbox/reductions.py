"""Lowering of loops, iterators and comprehensions into index loops."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox import cost
from sandbox.calls import Comprehension, step_of
from sandbox.kinds import BOOL, FLOAT, INT, Kind
from sandbox.writer import converted

if TYPE_CHECKING:
    from sandbox.lowering import Lowering


@dataclass(frozen=True, slots=True)
class Iteration:
    """How to walk an iterable: text of its length, the most it can be, the k-th element."""

    length: str
    most: int
    at: Callable[[str], object]


def iteration(writer: Lowering, node: ast.expr) -> Iteration:
    """The iteration over an expression; emits what has to be computed before the loop."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        name = node.func.id
        if name in _ITERATORS:
            writer.spend(1)
            return _ITERATORS[name](writer, node)
    kind = writer.kind(node)
    sequence = _frozen(writer, writer.saved(writer.value(node)))
    if kind.name == "rows":
        record = Kind("record", kind.record)
        place = "turned(frame, {0}, len({1}))" if kind.record == "Instance" else "{0}"
        return Iteration(
            f"len({sequence})",
            writer.bounds.length(node) or 0,
            lambda k: (f"{sequence}[{place.format(k, sequence)}]", record),
        )
    length, most = _held(writer, f"len({sequence})", writer.bounds.length(node))
    return Iteration(length, most, lambda k: (f"{sequence}[{k}]", FLOAT))


def _held(writer: Lowering, length: str, most: int | None) -> tuple[str, int]:
    """A length and its bound; an unknown one is held to the limit in per-request hooks."""
    if most is not None:
        return length, most
    if writer.capped:
        length = f"bounded(frame, {length}, {cost.UNKNOWN_TURNS})"
    return writer.saved(length), cost.UNKNOWN_TURNS


def _range(writer: Lowering, node: ast.Call) -> Iteration:
    step = step_of(node)
    bounds = node.args[:2]
    texts = writer.values(bounds, [INT] * len(bounds))
    start, stop = (texts[0], texts[1]) if len(texts) == 2 else ("0", texts[0])
    start = writer.saved(start)
    if start == "0" and step == 1:
        raw = f"max2(0, {stop})"
    else:
        raw = f"trips(frame, {start}, {stop}, {step})"
    length, most = _held(writer, raw, writer.bounds.trips(bounds, step))
    scaled = "{}" if step == 1 else f"({{}} * {step})"
    base = "" if start == "0" else f"{_frozen(writer, start)} + "
    return Iteration(writer.saved(length), most, lambda k: (f"({base}{scaled.format(k)})", INT))


def _frozen(writer: Lowering, name: str) -> str:
    """A name for a value that the loop's body cannot change."""
    if name.removeprefix("v_") not in writer.assigned:
        return name
    copy = writer.temporary()
    writer.emit(f"{copy} = {name}")
    return copy


def _enumerate(writer: Lowering, node: ast.Call) -> Iteration:
    inner = iteration(writer, node.args[0])
    return Iteration(inner.length, inner.most, lambda k: [(k, INT), inner.at(k)])


def _zip(writer: Lowering, node: ast.Call) -> Iteration:
    inner = [iteration(writer, argument) for argument in node.args]
    length = inner[0].length
    for one in inner[1:]:
        length = f"min2({length}, {one.length})"
    most = min(one.most for one in inner)
    return Iteration(writer.saved(length), most, lambda k: [one.at(k) for one in inner])


def _reversed(writer: Lowering, node: ast.Call) -> Iteration:
    inner = iteration(writer, node.args[0])
    length = writer.saved(inner.length)
    return Iteration(length, inner.most, lambda k: inner.at(f"({length} - 1 - {k})"))


def _sorted(writer: Lowering, node: ast.Call) -> Iteration:
    inner = iteration(writer, node.args[0])
    length = writer.saved(inner.length)
    keys = writer.saved(f"vector(frame, {length})")
    k = writer.temporary()
    # Rows stay what they are; the loop may write to floats, which sorted() has copied before.
    floats = _leaf(inner.at(k))[1] == FLOAT
    copy = writer.saved(f"vector(frame, {length})") if floats else ""
    with writer.nested() as body:
        element = inner.at(k)
        if floats:
            writer.emit(f"put(frame, {copy}, {k}, {_leaf(element)[0]})")
        text = _key(writer, node.keywords[0].value, element, FLOAT)
        writer.emit(f"put(frame, {keys}, {k}, {text})")
    writer.place_loop(k, length, body, inner.most)
    ranks = writer.saved(f"order(frame, {keys}, {length})")
    writer.spend(2, 2 * cost.scratch_cost(inner.most) + cost.order_cost(inner.most))

    def at(k: str) -> object:
        place = f"int({ranks}[{k}])"
        return (f"{copy}[{place}]", FLOAT) if floats else inner.at(place)

    return Iteration(length, inner.most, at)


def _key(writer: Lowering, key: ast.expr, element: object, wanted: Kind) -> str:
    """Text of a key function's value for an element."""
    text, kind = _leaf(element)
    if isinstance(key, ast.Lambda):
        name = key.args.args[0].arg
        writer.open_scope(key, [name])
        writer.store(ast.Name(name, ast.Store()), text, kind)
        value = writer.value(key.body, wanted)
        writer.close_scope()
        return value
    name = key.id if isinstance(key, ast.Name) else ""
    units, extra = writer.costs[f"f_{name}"]
    writer.spend(2 + units, extra)
    result = writer.inference.results[name]
    call = f"f_{name}(frame, P, {text})"
    return converted(call, result, wanted)


def _leaf(element: object) -> tuple[str, Kind]:
    if isinstance(element, tuple):
        return element
    raise TypeError("A key or reduction needs single elements.")


def bind(writer: Lowering, target: ast.expr, element: object) -> None:
    """Assign what an iterable yields to a loop's target."""
    if isinstance(target, ast.Tuple) and isinstance(element, list):
        for part, one in zip(target.elts, element, strict=True):
            bind(writer, part, one)
    else:
        writer.store(target, *_leaf(element))


def loop(writer: Lowering, node: ast.For) -> None:
    """A `for` statement."""
    walk = iteration(writer, node.iter)
    k = writer.temporary()
    with writer.nested() as body:
        writer.spend(1)
        bind(writer, node.target, walk.at(k))
        writer.statements(node.body)
    writer.place_loop(k, walk.length, body, walk.most)


def over(
    writer: Lowering, node: ast.expr, each: Callable[[str, Kind], None], stop: str = ""
) -> None:
    """Loops of a comprehension or iterable; `each` writes what happens to an element.

    `stop` names a flag that ends all loops once it is true.
    """
    if isinstance(node, Comprehension):
        names = [
            name.id
            for generator in node.generators
            for name in ast.walk(generator.target)
            if isinstance(name, ast.Name)
        ]
        walk = iteration(writer, node.generators[0].iter)
        writer.open_scope(node, names)
        _generator(writer, node, 0, walk, each, stop)
        writer.close_scope()
        return
    walk = iteration(writer, node)
    k = writer.temporary()
    with writer.nested() as body:
        writer.spend(2)
        each(*_leaf(walk.at(k)))
        if stop:
            _break_if(writer, stop)
    writer.place_loop(k, walk.length, body, walk.most)


def _generator(
    writer: Lowering, node: Comprehension, depth: int, walk: Iteration,
    each: Callable[[str, Kind], None], stop: str,
) -> None:  # fmt: skip
    generator = node.generators[depth]
    k = writer.temporary()
    with writer.nested() as body:
        writer.spend(1)
        bind(writer, generator.target, walk.at(k))
        for test in generator.ifs:
            text = writer.truth(test)
            writer.emit(f"if not {text}:")
            writer.block.lines.append(["continue"])
        if depth + 1 < len(node.generators):
            inner = iteration(writer, node.generators[depth + 1].iter)
            _generator(writer, node, depth + 1, inner, each, stop)
        else:
            each(writer.value(node.elt), writer.kind(node.elt))
        if stop:
            _break_if(writer, stop)
    writer.place_loop(k, walk.length, body, walk.most)


def _break_if(writer: Lowering, flag: str) -> None:
    writer.emit(f"if {flag}:")
    writer.block.lines.append(["break"])
    writer.block.stops = True


def total(writer: Lowering, node: ast.Call) -> str:
    """sum(...)."""
    kind = writer.kind(node)
    name = writer.temporary()
    writer.emit(f"{name} = {'0' if kind == INT else '0.0'}")

    def each(text: str, element: Kind) -> None:
        if kind == INT:
            writer.emit(f"{name} = add(frame, {name}, {converted(text, element, INT)})")
        else:
            writer.emit(f"{name} = {name} + {converted(text, element, FLOAT)}")

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
    zero = {BOOL: "", INT: " != 0", FLOAT: " != 0.0"}

    def each(text: str, kind: Kind) -> None:
        test = f"({text}{zero[kind]})"
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
    if "key" in keywords:
        return _keyed(writer, node.args[0], keywords["key"], sign)
    kind = writer.kind(node)
    best, found = writer.temporary(), writer.temporary()
    start = "0" if kind == INT else "0.0"
    if "default" in keywords:
        start = writer.value(keywords["default"], kind)
    writer.emit(f"{best} = {start}")
    writer.emit(f"{found} = False")

    def each(text: str, element: Kind) -> None:
        value = writer.temporary()
        writer.emit(f"{value} = {converted(text, element, kind)}")
        writer.emit(f"if not {found} or {value} {sign} {best}:")
        writer.block.lines.append([f"{best} = {value}", f"{found} = True"])

    over(writer, node.args[0], each)
    if "default" not in keywords:
        writer.emit(f"require(frame, {found}, EMPTY)")
    return best


def _keyed(writer: Lowering, iterable: ast.expr, key: ast.expr, sign: str) -> str:
    walk = iteration(writer, iterable)
    length = writer.saved(walk.length)
    writer.emit(f"require(frame, {length} > 0, EMPTY)")
    row, best, first = writer.temporary(), writer.temporary(), writer.temporary()
    text, _ = _leaf(walk.at("0"))
    writer.emit(f"{row} = {text}")
    writer.emit(f"{best} = 0.0")
    writer.emit(f"{first} = True")
    k, value = writer.temporary(), writer.temporary()
    with writer.nested() as body:
        element, kind = _leaf(walk.at(k))
        candidate = writer.saved(element)
        writer.emit(f"{value} = {_key(writer, key, (candidate, kind), FLOAT)}")
        writer.emit(f"if {first} or {value} {sign} {best}:")
        writer.block.lines.append(
            [f"{row} = {candidate}", f"{best} = {value}", f"{first} = False"]
        )
        writer.spend(2)
    writer.place_loop(k, length, body, walk.most)
    return row


_ITERATORS: dict[str, Callable[[Lowering, ast.Call], Iteration]] = {
    "range": _range, "enumerate": _enumerate, "zip": _zip, "reversed": _reversed,
    "sorted": _sorted,
}  # fmt: skip
