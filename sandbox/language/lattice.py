"""The lattice of kinds: what a value in a policy can be, and how two kinds become one.

A number, a record, rows of a record and floats are plain values. A tuple has a kind for each
part; an optional is a kind or None. A list refers to a `Cell`, which holds the kind of its
elements for every name the list goes by: joining two lists makes one cell of two, so whatever is
appended under one name is known under the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_LEAVES, MAX_KIND_DEPTH = 64, 6
MAX_ORDERED = 6  # numbers of a tuple that is compared


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value.

    Attributes:
        name: which it is.
        record: the record of rows and records.
        parts: kinds of a tuple's parts; of an optional, the one it is when it is not None.
        cell: what the elements of a list are.
    """

    name: str
    record: str = ""
    parts: tuple[Kind, ...] = ()
    cell: Cell | None = field(default=None, hash=False)

    def __str__(self) -> str:
        if self.name == "tuple":
            return f"a tuple of {len(self.parts)}"
        if self.name == "list":
            return f"a list of {_plural(element_of(self))}"
        words = {
            "record": f"a {self.record}", "rows": f"rows of {self.record}", "nothing": "None",
        }  # fmt: skip
        if self.name == "optional":
            return f"{self.parts[0]} or None"
        return words.get(self.name, self.name)


class Cell:
    """What the elements of one list are; cells of lists that meet become one.

    `most` is the most elements such a list has, None when nothing is known; `grows` is true when
    something is appended to it or taken from it; `rows` names the record whose rows may be it.
    """

    __slots__ = ("_element", "_parent", "grows", "most", "rows", "watch")

    def __init__(self, watch: Watch) -> None:
        self._parent: Cell | None = None
        self._element = UNKNOWN
        self.grows = False
        self.most: int | None = 0
        self.rows = ""
        self.watch = watch

    def root(self) -> Cell:
        """The cell that this one has become."""
        cell = self
        while cell._parent is not None:
            cell = cell._parent
        return cell

    @property
    def element(self) -> Kind:
        """Kind of the elements, as far as it is known."""
        return self.root()._element

    def hold(self, kind: Kind) -> bool:
        """Join a kind into the elements; False when it does not go with them."""
        root = self.root()
        after = join(root._element, kind)
        if after == CONFLICT or root in set(_cells(after)) or depth_of(after) > MAX_KIND_DEPTH:
            return False
        if after != root._element:
            root._element = after
            self.watch.changed = True
        return True

    def grow(self) -> None:
        """Note that the list's length changes."""
        root = self.root()
        if not root.grows:
            root.grows, root.most = True, None
            self.watch.changed = True

    def meet(self, other: Cell) -> bool:
        """Become one with another cell; False when their elements do not go together."""
        mine, yours = self.root(), other.root()
        if mine is yours:
            return True
        if not mine.hold(yours._element):
            return False
        if mine in set(_cells(yours._element)) or yours in set(_cells(mine._element)):
            return False
        yours._parent = mine
        mine.rows = mine.rows or yours.rows
        if yours.grows:
            mine.grow()
        self.watch.changed = True
        return True


class Watch:
    """Whether any cell changed since somebody looked."""

    __slots__ = ("changed",)

    def __init__(self) -> None:
        self.changed = False


UNKNOWN = Kind("unknown")  # nothing is known yet: bottom of the lattice
CONFLICT = Kind("conflict")  # kinds that do not go together: top
BOOL, INT, FLOAT = Kind("bool"), Kind("int"), Kind("float")
FLOATS, VECTOR, TABLE = Kind("floats"), Kind("vector"), Kind("table")
NOTHING = Kind("nothing")
PLAN, NEW_PLAN = Kind("record", "Plan"), Kind("record", "NewPlan")  # only the second is written to

_WIDTH = {BOOL: 0, INT: 1, FLOAT: 2}
NUMBERS = frozenset(_WIDTH)
SEQUENCES = frozenset({FLOATS, VECTOR})


def join(a: Kind, b: Kind) -> Kind:
    """The narrowest kind that holds both."""
    if same(a, b) or b == UNKNOWN:
        return a
    if a == UNKNOWN:
        return b
    if CONFLICT in (a, b):
        return CONFLICT
    if a in NUMBERS and b in NUMBERS:
        return a if _WIDTH[a] > _WIDTH[b] else b
    if {a.name, b.name} == {"floats", "vector"}:
        return FLOATS
    if a in (PLAN, NEW_PLAN) and b in (PLAN, NEW_PLAN):
        return PLAN
    if NOTHING in (a, b) or "optional" in (a.name, b.name):
        return optional(join(present(a), present(b)))
    if a.name == b.name == "tuple" and len(a.parts) == len(b.parts):
        return tuple_of([join(x, y) for x, y in zip(a.parts, b.parts, strict=True)])
    return _join_lists(a, b)


