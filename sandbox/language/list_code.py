"""Lowering of lists: making, slicing, sorting and changing them."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from sandbox.language import cost, reductions
from sandbox.language.conversions import (
    converted,
    item,
    new_list,
    packed,
    push,
    set_words,
    unpacked,
    words,
)  # fmt: skip
from sandbox.language.kinds import INT, Kind, join
from sandbox.language.lattice import element_of, leaves_of, present, same
from sandbox.language.operators import place_of
from sandbox.language.reductions import collected, ranked
from sandbox.language.walks import Walk, along, held, leaf

if TYPE_CHECKING:
    from sandbox.language.lowering import Lowering


def literal(writer: Lowering, node: ast.List) -> str:
    """[a, b, c]."""
    kind = writer.kind(node)
    texts = writer.values(node.elts, [element_of(kind)] * len(node.elts))
    texts = [writer.saved(text) for text in texts]
    made = new_list(writer, kind, str(len(texts)), len(texts))
    for text in texts:
        push(writer, made, kind, text, element_of(kind))
    return made


def comprehension(writer: Lowering, node: ast.ListComp) -> str:
    """[... for ...] that is kept."""
    return collected(writer, node, writer.kind(node))[0]


def as_list(writer: Lowering, node: ast.Call) -> str:
    """list(...)."""
    kind = writer.kind(node)
    return collected(writer, node.args[0], kind)[0] if node.args else new_list(writer, kind)


def sorted_list(writer: Lowering, node: ast.Call) -> str:
    """sorted(...) that is kept."""
    kind = writer.kind(node)
    made, most = collected(writer, node.args[0], kind)
    sort(writer, made, kind, node, most)
    return made


def sort(writer: Lowering, xs: str, kind: Kind, node: ast.Call, most: int) -> None:
    """Put a list in the order that a call's key and reverse say."""
    length = writer.saved(f"size(frame, {xs})")
    ranks = ranked(
        writer, length, most, lambda k: (item(writer, xs, kind, k), element_of(kind)), node
    )
    width = leaves_of(element_of(kind))
    if kind.cell is not None and kind.cell.root().grows:
        writer.emit(f"require(frame, size(frame, {xs}) == {length}, NO_VALUE)")
    writer.emit(f"arranged_by(frame, {xs}, {ranks}, {width})")
    writer.spend(2 + width, _moving(most, width))


def sliced(writer: Lowering, node: ast.Subscript, bounds: ast.Slice) -> str:
    """xs[a:b] and xs[::-1]."""
    kind = writer.kind(node)
    given = writer.present(node.value)
    owner = writer.saved(writer.value(node.value, given))
    ends = [bound for bound in (bounds.lower, bounds.upper) if bound is not None]
    texts = iter([writer.saved(text) for text in writer.values(ends, [INT] * len(ends))])
    walk = along(writer, owner, given, writer.bounds.length(node.value))
    count = writer.saved(walk.length)
    low = writer.saved(f"within({next(texts)}, {count})") if bounds.lower else "0"
    high = writer.saved(f"within({next(texts)}, {count})") if bounds.upper else count
    length, place = count, "({} + {})".format
    if bounds.step is not None:
        low, place = count, "({0} - 1 - {1})".format
    elif low != "0":
        length = writer.saved(f"max2(0, {high} - {low})")
    else:
        length = high
    bound = writer.bounds.cut(node, walk.most)
    most = walk.most if bound is None else bound
    made = new_list(writer, kind, length, most)
    k = writer.temporary()
    with writer.nested() as body:
        at = k if low == "0" else place(low, k)
        push(writer, made, kind, *leaf(walk.at(at)))
    writer.place_loop(k, length, body, most)
    writer.spend(4)
    return made


def added(writer: Lowering, node: ast.BinOp) -> str:
    """xs + ys."""
    kind = writer.kind(node)
    kinds = [writer.present(side) for side in (node.left, node.right)]
    texts = [writer.saved(text) for text in writer.values([node.left, node.right], kinds)]
    walks = [
        along(writer, text, given, writer.bounds.length(side))
        for text, given, side in zip(texts, kinds, (node.left, node.right), strict=True)
    ]
    lengths = [writer.saved(walk.length) for walk in walks]
    most = sum(walk.most for walk in walks)
    made = new_list(writer, kind, f"{lengths[0]} + {lengths[1]}", most)
    for walk, length in zip(walks, lengths, strict=True):
        _append_all(writer, made, kind, walk, length)
    return made


