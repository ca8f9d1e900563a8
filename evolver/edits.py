"""Small changes inside one policy: terms, weights, comparisons, fields, guards and hooks.

Every edit changes the draft in place and says what it did, or gives None when the draft has no
place for it.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from evolver.draft import FIELDS, Draft, expression
from evolver.sites import score_sites

T = TypeVar("T")
Edit = Callable[[Draft, random.Random], str | None]

SWAPPED_CALLS = {"max": "min", "min": "max", "floor": "ceil", "ceil": "floor"}


def drop_term(draft: Draft, rng: random.Random) -> str | None:
    """Keep one side of a sum, difference or product."""
    slot = _choose([s for s in _expressions(draft) if _is_joint(s.node)], rng)
    if slot is None or not isinstance(slot.node, ast.BinOp):
        return None
    left, right = slot.node.left, slot.node.right
    keep_left = isinstance(slot.node.op, ast.Sub) or rng.random() < 0.5
    slot.put(left if keep_left else right)
    return f"dropped {ast.unparse(right if keep_left else left)[:40]}"


def swap_comparison(draft: Draft, rng: random.Random) -> str | None:
    """Turn a comparison round, or make it strict or not."""
    swaps: dict[type[ast.cmpop], tuple[type[ast.cmpop], type[ast.cmpop]]] = {
        ast.Lt: (ast.LtE, ast.Gt),
        ast.LtE: (ast.Lt, ast.GtE),
        ast.Gt: (ast.GtE, ast.Lt),
        ast.GtE: (ast.Gt, ast.LtE),
    }
    compares = [n for n in _nodes(draft) if isinstance(n, ast.Compare) and type(n.ops[0]) in swaps]
    node = _choose(compares, rng)
    if node is None:
        return None
    before = ast.unparse(node)
    node.ops[0] = rng.choice(swaps[type(node.ops[0])])()
    return f"{before[:40]} became {ast.unparse(node)[:40]}"


def swap_operator(draft: Draft, rng: random.Random) -> str | None:
    """Plus for minus, max for min, and the like."""
    node = _choose([n for n in _nodes(draft) if _is_sum(n) or _is_swapped_call(n)], rng)
    if node is None:
        return None
    before = ast.unparse(node)
    if isinstance(node, ast.Call):
        node.func = ast.Name(SWAPPED_CALLS[_called(node)], ast.Load())
    elif isinstance(node, ast.BinOp):
        node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
    return f"{before[:40]} became {ast.unparse(node)[:40]}"


def scale(draft: Draft, rng: random.Random) -> str | None:
    """Weigh a part of a score by a new named constant."""
    slot = _choose(_quantities(draft), rng)
    if slot is None:
        return None
    text = ast.unparse(slot.node)
    slot.put(ast.BinOp(draft.add_constant("WEIGHT", 1.0, 0.05, 20.0), ast.Mult(), slot.node))
    return f"weighed {text[:40]}"


def bend(draft: Draft, rng: random.Random) -> str | None:
    """Make a part of a score count less than in proportion, or more."""
    slot = _choose(_quantities(draft), rng)
    if slot is None:
        return None
    text = ast.unparse(slot.node)
    shape = rng.choice(("sqrt(max({0}, 0.0))", "log(1.0 + max({0}, 0.0))", "({0}) * ({0})"))
    slot.put(expression(shape.format(text)))
    return f"bent {text[:40]}"


def swap_field(draft: Draft, rng: random.Random) -> str | None:
    """Read another field of the same record, unit and type."""
    kinds = draft.kinds()
    places: list[tuple[ast.Attribute, list[str]]] = []
    for function, known in kinds.items():
        for node in ast.walk(draft.functions[function]):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                others = _alike(known.get(node.value.id, ""), node.attr)
                if others and isinstance(node.ctx, ast.Load):
                    places.append((node, others))
    if not places:
        return None
    node, others = rng.choice(places)
    before, node.attr = node.attr, rng.choice(others)
    return f"{before} became {node.attr}"


def drop_guard(draft: Draft, rng: random.Random) -> str | None:
    """Remove an `if` without `else`, or keep only its else."""
    places = [
        (block, index)
        for function in draft.functions.values()
        for block in _blocks(function)
        for index, statement in enumerate(block)
        if isinstance(statement, ast.If) and (len(block) > 1 or statement.orelse)
    ]
    if not places:
        return None
    block, index = rng.choice(places)
    statement = block[index]
    if not isinstance(statement, ast.If):
        return None
    block[index : index + 1] = statement.orelse
    return f"dropped: if {ast.unparse(statement.test)[:40]}"


def drop_hook(draft: Draft, rng: random.Random) -> str | None:
    """Leave a hook to the default policy."""
    if len(draft.hooks) < 2:
        return None
    hook = rng.choice(draft.hooks)
    del draft.functions[hook]
    return f"{hook} left to the default"


def _alike(kind: str, name: str) -> list[str]:
    fields = FIELDS.get(kind, {})
    unit = name.rsplit("_", 1)[-1]
    return [
        other
        for other, declared in fields.items()
        if other != name and declared == fields.get(name) and other.rsplit("_", 1)[-1] == unit
    ]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a tree that holds an expression."""

    owner: ast.AST
    field: str
    index: int | None = None

    @property
    def node(self) -> ast.expr:
        """What is there."""
        held = getattr(self.owner, self.field)
        found: ast.expr = held if self.index is None else held[self.index]
        return found

    def put(self, node: ast.expr) -> None:
        """Put something else there."""
        if self.index is None:
            setattr(self.owner, self.field, node)
        else:
            getattr(self.owner, self.field)[self.index] = node


def _expressions(draft: Draft) -> list[Slot]:
    """Every expression inside functions that hooks reach."""
    names = sorted(draft.reachable(set(draft.hooks)) & draft.functions.keys())
    return [slot for name in names for slot in _slots(draft.functions[name])]


def _quantities(draft: Draft) -> list[Slot]:
    """Fields and calls inside scores that are amounts, not flags or names."""
    slots = [slot for site in score_sites(draft) for slot in _slots(site.statement)]
    return [slot for slot in slots if _is_quantity(slot.node)]


def _slots(root: ast.AST) -> Iterator[Slot]:
    for owner in ast.walk(root):
        if isinstance(owner, ast.Attribute):
            continue
        for field, value in ast.iter_fields(owner):
            if field in ("func", "targets", "target", "iter"):
                continue
            if isinstance(value, ast.expr):
                yield Slot(owner, field)
            elif isinstance(value, list):
                places = range(len(value))
                yield from (Slot(owner, field, i) for i in places if isinstance(value[i], ast.expr))


def _nodes(draft: Draft) -> Iterator[ast.AST]:
    for name in sorted(draft.reachable(set(draft.hooks)) & draft.functions.keys()):
        yield from ast.walk(draft.functions[name])


def _blocks(function: ast.FunctionDef) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(function):
        if isinstance(node, ast.FunctionDef | ast.For | ast.If):
            yield node.body
            if isinstance(node, ast.If) and node.orelse:
                yield node.orelse


def _is_sum(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub)


def _is_joint(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult)


def _is_swapped_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _called(node) in SWAPPED_CALLS


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _is_quantity(node: ast.expr) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr not in ("online", "draining", "starting", "id")
    return isinstance(node, ast.Call) and _called(node) != "is_missing"


def _choose(items: Sequence[T], rng: random.Random) -> T | None:
    return rng.choice(items) if items else None
