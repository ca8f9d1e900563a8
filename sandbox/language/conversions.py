"""How lowered code holds tuples, optionals and lists, and how a value becomes another kind.

A tuple is a tuple of words, an optional a pair of a flag and a word; in both, as in lists, a row
is the word that `ref` gives. A value is widened where it is stored, never where it is made; where
a value is needed and an optional given, lowered code checks the flag and stops the policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.language import cost
from sandbox.language.kinds import (
    BOOL,
    FLOAT,
    FLOATS,
    INT,
    NOTHING,
    NUMBERS,
    UNKNOWN,
    Kind,
    hooks,
)  # fmt: skip
from sandbox.language.lattice import element_of, leaves_of, same

if TYPE_CHECKING:
    from sandbox.language.lowering import Lowering


def converted(writer: Lowering, text: str, kind: Kind, wanted: Kind | None) -> str:
    """Text of a value as another kind; may emit lines before it."""
    if wanted is None or wanted == UNKNOWN or same(kind, wanted):
        return text
    if kind in NUMBERS and wanted in NUMBERS:
        return number(text, kind, wanted)
    if wanted.name == "optional":
        return _as_optional(writer, text, kind, wanted.parts[0])
    if kind.name == "optional":
        held = writer.saved(text)
        writer.emit(f"require(frame, {held}[0], NO_VALUE)")
        return converted(writer, unpacked(f"{held}[1]", kind.parts[0]), kind.parts[0], wanted)
    if kind.name == wanted.name == "tuple":
        held = writer.saved(text)
        parts = [
            converted(writer, part_of(held, kind, place), kind.parts[place], wanted.parts[place])
            for place in range(len(wanted.parts))
        ]
        return tuple_text(parts, wanted.parts)
    if wanted.name == "list" and kind.name == "rows":
        return writer.listed(text, kind, wanted)
    if kind.name == "list" and wanted == FLOATS:
        return writer.floats(text, kind)
    return text


def widen_parameters(writer: Lowering) -> None:
    """Make of a hook's parameters what its own assignments to them make of those variables.

    A helper is called with what its variables hold. A host gives rows and records, where a hook
    may go on to assign a list or None.
    """
    for name, given in hooks()[writer.name].parameters if writer.as_hook else ():
        argument = f"v_{name}"
        text = converted(writer, argument, given, writer.variable_kind(name))
        if text != argument:
            writer.emit(f"{argument} = {text}")


def number(text: str, kind: Kind, wanted: Kind) -> str:
    """Text of a number as another kind: bool widens to int, int to float."""
    if kind == wanted or wanted not in (INT, FLOAT):
        return text
    if wanted == INT:
        return f"int({text})"
    # The compiler knows no float of a bool.
    return f"float(int({text}))" if kind == BOOL else f"float({text})"


def _as_optional(writer: Lowering, text: str, kind: Kind, inner: Kind) -> str:
    if kind == NOTHING:
        return f"(False, {default(inner)})"
    if kind.name != "optional":
        return f"(True, {packed(converted(writer, text, kind, inner), inner)})"
    held, given = writer.saved(text), kind.parts[0]
    value = converted(writer, unpacked(f"{held}[1]", given), given, inner)
    return f"({held}[0], {packed(value, inner)})"


def default(kind: Kind) -> str:
    """A word that stands for no value of a kind, and is never read."""
    if kind.name == "optional":
        return f"(False, {default(kind.parts[0])})"
    if kind.name == "tuple":
        return tuple_text([default(part) for part in kind.parts], (INT,) * len(kind.parts))
    return {"float": "0.0", "bool": "False"}.get(kind.name, "0")


def nobody(kind: Kind) -> str:
    """A value of a kind to begin with, which is never read."""
    return unpacked(default(kind), kind)


def packed(text: str, kind: Kind) -> str:
    """A value as it is kept in a tuple or list."""
    return f"ref({text})" if kind.name == "record" else text


def unpacked(text: str, kind: Kind) -> str:
    """What was kept in a tuple or list."""
    if kind.name == "record":
        return f"row_of_{kind.record.removeprefix('New')}(frame, {text})"
    return text


def tuple_text(texts: list[str], kinds: tuple[Kind, ...]) -> str:
    """A tuple of values."""
    parts = [packed(text, kind) for text, kind in zip(texts, kinds, strict=True)]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def part_of(held: str, kind: Kind, place: int) -> str:
    """A part of a tuple; `held` is its name."""
    return unpacked(f"{held}[{place}]", kind.parts[place])


def truth_of(writer: Lowering, text: str, kind: Kind) -> str:
    """Text of whether a value counts as true."""
    if kind == NOTHING:
        return "False"
    if kind.name == "optional":
        held, inner = writer.saved(text), kind.parts[0]
        if inner.name in ("record", "tuple"):
            return f"{held}[0]"
        return f"({held}[0] and {truth_of(writer, f'{held}[1]', inner)})"
    if kind.name == "list":
        return f"(size(frame, {text}) > 0)"
    if kind not in NUMBERS:
        return f"(len({text}) > 0)"
    return {BOOL: text, INT: f"({text} != 0)", FLOAT: f"({text} != 0.0)"}[kind]


def less(writer: Lowering, a: str, sign: str, b: str, kind: Kind) -> str:
    """`a sign b` of two values of one ordered kind, tuples part by part."""
    if kind.name != "tuple":
        return f"{a} {sign} {b}"
    held, other = writer.saved(a), writer.saved(b)
    last = len(kind.parts) - 1
    strict = sign.rstrip("=")
    text = ""
    for place in range(last, -1, -1):
        x, y = part_of(held, kind, place), part_of(other, kind, place)
        inner = kind.parts[place]
        if place == last:
            text = f"({less(writer, x, sign, y, inner)})"
        else:
            differs = f"(not {equal(writer, x, y, inner)})"
            text = f"({less(writer, x, strict, y, inner)} if {differs} else {text})"
    return text


def equal(writer: Lowering, a: str, b: str, kind: Kind) -> str:
    """`a == b` of two values of one ordered kind."""
    if kind.name != "tuple":
        return f"({a} == {b})"
    held, other = writer.saved(a), writer.saved(b)
    parts = [
        equal(writer, part_of(held, kind, place), part_of(other, kind, place), inner)
        for place, inner in enumerate(kind.parts)
    ]
    return f"({' and '.join(parts)})"


def components(held: str, kind: Kind) -> list[str]:
    """The numbers of a number or tuple, most significant first; `held` is its name."""
    if kind.name != "tuple":
        return [number(held, kind, FLOAT)]
    found = []
    for place, inner in enumerate(kind.parts):
        found += components(f"{held}[{place}]", inner)
    return found


def new_list(writer: Lowering, kind: Kind, room: str = "0", most: int = 0) -> str:
    """The name of an empty list, with room for some elements."""
    width = leaves_of(element_of(kind))
    writer.spend(1, cost.scratch_cost(3 + most * width))
    return writer.saved(f"fresh(frame, {room}, {width})")


def push(writer: Lowering, held: str, kind: Kind, text: str, given: Kind) -> None:
    """Append a value to a list."""
    element = element_of(kind)
    width = leaves_of(element)
    value = writer.saved(packed(converted(writer, text, given, element), element))
    writer.spend(4 + 3 * width)
    place = f"grown(frame, {held}, {width})"
    if element.parts:
        place = writer.saved(place)
    set_words(writer, place, value, element)


def set_words(writer: Lowering, place: str, value: str, kind: Kind, offset: int = 0) -> int:
    """Put a packed value where a list keeps it; how many words it took."""
    where = f"{place} + {offset}" if offset else place
    if not kind.parts:
        function = "store_float" if kind == FLOAT else "store_int"
        writer.emit(f"{function}(frame, {where}, {f'int({value})' if kind == BOOL else value})")
        return 1
    taken = 0
    if kind.name == "optional":
        writer.emit(f"store_int(frame, {where}, int({value}[0]))")
        return 1 + set_words(writer, place, f"{value}[1]", kind.parts[0], offset + 1)
    for number, part in enumerate(kind.parts):
        taken += set_words(writer, place, f"{value}[{number}]", part, offset + taken)
    return taken


def words(place: str, kind: Kind, offset: int = 0) -> str:
    """Text of the packed value that a list keeps at a place."""
    where = f"{place} + {offset}" if offset else place
    if kind.name == "optional":
        flag = f"(load_int(frame, {where}) != 0)"
        return f"({flag}, {words(place, kind.parts[0], offset + 1)})"
    if kind.name == "tuple":
        texts = []
        for part in kind.parts:
            texts.append(words(place, part, offset))
            offset += leaves_of(part)
        return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"
    if kind == FLOAT:
        return f"load_float(frame, {where})"
    return f"(load_int(frame, {where}) != 0)" if kind == BOOL else f"load_int(frame, {where})"


def item(writer: Lowering, held: str, kind: Kind, index: str) -> str:
    """Text of an element of a list, checked to be there."""
    element = element_of(kind)
    place = f"at(frame, {held}, {index}, {leaves_of(element)})"
    writer.spend(leaves_of(element))
    if element.parts:
        place = writer.saved(place)
    return unpacked(words(place, element), element)