def _join_lists(a: Kind, b: Kind) -> Kind:
    if a.name == "rows" and b.name == "list":
        a, b = b, a
    if a.name != "list" or a.cell is None:
        return CONFLICT
    if b.name == "rows":
        fine = a.cell.hold(Kind("record", b.record))
        a.cell.root().rows = b.record
    else:
        fine = b.cell is not None and a.cell.meet(b.cell)
    return a if fine else CONFLICT


def same(a: Kind, b: Kind) -> bool:
    """Are two kinds one and the same, cells that have become one included?"""
    if (a.name, a.record, len(a.parts)) != (b.name, b.record, len(b.parts)):
        return False
    if a.cell is not None and b.cell is not None and a.cell.root() is not b.cell.root():
        return False
    return all(same(x, y) for x, y in zip(a.parts, b.parts, strict=True))


def optional(kind: Kind) -> Kind:
    """That kind or None."""
    if kind in (UNKNOWN, NOTHING):
        return NOTHING
    if kind in (CONFLICT, TABLE) or kind in SEQUENCES or kind.name == "rows":
        return CONFLICT
    return kind if kind.name == "optional" else Kind("optional", parts=(kind,))


def present(kind: Kind) -> Kind:
    """The kind of an optional that is not None; any other kind itself."""
    if kind == NOTHING:
        return UNKNOWN
    return kind.parts[0] if kind.name == "optional" else kind


def tuple_of(parts: list[Kind]) -> Kind:
    """A tuple of these kinds."""
    if CONFLICT in parts:
        return CONFLICT
    kind = Kind("tuple", parts=tuple(parts))
    return CONFLICT if depth_of(kind) > MAX_KIND_DEPTH or leaves_of(kind) > MAX_LEAVES else kind


def list_of(cell: Cell) -> Kind:
    """A list with these elements."""
    return Kind("list", cell=cell)


def element_of(kind: Kind) -> Kind:
    """Kind of a list's elements."""
    return kind.cell.element if kind.cell is not None else UNKNOWN


def all_of(parts: tuple[Kind, ...]) -> Kind:
    """The one kind that holds every part of a tuple; CONFLICT when there is none."""
    found = UNKNOWN
    for part in parts:
        found = join(found, part)
    return found


def is_ordered(kind: Kind) -> bool:
    """Can values of this kind be put in order: numbers, and tuples of such?"""
    if kind.name == "tuple":
        few = 0 < leaves_of(kind) <= MAX_ORDERED
        return few and all(is_ordered(part) for part in kind.parts)
    return kind in NUMBERS or kind == UNKNOWN


def is_element(kind: Kind) -> bool:
    """May a list hold such values?"""
    if kind.name in ("tuple", "optional"):
        return all(is_element(part) for part in kind.parts)
    return kind in NUMBERS | {UNKNOWN, NOTHING} or kind.name in ("record", "list")


def leaves_of(kind: Kind) -> int:
    """How many numbers it takes to keep a value of this kind."""
    own = 1 if kind.name == "optional" or not kind.parts else 0
    return own + sum(leaves_of(part) for part in kind.parts)


def depth_of(kind: Kind) -> int:
    """How deeply kinds are nested in it."""
    inner = [*kind.parts, *([kind.cell.element] if kind.cell is not None else [])]
    return 1 + max((depth_of(part) for part in inner), default=0)


def _cells(kind: Kind) -> Iterator[Cell]:
    if kind.cell is not None:
        yield kind.cell.root()
        yield from _cells(kind.cell.element)
    for part in kind.parts:
        yield from _cells(part)


def _plural(kind: Kind) -> str:
    return f"{kind.record} records" if kind.name == "record" else f"{kind}"


def fits(given: Kind, wanted: Kind) -> bool:
    """May a value of one kind be passed where the other, which is no list, is wanted?"""
    if given in (UNKNOWN, CONFLICT, NOTHING):
        return given in (UNKNOWN, wanted)
    given = present(given)
    if given.name == "list":
        return wanted == FLOATS and element_of(given) in NUMBERS | {UNKNOWN}
    return join(given, wanted) == wanted
