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

from sandbox.contract import MEMORY_SLOTS
from sandbox.language import (  # fmt: skip
    comparisons,
    conversions,
    expressions,
    iterables,
    list_code,
    operators,
    reductions,
    walks,
)
from sandbox.language.inference import Inference
from sandbox.language.kinds import (
    BOOL,
    FLOAT,
    INT,
    NOTHING,
    TABLE,
    UNKNOWN,
    Kind,
    constants,
    hooks,
)  # fmt: skip
from sandbox.language.lattice import element_of, leaves_of, present
from sandbox.language.lengths import Bounds
from sandbox.language.program import Program, stored_names
from sandbox.language.writer import Block, Writer, render


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
        self.bounds = Bounds(program, inference.expressions, name)
        self.capped = program.is_capped(name)
        self.assigned = stored_names(program.functions[name])
        self.used: dict[str, None] = {}
        self._scopes: list[dict[str, str]] = []
        self._loops: list[str] = []

    def text(self) -> str:
        """The lowered function; its fuel is then in `costs`."""
        function = self.program.functions[self.name]
        with self.nested() as body:
            self.statements(function.body)
            if self.result == NOTHING or self.result.name == "optional":
                self.emit(f"return {conversions.default(self.result)}")
        with self.nested() as head:
            conversions.widen_parameters(self)
            self._derived()
        parameters = ["frame", "P", *(f"v_{argument.arg}" for argument in function.args.args)]
        prefix = "h" if self.as_hook else "f"
        units = head.units + body.units
        self.costs[f"{prefix}_{self.name}"] = units, head.extra + body.extra
        # A helper's own part is the same every time, and charged where its caller's block begins.
        charged = [f"charge(frame, {units})"] if self.as_hook else []
        lines = [*charged, *self._constants(), *head.lines, *body.lines]
        return "\n".join(
            [f"def {prefix}_{self.name}({', '.join(parameters)}):", *render(lines)]
        )

    def _constants(self) -> list[str]:
        places = {name: place for place, name in enumerate(self.program.constants)}
        tunables = self.program.constants
        return [
            f"c_{name} = int(P[{places[name]}])" if tunables[name].integer
            else f"c_{name} = P[{places[name]}]"
            for name in self.used if name in tunables
        ]  # fmt: skip

    def _derived(self) -> None:
        """Compute the tables and derived constants that are used, each after what it reads."""
        names = {name for name in self.used if name in self.program.derived}
        for name in reversed(self.program.derived):
            if name in names:
                names |= {
                    node.id
                    for node in ast.walk(self.program.derived[name])
                    if isinstance(node, ast.Name) and node.id in self.program.derived
                }
        for name in [one for one in self.program.derived if one in names]:
            self.emit(f"c_{name} = {self.value(self.program.derived[name])}")

    def kind(self, node: ast.expr) -> Kind:
        """Kind that the inference found."""
        return self.inference.expressions[node]

    def present(self, node: ast.expr) -> Kind:
        """The same, of what it is when it is not None."""
        return present(self.kind(node))

    def listed(self, text: str, kind: Kind, wanted: Kind) -> str:
        """Rows copied into a list."""
        return walks.listed(self, text, kind, wanted)

    def floats(self, text: str, kind: Kind) -> str:
        """The numbers of a list in an array."""
        return walks.floats(self, text, kind)

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
        if name in self.program.constants or name in self.program.derived:
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
        text = expressions.lowered(self, node)
        return conversions.converted(self, text, self.kind(node), wanted)

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
        if isinstance(node, ast.BoolOp):
            return comparisons.both(self, node)
        text = self.value(node)
        return conversions.truth_of(self, text, self.kind(node))

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
            text = self.value(node.value)
            if "(" in text:
                self.emit(text)
        elif isinstance(node, ast.Break):
            if self._loops[-1]:
                self.emit(f"{self._loops[-1]} = False")
            self.emit("break")
            self.block.stops = True
        elif isinstance(node, ast.Continue):
            self.emit("continue")

    def _assign(self, node: ast.Assign) -> None:
        target = node.targets[0]
        pairs = iterables.paired(target, node.value) if len(node.targets) == 1 else []
        if pairs:
            kinds = [self.kind(element) for _, element in pairs]
            texts = self.values([element for _, element in pairs], [None] * len(kinds))
            names = [self._fresh(text) for text in texts]
            for (part, _), name, kind in zip(pairs, names, kinds, strict=True):
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
            wanted = self.variable_kind(name)
            self.emit(f"v_{name} = {conversions.converted(self, text, kind, wanted)}")
        elif isinstance(target, ast.Tuple):
            self._store_parts(target, text, kind)
        elif isinstance(target, ast.Subscript):
            text = self._fresh(text) if "(" in text else text
            self._store_item(target, text, kind)

    def _store_parts(self, target: ast.Tuple, text: str, kind: Kind) -> None:
        """`a, b = pair`: every part is read before the first is stored."""
        whole = present(kind)
        held = self._fresh(conversions.converted(self, text, kind, whole))
        for place, (part, one) in enumerate(zip(target.elts, whole.parts, strict=True)):
            self.store(part, conversions.part_of(held, whole, place), one)

    def _store_item(self, target: ast.Subscript, text: str, kind: Kind) -> None:
        owner_kind = self.present(target.value)
        owner, indices = self.place(target)
        if owner_kind.name != "list":
            self.put(owner, indices, conversions.converted(self, text, kind, FLOAT))
            return
        element = element_of(owner_kind)
        value = conversions.converted(self, text, kind, element)
        value = self.saved(conversions.packed(value, element))
        place = self.saved(f"at(frame, {owner}, {indices[0]}, {leaves_of(element)})")
        self.spend(1 + leaves_of(element))
        conversions.set_words(self, place, value, element)

    def place(self, node: ast.Subscript) -> tuple[str, list[str]]:
        """An array and its indices, each a name or a number."""
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        kind = self.present(node.value)
        owner = self.saved(self.value(node.value, kind))
        if len(parts) == 1:
            return owner, [self.saved(self.index(owner, kind, parts[0]))]
        texts = self.values(parts, [INT] * len(parts))
        return owner, [self.saved(text) for text in texts]

    def index(self, owner: str, kind: Kind, node: ast.expr) -> str:
        """Text of an index; a negative constant counts from the end. `owner` is a name."""
        place = operators.place_of(node)
        if place is None or place >= 0 or kind == TABLE:
            return self.value(node, INT)
        self.spend(2)
        length = f"size(frame, {owner})" if kind.name == "list" else f"len({owner})"
        return f"{length} - {-place}"

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
        left = present(self.kind_of_target(node.target))
        if left.name == "list":
            list_code.extend(self, self.value(node.target, left), left, node.value)
            return
        right = self.present(node.value)
        if isinstance(node.target, ast.Subscript):
            self._aug_assign_item(node, node.target, left, right)
        elif isinstance(node.target, ast.Name):
            kind = self.kind_of_target(node.target)
            old = conversions.converted(self, f"v_{self.variable(node.target.id)}", kind, left)
            with self.nested() as later:
                given = self.value(node.value, right)
            # What the right side does may change what the name stands for in a list.
            old = self.saved(old) if later.lines else old
            self.block.lines.extend(later.lines)
            self.spend(later.units, later.extra)
            text, kind = expressions.arithmetic(self, node.op, (old, left), (given, right))
            self.store(node.target, text, kind)

    def _aug_assign_item(
        self, node: ast.AugAssign, target: ast.Subscript, left: Kind, right: Kind
    ) -> None:
        owner_kind = self.present(target.value)
        owner, indices = self.place(target)
        if owner_kind.name == "list":
            whole = conversions.item(self, owner, owner_kind, indices[0])
            old = self._fresh(conversions.converted(self, whole, element_of(owner_kind), left))
        else:
            old = self._fresh(self.item(owner, indices))
        given = self.value(node.value, right)
        text, kind = expressions.arithmetic(self, node.op, (old, left), (given, right))
        if owner_kind.name != "list":
            self.put(owner, indices, conversions.converted(self, text, kind, FLOAT))
            return
        element = element_of(owner_kind)
        value = self.saved(conversions.converted(self, text, kind, element))
        place = self.saved(f"at(frame, {owner}, {indices[0]}, {leaves_of(element)})")
        conversions.set_words(self, place, value, element)

    def kind_of_target(self, target: ast.expr) -> Kind:
        """Kind of what an augmented assignment reads."""
        if isinstance(target, ast.Name):
            return self.variable_kind(self.variable(target.id))
        owner = self.present(target.value) if isinstance(target, ast.Subscript) else UNKNOWN
        return element_of(owner) if owner.name == "list" else FLOAT

    def open_loop(self, node: ast.For, ends: tuple[str, ...]) -> str:
        """Enter a loop; the flag that says it ended without a break, where that matters."""
        flag = self.temporary() if node.orelse or ends else ""
        if flag:
            self.emit(f"{flag} = True")
        self._loops.append(flag)
        return flag

    def close_loop(self, node: ast.For, flag: str, ends: tuple[str, ...]) -> None:
        """Leave it, with what is to be checked at its end and what its `else` does."""
        self._loops.pop()
        if flag:
            with self.nested() as orelse:
                self.block.lines.extend(ends)
                self.spend(len(ends))
                self.statements(node.orelse)
            self.place_branches(flag, orelse, Block())

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
            self.emit(f"return {conversions.default(self.result)}")
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
