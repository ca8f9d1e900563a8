"""Kind inference: the kind of every expression and variable, joined to a fixed point.

The first passes only widen kinds; when none changes any more, a last pass notes refusals and
keeps the kind of each expression for the lowering. See `kinds` for what makes this sound.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from sandbox.language import calls, iterables, list_kinds, narrowing, operators
from sandbox.language.kinds import (
    BOOL,
    CONFLICT,
    FLOAT,
    INT,
    NOTHING,
    NUMBERS,
    SEQUENCES,
    TABLE,
    UNKNOWN,
    VECTOR,
    Kind,
    constants,
    fits,
    hooks,
    join,
)  # fmt: skip
from sandbox.language.lattice import Cell, Watch, is_element, list_of, present
from sandbox.language.program import Program, answers, assigned_names

MAX_PASSES = 40


class Inference:
    """Kinds of one program. `expressions` and `variables` are complete after `run`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.expressions: dict[ast.expr, Kind] = {}
        self.derived: dict[str, Kind] = {}
        self.yields: dict[ast.expr, Kind] = {}
        self.variables: dict[tuple[str, str], Kind] = {}
        self.results: dict[str, Kind] = {}
        self.fields_read: dict[str, set[str]] = {name: set() for name in program.functions}
        self.function = ""
        self.held: frozenset[str] = frozenset()  # variables that are not None where it stands
        self.absent: list[ast.expr] = []  # always None where a field or an element of it is read
        self.reporting = False
        self.watch = Watch()  # set when a kind becomes wider: another pass is needed
        self.sites: dict[tuple[str, ast.expr], Cell] = {}
        self._locals: dict[str, set[str]] = {
            name: assigned_names(node) for name, node in program.functions.items()
        }
        self.assigned_in: dict[ast.For, set[str]] = {}
        self._scopes: list[dict[str, str]] = []
        # Of one statement: operands that are asked for twice a level are else asked for 2**depth.
        self._inferred: dict[ast.expr, Kind] = {}
        self._unique: dict[tuple[int, str], str] = {}

    def run(self) -> None:
        """Infer every function; refusals go to the program."""
        self._check_parameters()
        for name in self.program.hooks:
            for parameter, kind in hooks()[name].parameters:
                self.variables[name, parameter] = kind
            self.results[name] = hooks()[name].result
        for name, function in self.program.functions.items():
            if name not in hooks() and not answers(function):
                self.results[name] = NOTHING
        self._derive()
        for number in range(MAX_PASSES):
            self.watch.changed = False
            # Arguments flow to the callees, results to the callers: take turns.
            self._pass(self.program.order if number % 2 else self.program.order[::-1])
            if not self.watch.changed and not self._settle():
                break
        else:
            self.program.refuse(
                self.program.tree, "kinds", "The kinds of variables depend on each other too long.",
                "Assign each variable from fields or constants first.",
            )  # fmt: skip
        self.reporting = True
        self._derive()
        self._pass(self.program.order)

    def _derive(self) -> None:
        """Kinds of derived constants, each made of earlier ones."""
        for name, node in self.program.derived.items():
            self.function = next(iter(self.program.functions))
            self.derived[name] = self.infer(node)

    def _settle(self) -> bool:
        """Take lists of nobody knows what for lists of floats; True when there was one."""
        unknown = [cell for cell in self.sites.values() if cell.element == UNKNOWN]
        for cell in unknown:
            cell.hold(FLOAT)
        return bool(unknown)

    def is_constant(self, name: str) -> bool:
        """Is it a constant of the module or of the contract?"""
        program = self.program
        return name in program.constants or name in program.derived or name in constants()

    def new_list(self, node: ast.expr, element: Kind) -> Kind:
        """The kind of the list that is made where this expression stands."""
        cell = self.sites.setdefault((self.function, node), Cell(self.watch))
        if not is_element(element) or not cell.hold(element):
            return self.refuse(
                node, "mixed-kinds", f"A list of {cell.element} cannot hold {element}.",
                "Keep numbers, rows or tuples of one kind in a list.",
            )  # fmt: skip
        return list_of(cell)

    def put_in(self, node: ast.AST, kind: Kind, element: Kind) -> None:
        """Join a kind into what a list holds."""
        if kind.cell is None or element in (UNKNOWN, CONFLICT):
            return
        if not is_element(element) or not kind.cell.hold(element):
            self.refuse(
                node, "mixed-kinds", f"{kind} cannot hold {element}.", "Use two lists."
            )

    def _check_parameters(self) -> None:
        for function in self.program.functions.values():
            for argument in function.args.args:
                if self.is_constant(argument.arg):
                    self.program.refuse(
                        argument, "constant-write", f"{argument.arg} is a constant.",
                        "Use another name.",
                    )  # fmt: skip

    def _pass(self, order: list[str]) -> None:
        for name in order:
            self.function, self.held = name, frozenset()
            self.block(self.program.functions[name].body)

    def refuse(self, node: ast.AST, code: str, reason: str, mend: str) -> Kind:
        """Note a refusal in the last pass; CONFLICT, so that nothing is said twice."""
        if self.reporting:
            self.program.refuse(node, code, reason, mend)
        return CONFLICT

    def block(self, body: list[ast.stmt]) -> None:
        """Infer a block's statements, one after the other."""
        for statement in body:
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        self._inferred.clear()
        handler = _STATEMENTS.get(type(node))
        if handler is None:
            what = type(node).__name__
            self.refuse(node, "not-allowed", f"{what} may not stand here.", "Remove it.")
        else:
            handler(self, node)

    def _assign(self, node: ast.Assign) -> None:
        stored: list[tuple[ast.expr, Kind]] = []
        for target in node.targets:
            pairs = iterables.paired(target, node.value) or [(target, node.value)]
            stored += [(part, self.infer(value)) for part, value in pairs]
        for part, kind in stored:
            self.store(part, kind)

    def _store_parts(self, target: ast.Tuple, kind: Kind) -> None:
        """Give each name of `a, b = value` its part."""
        if kind.name == "tuple" and len(kind.parts) == len(target.elts):
            for part, one in zip(target.elts, kind.parts, strict=True):
                self.store(part, one)
        elif kind not in (UNKNOWN, CONFLICT):
            self.refuse(
                target, "tuple", f"{len(target.elts)} names cannot take {kind}.",
                "Give as many names as there are values.",
            )  # fmt: skip

    def _aug_assign(self, node: ast.AugAssign) -> None:
        left = self.infer(node.target)
        if present(left).name == "list" and isinstance(node.op, ast.Add):
            list_kinds.extend(self, node, present(left), node.value)
            return
        right = self.infer(node.value)
        self.store(node.target, operators.arithmetic(self, node, node.op, left, right))
        if isinstance(node.op, ast.Pow):
            operators.exponent(self, node, node.value)

    def store(self, target: ast.expr, kind: Kind) -> None:
        """Join a kind into a variable, or check that it may be stored in an array."""
        if isinstance(target, ast.Name):
            self._store_name(target, kind)
        elif isinstance(target, ast.Tuple):
            self._store_parts(target, present(kind) if kind != NOTHING else kind)
        elif isinstance(target, ast.Subscript):
            self._store_item(target, kind)
        elif isinstance(target, ast.Attribute):
            self.refuse(
                target, "record-write", "Records cannot be written to.",
                "Use a toolkit function such as keep_plan() or set_token_budget().",
            )  # fmt: skip
        else:
            self.refuse(target, "target", "This cannot be assigned to.", "Use plain names.")

    def _store_item(self, target: ast.Subscript, kind: Kind) -> None:
        place = self.infer(target)
        owner = present(self.infer(target.value))
        if isinstance(target.slice, ast.Slice):
            self.refuse(target, "slice", "Slices cannot be assigned to.", "Assign in a loop.")
        elif owner.name == "list":
            self.put_in(target, owner, kind)
        elif owner not in (VECTOR, TABLE, CONFLICT, UNKNOWN):
            self.refuse(
                target, "read-only", "Only memory, zeros() and lists can be written to.",
                "Use a toolkit function such as set_share().",
            )  # fmt: skip
        elif place in NUMBERS and present(kind) not in NUMBERS | {UNKNOWN, CONFLICT}:
            self.refuse(target, "kind", f"{kind} is no number.", "Store numbers in arrays.")

    def _store_name(self, target: ast.Name, kind: Kind) -> None:
        name = self.variable(target.id)
        if self.is_constant(target.id):
            self.refuse(
                target, "constant-write", f"{target.id} is a constant.", "Use another name."
            )
            return
        before = self.variables.get((self.function, name), UNKNOWN)
        self.held -= {name}
        if kind == CONFLICT:
            return
        if kind.name not in ("optional", "nothing", "unknown"):
            self.held |= {name}
        after = join(before, kind)
        if after == CONFLICT:
            self.refuse(
                target, "mixed-kinds", f"{target.id} is {before} here and {kind} there.",
                "Use two variables.",
            )  # fmt: skip
        elif after != before:
            self.variables[self.function, name] = after
            self.watch.changed = True

    def locals_of(self, function: str) -> set[str]:
        """Parameters and assigned names of a function."""
        return self._locals[function]

    def unique_name(self, node: ast.AST, name: str) -> str:
        """The unique name of a comprehension's or lambda's own variable."""
        return self._unique[id(node), name]

    def variable(self, name: str) -> str:
        """The unique name of a variable where the inference stands: comprehensions have scopes."""
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return name

    def open_scope(self, node: ast.AST, names: list[str]) -> None:
        """Enter a comprehension or lambda whose variables are its own."""
        scope = {}
        for name in names:
            key = (id(node), name)
            self._unique.setdefault(key, f"{name}__{len(self._unique)}")
            scope[name] = self._unique[key]
        self._scopes.append(scope)

    def close_scope(self) -> None:
        """Leave it."""
        self._scopes.pop()

    def store_variable(self, name: str, kind: Kind) -> None:
        """Join a kind into a lambda's parameter."""
        self._store_name(ast.Name(name, ast.Store()), kind)

    def pass_kind(self, function: str, parameter: str, kind: Kind, node: ast.expr) -> None:
        """Join a kind into a helper's parameter; `node` is where a refusal points."""
        before = self.variables.get((function, parameter), UNKNOWN)
        if kind in (CONFLICT, UNKNOWN):
            return
        after = join(before, kind)
        if after == CONFLICT:
            self.refuse(
                node, "mixed-kinds", f"{parameter} of {function} is {before} here, {kind} there.",
                "Write one helper for each.",
            )  # fmt: skip
        elif after != before:
            self.variables[function, parameter] = after
            self.watch.changed = True

    def _for(self, node: ast.For) -> None:
        kind = iterables.element(self, node.iter)
        before = self.held - narrowing.assigned_in(self, node)
        for target, body in ((node.target, node.body), (None, node.orelse)):
            self.held = before
            if target is not None:
                self.store_element(target, kind)
            self.block(body)
        self.held = before

    def store_element(self, target: ast.expr, kind: Kind) -> None:
        """Give a loop's target what its iterable yields."""
        if isinstance(target, ast.Tuple) and kind not in (UNKNOWN, CONFLICT):
            if kind.name == "tuple" and len(target.elts) == len(kind.parts):
                for part, one in zip(target.elts, kind.parts, strict=True):
                    self.store_element(part, one)
                return
        elif isinstance(target, ast.Name):
            self._store_name(target, kind)
            return
        if kind not in (UNKNOWN, CONFLICT):
            self.refuse(
                target, "loop-target", "The loop's names do not match what it yields.",
                "Write for i, row in enumerate(rows).",
            )  # fmt: skip

    def _return(self, node: ast.Return) -> None:
        kind = NOTHING if node.value is None else self.infer(node.value)
        if self.function in hooks():
            wanted = hooks()[self.function].result
            exact = wanted == BOOL or kind == BOOL
            kind = present(kind) if kind != NOTHING else kind
            if kind not in (UNKNOWN, CONFLICT) and (
                not fits(kind, wanted) or (exact and kind != wanted)
            ):
                self.refuse(
                    node, "return-kind", f"{self.function} returns {wanted}, not {kind}.",
                    _RETURN_MENDS[wanted],
                )  # fmt: skip
            return
        before = self.results.get(self.function, UNKNOWN)
        after = join(before, kind)
        if after == CONFLICT and CONFLICT not in (before, kind):
            self.refuse(
                node, "return-kind", f"{self.function} returns {before} here and {kind} there.",
                "Return one kind.",
            )  # fmt: skip
        elif after != before:
            self.results[self.function] = after
            self.watch.changed = True

    def _expression(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            calls.call(self, node.value, as_statement=True)
        elif not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self.refuse(node, "no-effect", "This line does nothing.", "Assign it or remove it.")

    def condition(self, node: ast.expr) -> None:
        """A test: a number, true unless zero; a list or rows, true unless empty; None is false."""
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                self.condition(value)
            return
        kind = self.infer(node)
        sized = kind in SEQUENCES or kind.name in ("rows", "list", "optional")
        if not sized and kind not in NUMBERS | {UNKNOWN, CONFLICT, NOTHING}:
            self.refuse(node, "condition", f"{kind} is neither true nor false.", "Compare numbers.")

    def number(self, node: ast.expr) -> Kind:
        """Kind of an expression that has to be a number; None stops the policy when it runs."""
        kind = self.infer(node)
        if kind in NUMBERS or kind in (UNKNOWN, CONFLICT):
            return kind
        if present(kind) in NUMBERS:
            return present(kind)
        return self.refuse(node, "kind", f"A number is needed, this is {kind}.", "Use a field.")

    def integer(self, node: ast.expr, what: str) -> None:
        """Check an expression that has to be an integer."""
        kind = self.number(node)
        if kind not in (INT, UNKNOWN, CONFLICT):
            self.refuse(node, "integer", f"{what} is {kind}, not int.", "Write int(...).")

    def infer(self, node: ast.expr) -> Kind:
        """The kind of an expression."""
        if node in self._inferred:
            return self._inferred[node]
        kind = operators.HANDLERS.get(type(node), operators.misplaced)(self, node)
        self._inferred[node] = kind
        if self.reporting:
            self.expressions[node] = kind
        return kind

    def variables_here(self) -> set[str]:
        """Names that are variables where the inference stands."""
        scoped = {name for scope in self._scopes for name in scope}
        return self._locals[self.function] | scoped


_RETURN_MENDS = {
    INT: "Return an integer, with int(...) if need be.",
    FLOAT: "Return a number.",
    BOOL: "Return True, False or a comparison.",
    NOTHING: "Write return alone, and fill the record that is passed in.",
}

_STATEMENTS: dict[type[ast.stmt], Callable[..., None]] = {
    ast.Assign: Inference._assign, ast.AugAssign: Inference._aug_assign, ast.If: narrowing.branches,
    ast.For: Inference._for, ast.Return: Inference._return,
    ast.Expr: Inference._expression,
    **dict.fromkeys((ast.Pass, ast.Break, ast.Continue), lambda *_: None),
}  # fmt: skip