def _append_all(
    writer: Lowering, made: str, kind: Kind, walk: Walk, length: str
) -> None:
    k = writer.temporary()
    with writer.nested() as body:
        writer.spend(1)
        push(writer, made, kind, *leaf(walk.at(k)))
    writer.place_loop(k, length, body, walk.most)


def repeated(writer: Lowering, node: ast.BinOp) -> str:
    """[x] * n."""
    kind = writer.kind(node)
    first = writer.kind(node.left).name == "list"
    source, times = (node.left, node.right) if first else (node.right, node.left)
    sides = writer.values([node.left, node.right], [None, INT] if first else [INT, None])
    texts = [writer.saved(text) for text in sides]
    xs, number = texts if first else reversed(texts)
    bound = writer.bounds.interval(times)[1]
    length, most = held(writer, f"max2(0, {number})", bound)
    length = writer.saved(length)
    walk = along(writer, xs, writer.kind(source), writer.bounds.length(source))
    inner = writer.saved(walk.length)
    made = new_list(writer, kind, f"mul(frame, {length}, {inner})", most * walk.most)
    k = writer.temporary()
    with writer.nested() as body:
        _append_all(writer, made, kind, walk, inner)
    writer.place_loop(k, length, body, most)
    return made


def method(writer: Lowering, node: ast.Call) -> str:
    """xs.method(...)."""
    function = node.func
    if not isinstance(function, ast.Attribute):
        raise TypeError("A method is an attribute that is called.")
    kind = writer.present(function.value)
    if function.attr in _CHANGES:
        owner, *texts = _receiver(writer, node, function, kind)
        return _CHANGES[function.attr](writer, owner, kind, texts, node)
    owner = writer.saved(writer.value(function.value, kind))
    return _METHODS[function.attr](writer, owner, kind, node)


def _receiver(
    writer: Lowering, node: ast.Call, function: ast.Attribute, kind: Kind
) -> list[str]:
    """The list and the values of a call, in the order they are written."""
    wanted: list[Kind | None] = [INT] * len(node.args)
    if function.attr in ("append", "insert"):
        wanted[-1] = element_of(kind)
    texts = writer.values([function.value, *node.args], [kind, *wanted])
    return [writer.saved(text) for text in texts]


def _append(writer: Lowering, xs: str, kind: Kind, texts: list[str], _node: ast.Call) -> str:
    push(writer, xs, kind, texts[0], element_of(kind))
    return "0"


def _insert(writer: Lowering, xs: str, kind: Kind, texts: list[str], _node: ast.Call) -> str:
    element = element_of(kind)
    width = leaves_of(element)
    value = writer.saved(packed(texts[1], element))
    _limit(writer, xs)
    place = writer.saved(f"opened(frame, {xs}, {texts[0]}, {width})")
    set_words(writer, place, value, element)
    writer.spend(6 + 3 * width, cost.UNKNOWN_TURNS * width)
    return "0"


def _pop(writer: Lowering, xs: str, kind: Kind, texts: list[str], node: ast.Call) -> str:
    element = element_of(kind)
    width = leaves_of(element)
    last = not texts
    index = writer.saved(f"size(frame, {xs}) - 1") if last else texts[0]
    if not last and place_of(node.args[0]) is not None and (place_of(node.args[0]) or 0) < 0:
        index = writer.saved(f"size(frame, {xs}) - {-(place_of(node.args[0]) or 0)}")
    place = writer.saved(f"at(frame, {xs}, {index}, {width})")
    value = writer.saved(words(place, element))
    if not last:
        _limit(writer, xs)
    writer.emit(f"closed(frame, {xs}, {index}, {width})")
    writer.spend(4 + width, 0 if last else cost.UNKNOWN_TURNS * width)
    return unpacked(value, element)


def _limit(writer: Lowering, xs: str) -> None:
    """Hold a list that is moved to what the static cost counts."""
    if writer.capped:
        writer.emit(f"bounded(frame, size(frame, {xs}), {cost.UNKNOWN_TURNS})")


def _clear(writer: Lowering, xs: str, _kind: Kind, _texts: list[str], _node: ast.Call) -> str:
    writer.emit(f"emptied(frame, {xs})")
    return "0"


