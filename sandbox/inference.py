"""Kind inference: the kind of every expression and variable, joined to a fixed point.

The first passes only widen kinds; when none changes any more, a last pass notes refusals and
keeps the kind of each expression for the lowering. See `kinds` for what makes this sound.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from sandbox import calls, operators
from sandbox.kinds import (
    BOOL,
    CONFLICT,
    FLOAT,
    INT,
    NOTHING,
    NUMBERS,
    TABLE,
    UNKNOWN,
    VECTOR,
    Kind,
    constants,
    fits,
    hooks,
    join,
)  # fmt: skip
from sandbox.program import Program

Element = Kind | tuple["Element", ...]
MAX_PASSES = 40


class Inference:
    """Kinds of one program. `expressions` and `variables` are complete after `run`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.expressions: dict[ast.expr, Kind] = {}
        self.variables: dict[tuple[str, str], Kind] = {}
        self.results: dict[str, Kind] = {}
        self.fields_read: dict[str, set[str]] = {name: set() for name in program.functions}
        self.function = ""
        self.reporting = False
        self._changed = False
        self._locals: dict[str, set[str]] = {
            name: _assigned_names(node) for name, node in program.functions.items()
        }
        self._scopes: list[dict[str, str]] = []
        self._unique: dict[tuple[int, str], str] = {}

    def run(self) -> None:
        """Infer every function; refusals go to the program."""
        self._check_parameters()
        for name in self.program.hooks:
            for parameter, kind in hooks()[name].parameters:
                self.variables[name, parameter] = kind
            self.results[name] = hooks()[name].result
        for name, function in self.program.functions.items():
            returns = any(isinstance(x, ast.Return) and x.value for x in ast.walk(function))
            if not returns and name not in hooks():
                self.results[name] = NOTHING
        for number in range(MAX_PASSES):
            self._changed = False
            # Arguments flow to the callees, results to the callers: take turns.
            self._pass(self.program.order if number % 2 else self.program.order[::-1])
            if not self._changed:
                break
        else:
            self.program.refuse(
                self.program.tree, "kinds", "The kinds of variables depend on each other too long.",
                "Assign each variable from fields or constants first.",
            )  # fmt: skip
        self.reporting = True
        self._pass(self.program.order)

    def _check_parameters(self) -> None:
        for function in self.program.functions.values():
            for argument in function.args.args:
                if argument.arg in self.program.constants or argument.arg in constants():
                    self.program.refuse(
                        argument, "constant-write", f"{argument.arg} is a constant.",
                        "Use another name.",
                    )  # fmt: skip

    def _pass(self, order: list[str]) -> None:
        for name in order:
            self.function = name
            self._block(self.program.functions[name].body)

    def refuse(self, node: ast.AST, code: str, reason: str, mend: str) -> Kind:
        """Note a refusal in the last pass; CONFLICT, so that nothing is said twice."""
        if self.reporting:
            self.program.refuse(node, code, reason, mend)
        return CONFLICT

    def _block(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        handler = _STATEMENTS.get(type(node))
        if handler is None:
            what = type(node).__name__
            self.refuse(node, "not-allowed", f"{what} may not stand here.", "Remove it.")
        else:
            handler(self, node)

    def _assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Tuple):
                self._assign_tuple(target, node.value)
            else:
                self.store(target, self.infer(node.value))

    def _assign_tuple(self, target: ast.Tuple, value: ast.expr) -> None:
        if not isinstance(value, ast.Tuple) or len(value.elts) != len(target.elts):
            self.refuse(
                target, "tuple", "Both sides need the same number of values.",
                "Write a, b = x, y.",
            )  # fmt: skip
            return
        for part, element in zip(target.elts, value.elts, strict=True):
            self.store(part, self.infer(element))

    def _aug_assign(self, node: ast.AugAssign) -> None:
        left = self.infer(node.target)
        right = self.infer(node.value)
        self.store(node.target, operators.arithmetic(self, node, node.op, left, right))
        if isinstance(node.op, ast.Pow):
            operators.exponent(self, node, node.value)

    def store(self, target: ast.expr, kind: Kind) -> None:
        """Join a kind into a variable, or check that it may be stored in an array."""
        if isinstance(target, ast.Name):
            self._store_name(target, kind)
        elif isinstance(target, ast.Subscript):
            place = self.infer(target)
            owner = self.expressions.get(target.value) if self.reporting else None
            if owner is not None and owner not in (VECTOR, TABLE, CONFLICT):
                self.refuse(
                    target, "read-only", "Only memory and zeros() can be written to.",
                    "Use a toolkit function such as set_share().",
                )  # fmt: skip
            elif place in NUMBERS and kind not in NUMBERS | {UNKNOWN, CONFLICT}:
                self.refuse(target, "kind", f"{kind} is no number.", "Store numbers in arrays.")
        elif isinstance(target, ast.Attribute):
            self.refuse(
                target, "record-write", "Records cannot be written to.",
                "Use a toolkit function such as keep_plan() or set_token_budget().",
            )  # fmt: skip
        else:
            self.refuse(target, "target", "This cannot be assigned to.", "Use plain names.")

    def _store_name(self, target: ast.Name, kind: Kind) -> None:
        name = self.variable(target.id)
        if target.id in self.program.constants or target.id in constants():
            self.refuse(
                target, "constant-write", f"{target.id} is a constant.", "Use another name."
            )
            return
        if kind == NOTHING:
            self.refuse(
                target, "none", "None is no value here.", "Use -1, INF or a flag variable."
            )
            return
        before = self.variables.get((self.function, name), UNKNOWN)
        if before in (NOTHING, CONFLICT) or kind == CONFLICT:
            return
        after = join(before, kind)
        if after == CONFLICT:
            self.refuse(
                target, "mixed-kinds", f"{target.id} is {before} here and {kind} there.",
                "Use two variables.",
            )  # fmt: skip
        elif after != before:
            self.variables[self.function, name] = after
            self._changed = True

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

    def pass_argument(self, function: str, parameter: str, argument: ast.expr) -> None:
        """Join an argument's kind into a helper's parameter."""
        self.pass_kind(function, parameter, self.infer(argument), argument)

    def pass_kind(self, function: str, parameter: str, kind: Kind, node: ast.expr) -> None:
        """Join a kind into a helper's parameter; `node` is where a refusal points."""
        before = self.variables.get((function, parameter), UNKNOWN)
        if kind in (CONFLICT, UNKNOWN):
            return
        after = join(before, kind)
        if after == CONFLICT or kind == NOTHING:
            self.refuse(
                node, "mixed-kinds", f"{parameter} of {function} is {before} here, {kind} there.",
                "Write one helper for each.",
            )  # fmt: skip
        elif after != before:
            self.variables[function, parameter] = after
            self._changed = True

    def _if(self, node: ast.If) -> None:
        self.condition(node.test)
        self._block(node.body)
        self._block(node.orelse)

    def _for(self, node: ast.For) -> None:
        self.store_element(node.target, calls.element(self, node.iter))
        self._block(node.body)

    def store_element(self, target: ast.expr, element: Element) -> None:
        """Give a loop's target what its iterable yields."""
        if isinstance(target, ast.Tuple) and isinstance(element, tuple):
            if len(target.elts) == len(element):
                for part, kind in zip(target.elts, element, strict=True):
                    self.store_element(part, kind)
                return
        elif isinstance(target, ast.Name) and isinstance(element, Kind):
            self._store_name(target, element)
            return
        if element != CONFLICT:
            self.refuse(
                target, "loop-target", "The loop's names do not match what it yields.",
                "Write for i, row in enumerate(rows).",
            )  # fmt: skip

    def _return(self, node: ast.Return) -> None:
        kind = NOTHING if node.value is None else self.infer(node.value)
        if self.function in hooks():
            wanted = hooks()[self.function].result
            exact = wanted == BOOL or kind == BOOL
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
            self._changed = True

    def _expression(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self.infer(node.value)
        elif not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self.refuse(node, "no-effect", "This line does nothing.", "Assign it or remove it.")

    def _nothing(self, _node: ast.stmt) -> None:
        """A statement without values."""

    def condition(self, node: ast.expr) -> None:
        """A test: any number, true unless zero."""
        kind = self.infer(node)
        if kind not in NUMBERS | {UNKNOWN, CONFLICT}:
            self.refuse(node, "condition", f"{kind} is neither true nor false.", "Compare numbers.")

    def number(self, node: ast.expr) -> Kind:
        """Kind of an expression that has to be a number."""
        kind = self.infer(node)
        if kind in NUMBERS or kind in (UNKNOWN, CONFLICT):
            return kind
        return self.refuse(node, "kind", f"A number is needed, this is {kind}.", "Use a field.")

    def integer(self, node: ast.expr, what: str) -> None:
        """Check an expression that has to be an integer."""
        kind = self.number(node)
        if kind not in (INT, UNKNOWN, CONFLICT):
            self.refuse(node, "integer", f"{what} is {kind}, not int.", "Write int(...).")

    def infer(self, node: ast.expr) -> Kind:
        """The kind of an expression."""
        handler = operators.HANDLERS.get(type(node))
        if handler is None:
            what = type(node).__name__
            return self.refuse(
                node, "not-allowed", f"{what} may not stand here.", "Use numbers and names."
            )
        kind = handler(self, node)
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
    ast.Assign: Inference._assign, ast.AugAssign: Inference._aug_assign, ast.If: Inference._if,
    ast.For: Inference._for, ast.Return: Inference._return, ast.Expr: Inference._expression,
    ast.Pass: Inference._nothing, ast.Break: Inference._nothing, ast.Continue: Inference._nothing,
}  # fmt: skip

def _assigned_names(function: ast.FunctionDef) -> set[str]:
    """Parameters and every name that a statement of the function assigns."""
    names = {argument.arg for argument in function.args.args}
    inner = {
        id(name)
        for node in ast.walk(function)
        if isinstance(node, ast.comprehension)
        for name in ast.walk(node.target)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in inner:
            names.add(node.id)
    return names
