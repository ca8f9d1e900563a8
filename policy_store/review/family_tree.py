"""A family of versions laid out as a picture: generations from left to right, lines between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from policy_store.lineage import Family
from policy_store.records import PolicyVersion

WIDTH, HEIGHT, ACROSS, DOWN, EDGE = 172, 46, 44, 12, 6
LONGEST = 20  # characters of a name in a box


@dataclass(frozen=True, slots=True)
class Box:
    """One version; `x` and `y` are of its upper left corner."""

    version: PolicyVersion
    depth: int
    x: float
    y: float

    @property
    def name(self) -> str:
        """Its name, as much of it as there is room for."""
        name = self.version.name
        return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


@dataclass(frozen=True, slots=True)
class Tree:
    """Boxes, and the lines between them as SVG paths; `main` are those of first parents."""

    boxes: tuple[Box, ...]
    main: tuple[str, ...]
    others: tuple[str, ...]
    width: float
    height: float


def tree_of(family: Family) -> Tree:
    """The picture of a family."""
    generation = _generations(family)
    columns = _columns(family, generation)
    tallest = max(len(column) for column in columns.values())
    first = min(columns)
    places: dict[str, tuple[float, float]] = {}
    for depth, column in columns.items():
        for place, digest in enumerate(column):
            x = EDGE + (depth - first) * (WIDTH + ACROSS)
            places[digest] = x, EDGE + place * (HEIGHT + DOWN)
    boxes = tuple(
        Box(family.versions[digest], generation[digest], *at) for digest, at in places.items()
    )
    main, others = list[str](), list[str]()
    for parent, child in family.edges:
        line = _line(places[parent], places[child])
        (main if family.versions[child].parents[0] == parent else others).append(line)
    width = 2 * EDGE + len(columns) * WIDTH + (len(columns) - 1) * ACROSS
    height = 2 * EDGE + tallest * (HEIGHT + DOWN) - DOWN
    return Tree(boxes, tuple(main), tuple(others), width, height)


def _generations(family: Family) -> dict[str, int]:
    """A column for each version, right of all its parents; 0 for the version asked for."""
    found = dict.fromkeys(family.versions, 0)
    for _ in found:  # no line of ancestors is longer
        before = dict(found)
        for parent, child in family.edges:
            found[child] = max(found[child], found[parent] + 1)
        if found == before:
            break
    return {digest: one - found[family.root] for digest, one in found.items()}


def _columns(family: Family, generation: Mapping[str, int]) -> dict[int, list[str]]:
    """Digests by generation, each near those that it is related to in the generation before."""
    columns: dict[int, list[str]] = defaultdict(list)
    for digest in sorted(family.versions, key=lambda one: family.versions[one].created_at):
        columns[generation[digest]].append(digest)
    near: dict[str, list[str]] = defaultdict(list)
    for parent, child in family.edges:
        near[parent].append(child)
        near[child].append(parent)
    # Outwards from the version asked for, so that its own line stays straight.
    for step in (1, -1):
        depth = step
        while depth in columns:
            at = {digest: place for place, digest in enumerate(columns[depth - step])}
            columns[depth].sort(key=lambda one, at=at: _middle(near[one], at))  # type: ignore[misc]  # a default binds it
            depth += step
    return dict(sorted(columns.items()))


def _middle(relatives: list[str], at: Mapping[str, int]) -> float:
    places = [at[one] for one in relatives if one in at]
    return sum(places) / len(places) if places else len(at)


def _line(parent: tuple[float, float], child: tuple[float, float]) -> str:
    """From the right edge of one box to the left edge of the other."""
    x0, y0 = parent[0] + WIDTH, parent[1] + HEIGHT / 2
    x1, y1 = child[0], child[1] + HEIGHT / 2
    bend = max(abs(x1 - x0) / 2, ACROSS / 2)
    bow = HEIGHT if x1 - x0 > ACROSS else 0  # a line over a generation goes under its boxes
    return f"M{x0:g} {y0:g}C{x0 + bend:g} {y0 + bow:g} {x1 - bend:g} {y1 + bow:g} {x1:g} {y1:g}"