def extend(writer: Lowering, xs: str, kind: Kind, more: ast.expr) -> None:
    """xs.extend(more) and xs += more."""
    owner = writer.saved(xs)
    if not isinstance(more, ast.GeneratorExp) and _reads_itself(writer, more, kind):
        made, most = collected(writer, more, kind)
        walk = along(writer, made, kind, most)
        _append_all(writer, owner, kind, walk, writer.saved(walk.length))
        return
    reductions.over(writer, more, lambda text, given: push(writer, owner, kind, text, given))


def _reads_itself(writer: Lowering, more: ast.expr, kind: Kind) -> bool:
    """May what a list is extended by come out of that list? Python takes it all before."""
    kinds = writer.inference.expressions
    return any(
        isinstance(node, ast.expr) and node in kinds and same(kinds[node], kind)
        for node in ast.walk(more)
    )


def _extend(writer: Lowering, xs: str, kind: Kind, node: ast.Call) -> str:
    extend(writer, xs, kind, node.args[0])
    return "0"


def _sort(writer: Lowering, xs: str, kind: Kind, node: ast.Call) -> str:
    _, most = held(
        writer, f"size(frame, {xs})", writer.bounds.of_kind(kind)
    )
    sort(writer, xs, kind, node, most)
    return "0"


def _reverse(writer: Lowering, xs: str, kind: Kind, _node: ast.Call) -> str:
    length, most = held(
        writer, f"size(frame, {xs})", writer.bounds.of_kind(kind)
    )
    length = writer.saved(length)
    ranks = writer.saved(f"vector(frame, {length})")
    k = writer.temporary()
    with writer.nested() as body:
        writer.emit(f"put(frame, {ranks}, {k}, float({length} - 1 - {k}))")
        writer.spend(2)
    writer.place_loop(k, length, body, most)
    width = leaves_of(element_of(kind))
    writer.emit(f"arranged_by(frame, {xs}, {ranks}, {width})")
    writer.spend(3 + width, _moving(most, width))
    return "0"


def _moving(most: int, width: int) -> int:
    return cost.scratch_cost(most) + cost.scratch_cost(most * width) + most * width


def _index(writer: Lowering, xs: str, kind: Kind, node: ast.Call) -> str:
    place = writer.temporary()
    writer.emit(f"{place} = -1")
    _seek_value(writer, xs, kind, node.args[0], lambda k: [f"{place} = {k}", "break"])
    writer.emit(f"require(frame, {place} >= 0, EMPTY)")
    return place


def _count(writer: Lowering, xs: str, kind: Kind, node: ast.Call) -> str:
    number = writer.temporary()
    writer.emit(f"{number} = 0")
    _seek_value(writer, xs, kind, node.args[0], lambda _: [f"{number} = {number} + 1"])
    return number


def _seek_value(
    writer: Lowering, xs: str, kind: Kind, value: ast.expr, found: Callable[[str], list[str]]
) -> None:
    given = writer.present(value)
    subject = writer.saved(writer.value(value, given))
    seek(writer, along(writer, xs, kind, None), subject, given, found)


def seek(
    writer: Lowering, walk: Walk, subject: str, given: Kind, found: Callable[[str], list[str]]
) -> None:
    """A loop over numbers that runs these lines where one equals the subject, a name."""
    k = writer.temporary()
    length = writer.saved(walk.length)
    with writer.nested() as body:
        text, kind = leaf(walk.at(k))
        whole = join(given, present(kind))
        one = writer.saved(converted(writer, text, kind, whole))
        writer.emit(f"if {one} == {converted(writer, subject, given, whole)}:")
        writer.block.lines.append(found(k))
        writer.block.stops = "break" in found(k)
        writer.spend(3)
    writer.place_loop(k, length, body, walk.most)


def _copy(writer: Lowering, _xs: str, _kind: Kind, node: ast.Call) -> str:
    function = node.func
    owner = function.value if isinstance(function, ast.Attribute) else node
    return collected(writer, owner, writer.kind(node))[0]


_CHANGES: dict[str, Callable[[Lowering, str, Kind, list[str], ast.Call], str]] = {
    "append": _append, "insert": _insert, "pop": _pop, "clear": _clear,
}  # fmt: skip
_METHODS: dict[str, Callable[[Lowering, str, Kind, ast.Call], str]] = {
    "extend": _extend, "sort": _sort, "reverse": _reverse, "index": _index, "count": _count,
    "copy": _copy,
}  # fmt: skip
