"""Lowering: a verified function becomes the plain checked code that both engines run.

Names get prefixes (`v_` variables, `c_` constants, `f_` helpers, `h_` hooks, `t_` temporaries),
so nothing a policy calls its variables can meet a name of the engines. Integer arithmetic,
division and indexing become calls of `arithmetic`; comprehensions, keys and iterators become
index loops; every block begins by charging its fuel. To widen the language, teach `inference`
or `calls` the kind of a construct, and this module or `reductions` its plain form.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from sandbox import expressions, reductions
from sandbox.contract import MEMORY_SLOTS
from sandbox.cost import Bounds
from sandbox.inference import Inference
from sandbox.kinds import (
    BOOL,
    FLOAT,
    INT,
    NOTHING,
    PLANNER_HOOKS,
    UNKNOWN,
    Kind,
    constants,
    hooks,
)  # fmt: skip
from sandbox.program import Program
from sandbox.writer import Block, Writer, converted, render


class Lowering(Writer):
    """Lowers one function, as the hook a host calls or as a helper other functions call."""

    def __init__(
        self,
        program: Program,
        inference: Inference,
        name: str,
        as_hook: bool,
        costs: dict[str, tuple[int, int]],
    ) -> None:
        super().__init__()
        self.program = program
        self.inference = inference
        self.name = name
        self.as_hook = as_hook
        self.costs = costs
        self.result = inference.results.get(name, NOTHING)
        self.bounds = Bounds(program.constants, inference.expressions)
        self.capped = _capped(program, name)
        self.assigned = _stored_names(program.functions[name])
        self.used: dict[str, None] = {}
        self._scopes: list[dict[str, str]] = []

    def text(self) -> str:
        """The lowered function; its fuel is then in `costs`."""
        function = self.program.functions[self.name]
        with self.nested() as body:
            self.statements(function.body)
            if self.result == NOTHING:
                self.emit("return 0")
        parameters = ["frame", "P", *(f"v_{argument.arg}" for argument in function.args.args)]
        prefix = "h" if self.as_hook else "f"
        self.costs[f"{prefix}_{self.name}"] = body.units, body.extra
        # A helper's own part is the same every time, and charged where its caller's block begins.
        charged = [f"charge(frame, {body.units})"] if self.as_hook else []
        lines = [*charged, *self._constants(), *body.lines]
        return "\n".join(
            [f"def {prefix}_{self.name}({', '.join(parameters)}):", *render(lines)]
        )

    def _constants(self) -> list[str]:
        places = {name: place for place, name in enumerate(self.program.constants)}
        tunables = self.program.constants
        return [
            f"c_{name} = int(P[{places[name]}])" if tunables[name].integer
            else f"c_{name} = P[{places[name]}]"
            for name in self.used
        ]  # fmt: skip

    def kind(self, node: ast.expr) -> Kind:
        """Kind that the inference found."""
        return self.inference.expressions[node]

    def variable_kind(self, name: str) -> Kind:
        """Kind of a variable, by unique name."""
        return self.inference.variables.get((self.name, name), UNKNOWN)

    def variable(self, name: str) -> str:
        """Unique name of a variable where the lowering stands."""
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return name

    def constant(self, name: str) -> str:
        """Text of a module or contract constant."""
        if name in self.program.constants:
            self.used[name] = None
            return f"c_{name}"
        return "INF" if name == "INF" else str(constants()[name])

    def open_scope(self, node: ast.AST, names: Sequence[str]) -> None:
        """Enter a comprehension or lambda."""
        self._scopes.append({name: self.inference.unique_name(node, name) for name in names})

    def close_scope(self) -> None:
        """Leave it."""
        self._scopes.pop()

    def value(self, node: ast.expr, wanted: Kind | None = None) -> str:
        """Text of an expression, converted to the wanted kind; may emit lines before it."""
        self.spend(1)
        return converted(expressions.lowered(self, node), self.kind(node), wanted)

    def values(self, nodes: Sequence[ast.expr], wanted: Sequence[Kind | None]) -> list[str]:
        """Texts of operands, evaluated from left to right even when some emit lines."""
        texts: list[str] = []
        for node, kind in zip(nodes, wanted, strict=True):
            mark = len(self.block.lines)
            text = self.value(node, kind)
            later = self.block.lines[mark:]
            if later and texts:
                del self.block.lines[mark:]
                texts = [self.saved(earlier) for earlier in texts]
                self.block.lines.extend(later)
            texts.append(text)
        return texts

    def truth(self, node: ast.expr) -> str:
        """Text of a test."""
        text = self.value(node)
        return {BOOL: text, INT: f"({text} != 0)", FLOAT: f"({text} != 0.0)"}[self.kind(node)]

    def statements(self, body: Sequence[ast.stmt]) -> None:
        """Lower a block's statements; what follows a jump is never reached."""
        for statement in body:
            self.spend(1)
            self._statement(statement)
            if isinstance(statement, ast.Return | ast.Break | ast.Continue):
                break

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign):
            self._assign(node)
        elif isinstance(node, ast.AugAssign):
            self._aug_assign(node)
        elif isinstance(node, ast.If):
            self._if(node)
        elif isinstance(node, ast.For):
            reductions.loop(self, node)
        elif isinstance(node, ast.Return):
            self._return(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            self.emit(self.value(node.value))
        elif isinstance(node, ast.Break):
            self.emit("break")
            self.block.stops = True
        elif isinstance(node, ast.Continue):
            self.emit("continue")

    def _assign(self, node: ast.Assign) -> None:
        target = node.targets[0]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            kinds = [self.kind(element) for element in node.value.elts]
            texts = self.values(node.value.elts, [None] * len(kinds))
            names = [self._fresh(text) for text in texts]
            for part, name, kind in zip(target.elts, names, kinds, strict=True):
                self.store(part, name, kind)
            return
        kind, text = self.kind(node.value), self.value(node.value)
        if len(node.targets) > 1:
            text = self._fresh(text)
        for one in node.targets:
            self.store(one, text, kind)

    def _fresh(self, text: str) -> str:
        """A temporary that later assignments cannot change."""
        name = self.temporary()
        self.emit(f"{name} = {text}")
        return name

    def store(self, target: ast.expr, text: str, kind: Kind) -> None:
        """Assign a value to a variable or a place in an array."""
        if isinstance(target, ast.Name):
            name = self.variable(target.id)
            self.emit(f"v_{name} = {converted(text, kind, self.variable_kind(name))}")
        elif isinstance(target, ast.Subscript):
            text = self._fresh(text) if "(" in text else text
            self.put(*self.place(target), converted(text, kind, FLOAT))

    def place(self, node: ast.Subscript) -> tuple[str, list[str]]:
        """An array and its indices, each a name or a number."""
        index = node.slice
        parts = index.elts if isinstance(index, ast.Tuple) else [index]
        owner = self.saved(self.value(node.value))
        texts = self.values(parts, [INT] * len(parts))
        return owner, [self.saved(text) for text in texts]

    def item(self, owner: str, indices: list[str]) -> str:
        """Text that reads an array's float."""
        if self._is_slot(owner, indices):
            return f"{owner}[{indices[0]}]"
        function = "pick" if len(indices) == 1 else "cell"
        return f"{function}(frame, {', '.join([owner, *indices])})"

    def _is_slot(self, owner: str, indices: list[str]) -> bool:
        """Is this a slot of a hook's memory that is surely there?"""
        memory = self.as_hook and owner == "v_memory" and "memory" not in self.assigned
        return memory and indices[0].isdigit() and int(indices[0]) < MEMORY_SLOTS

    def put(self, owner: str, indices: list[str], text: str) -> None:
        """Store into an array."""
        if self._is_slot(owner, indices):
            self.emit(f"{owner}[{indices[0]}] = {text}")
            return
        function = "put" if len(indices) == 1 else "put_cell"
        self.emit(f"{function}(frame, {', '.join([owner, *indices, text])})")

    def _aug_assign(self, node: ast.AugAssign) -> None:
        left, right = self.kind_of_target(node.target), self.kind(node.value)
        if isinstance(node.target, ast.Subscript):
            owner, indices = self.place(node.target)
            old = self._fresh(self.item(owner, indices))
            text, kind = expressions.arithmetic(
                self, node.op, (old, left), (self.value(node.value), right)
            )
            self.put(owner, indices, converted(text, kind, FLOAT))
            return
        assert_name = node.target
        if isinstance(assert_name, ast.Name):
            old = f"v_{self.variable(assert_name.id)}"
            text, kind = expressions.arithmetic(
                self, node.op, (old, left), (self.value(node.value), right)
            )
            self.store(assert_name, text, kind)

    def kind_of_target(self, target: ast.expr) -> Kind:
        """Kind of what an augmented assignment reads."""
        if isinstance(target, ast.Name):
            return self.variable_kind(self.variable(target.id))
        return FLOAT

    def _if(self, node: ast.If) -> None:
        test = self.truth(node.test)
        with self.nested() as body:
            self.statements(node.body)
        with self.nested() as orelse:
            self.statements(node.orelse)
        self.place_branches(test, body, orelse)

    def _return(self, node: ast.Return) -> None:
        self.block.leaves = True
        if node.value is None or self.result == NOTHING:
            self.emit("return 0")
            return
        text = self.value(node.value, self.result)
        give = {INT: "give_int", FLOAT: "give", BOOL: "give_flag"}
        given = f"{give[self.result]}(frame, {text})" if self.as_hook else text
        self.emit(f"return {given}")


def lower(program: Program, inference: Inference) -> tuple[str, dict[str, int]]:
    """Lowered text of all functions, callees first, and the worst-case fuel of each hook."""
    costs: dict[str, tuple[int, int]] = {}
    texts = []
    called = {name for calls in program.calls.values() for name in calls}
    for name in program.order:
        if name not in hooks() or name in called:
            texts.append(Lowering(program, inference, name, False, costs).text())
        if name in hooks():
            texts.append(Lowering(program, inference, name, True, costs).text())
    worst = {name: sum(costs[f"h_{name}"]) for name in program.hooks}
    return "\n\n".join(texts) + "\n", worst


def _capped(program: Program, name: str) -> bool:
    """Does a hook with a static cost limit reach this function?"""
    return any(
        name in program.reached_from(hook) for hook in program.hooks if hook not in PLANNER_HOOKS
    )


def _stored_names(function: ast.FunctionDef) -> set[str]:
    return {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


__all__ = ["Block", "Lowering", "lower"]
