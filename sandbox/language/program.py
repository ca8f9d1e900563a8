"""A policy's module level: its constants, hooks and helpers, and who calls whom."""

from __future__ import annotations

import ast
import difflib
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeGuard

from sandbox.errors import Refusal
from sandbox.language import kinds
from sandbox.language.nodes import walk
from sandbox.language.trees import expression_of
from sandbox.source import Tunable

Ranges = dict[int, tuple[str, str] | None]  # `# tune:` comments by line
LARGEST = 1e300
MAX_LOOPS, MAX_CALLS = 40, 12
MAX_INLINED_NODES = 24_000  # of a function with every helper written out where it is called

BUILTINS = frozenset(
    {"abs", "all", "any", "bool", "enumerate", "float", "int", "len", "list", "max", "min",
     "range", "reversed", "round", "sorted", "sum", "tuple", "zeros", "zip"}
)  # fmt: skip


@dataclass(slots=True)
class Program:
    """What a policy defines, by name and in order of definition.

    `constants` are numbers that a tuner may move; `derived` are tables, flags and what is computed
    from other constants.
    """

    tree: ast.Module
    constants: dict[str, Tunable] = field(default_factory=dict)
    derived: dict[str, ast.expr] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    calls: dict[str, list[str]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def drop_unused(self) -> None:
        """Forget helpers no hook reaches and constants nothing reads."""
        reached = set().union(*(self.reached_from(hook) for hook in self.hooks))
        self.functions = {key: node for key, node in self.functions.items() if key in reached}
        self.order = [name for name in self.order if name in reached]
        self.calls = {name: self.calls[name] for name in self.functions}
        read = set().union(*(_names_in(function) for function in self.functions.values()))
        for name in reversed(self.derived):
            if name in read:
                read |= _names_in(self.derived[name])
        self.derived = {key: value for key, value in self.derived.items() if key in read}
        self.constants = {key: value for key, value in self.constants.items() if key in read}

    @property
    def hooks(self) -> list[str]:
        """Hooks it defines, in the contract's order."""
        return [name for name in kinds.hooks() if name in self.functions]

    def reached_from(self, hook: str) -> set[str]:
        """The hook and every function it may call."""
        reached, pending = set(), [hook]
        while pending:
            name = pending.pop()
            if name not in reached:
                reached.add(name)
                pending.extend(self.calls[name])
        return reached

    def is_capped(self, function: str) -> bool:
        """Does a hook with a static cost limit reach this function?"""
        return any(
            function in self.reached_from(hook)
            for hook in self.hooks
            if hook not in kinds.PLANNER_HOOKS
        )

    def refuse(self, node: ast.AST, code: str, reason: str, mend: str) -> None:
        """Note one refusal at a node's line, each only once."""
        refusal = Refusal(getattr(node, "lineno", 1), code, reason[:200], mend[:200])
        if refusal not in self.refusals:
            self.refusals.append(refusal)


def _names_in(tree: ast.AST) -> set[str]:
    return {node.id for node in walk(tree) if isinstance(node, ast.Name)}


def closest(name: str, known: list[str]) -> str:
    """Words for the names most like this one."""
    matches = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(matches)}?" if matches else ""


def read_program(tree: ast.Module, ranges: Ranges) -> Program:
    """Constants, hooks and helpers of a module; refusals are left in the program."""
    program = Program(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            _read_function(program, node)
        elif isinstance(node, ast.Assign):
            _read_constant(program, node, ranges)
        elif not isinstance(node, ast.Pass):
            program.refuse(
                node, "module-statement", "A policy holds constants and functions only.",
                "Move this into a function.",
            )  # fmt: skip
    _find_calls(program)
    if not program.hooks:
        known = [closest(name, list(kinds.hooks())) for name in program.functions]
        mend = next((words for words in known if words), "Define route, schedule or another.")
        program.refuse(tree, "no-hook", "The policy defines none of the contract's hooks.", mend)
    return program


def _read_function(program: Program, node: ast.FunctionDef) -> None:
    name = node.name
    if name in program.functions or name in program.constants or name in program.derived:
        program.refuse(node, "redefined", f"{name} is defined twice.", "Rename one of them.")
    taken = name in kinds.tools() or name in BUILTINS or name in kinds.constants()
    if taken:
        program.refuse(
            node, "shadows", f"{name} is a function of the toolkit.", "Choose another name."
        )
    names = [arg.arg for arg in node.args.args]
    if name in kinds.hooks():
        wanted = [parameter for parameter, _ in kinds.hooks()[name].parameters]
        if names != wanted:
            program.refuse(
                node, "parameters", f"{name} has other parameters in the contract.",
                f"Write def {name}({', '.join(wanted)}):.",
            )  # fmt: skip
    program.functions[name] = node


def _read_constant(program: Program, node: ast.Assign, ranges: Ranges) -> None:
    target = node.targets[0]
    if len(node.targets) != 1 or not isinstance(target, ast.Name):
        program.refuse(
            node, "constant", "Only NAME = number may stand here.", "Write one constant a line."
        )
        return
    name = target.id
    if not name.isupper():
        program.refuse(
            node, "constant", f"{name} is not UPPER_CASE.", "Write module constants in upper case."
        )
    taken = (program.constants, program.derived, program.functions, kinds.constants())
    if any(name in names for names in taken):
        program.refuse(node, "redefined", f"{name} is defined already.", "Rename it.")
    value = literal(node.value)
    if value is None:
        _read_derived(program, node, name)
        return
    program.constants[name] = _tunable(program, node, name, value, ranges)


def _read_derived(program: Program, node: ast.Assign, name: str) -> None:
    for part in walk(node.value):
        known = (
            not isinstance(part, ast.Name)
            or part.id in _CONSTANT_CALLS
            or any(
                part.id in names
                for names in (program.constants, program.derived, kinds.constants())
            )
        )
        if not isinstance(part, _CONSTANT_PARTS) or not known:
            program.refuse(
                node, "constant", f"{name} is not made of numbers and earlier constants.",
                "Compute it inside a function.",
            )  # fmt: skip
            return
    program.derived[name] = node.value


_CONSTANT_CALLS = frozenset(
    {"abs", "ceil", "clip", "exp", "float", "floor", "int", "log", "max", "min", "ratio", "round",
     "sqrt"}
)  # fmt: skip
_CONSTANT_PARTS = (
    ast.Constant, ast.Name, ast.expr_context, ast.UnaryOp, ast.unaryop, ast.BinOp, ast.operator,
    ast.Tuple, ast.Call, ast.IfExp, ast.Compare, ast.cmpop, ast.BoolOp, ast.boolop,
)  # fmt: skip


def literal(node: ast.expr) -> float | None:
    """The number that an expression of literals is; None if it is no such number."""
    if isinstance(node, ast.Constant) and type(node.value) is not bool:
        return node.value if isinstance(node.value, int | float) else None
    if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
        value = literal(node.operand)
        return None if value is None else _SIGNS[type(node.op)](value)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = literal(node.left), literal(node.right)
        if left is None or right is None or (isinstance(node.op, ast.Div) and right == 0):
            return None
        value = _OPERATORS[type(node.op)](left, right)
        too_large = type(value) is int and abs(value) > 2**53
        return None if too_large else value
    return None


_SIGNS: dict[type[ast.unaryop], Callable[[float], float]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _tunable(
    program: Program, node: ast.Assign, name: str, value: float, ranges: Ranges
) -> Tunable:
    line = node.end_lineno or node.lineno
    whole = isinstance(value, int)
    # Whole numbers are mostly places of memory and sizes: moved only where the author says so.
    low, high = (value, value) if whole else sorted((value / 4, value * 4))
    if line in ranges:
        bounds = _bounds(ranges[line])
        if bounds is None or not bounds[0] <= value <= bounds[1]:
            program.refuse(
                node, "tune-range", f"The tune range of {name} cannot be used.",
                "Write # tune: low .. high with low <= value <= high.",
            )  # fmt: skip
        else:
            low, high = bounds
            whole = whole and isinstance(low, int) and isinstance(high, int)
    if not abs(value) < LARGEST:
        program.refuse(node, "number", f"{name} is too large.", "Use INF where it is meant.")
    return Tunable(name, float(value), float(low), float(high), whole)


def _bounds(written: tuple[str, str] | None) -> tuple[float, float] | None:
    numbers = [_number(text) for text in written or ()]
    low, high = numbers if len(numbers) == 2 else (None, None)
    return None if low is None or high is None else (low, high)


def _number(text: str) -> float | None:
    try:
        value = literal(expression_of(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if value is None or (isinstance(value, int) and abs(value) > 2**53):
        return None
    return value if abs(value) < LARGEST else None


def _find_calls(program: Program) -> None:
    for name, function in program.functions.items():
        called = [
            name.id
            for node in walk(function)
            for name in (
                [node.func, *(keyword.value for keyword in node.keywords)]
                if isinstance(node, ast.Call)
                else []
            )
            if isinstance(name, ast.Name)
        ]
        known = program.functions.keys() - assigned_names(function)
        program.calls[name] = [other for other in called if other in known]
        _check_loops(program, function)
    done: dict[str, bool] = {}
    for name in program.functions:
        _visit(program, name, done)
    if not program.refusals:
        _check_nesting(program)


def _check_loops(program: Program, function: ast.FunctionDef) -> None:
    """A compiler's time grows with the square of a function's loops."""
    loops = sum(
        isinstance(node, ast.For | ast.While | ast.comprehension) for node in walk(function)
    )
    if loops > MAX_LOOPS:
        program.refuse(
            function, "too-long", f"{function.name} has over {MAX_LOOPS} loops.",
            "Move some of them into helpers.",
        )  # fmt: skip


def _check_nesting(program: Program) -> None:
    """The compiled engine inlines helpers: code that calls code that calls code multiplies."""
    depths: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for name in program.order:
        own = sum(1 for _ in walk(program.functions[name]))
        sizes[name] = own + sum(sizes[other] for other in program.calls[name])
        if sizes[name] > MAX_INLINED_NODES:
            program.refuse(
                program.functions[name], "too-long",
                f"{name} is too much code with its helpers written out.",
                "Let helpers call each other less often, from loops if need be.",
            )  # fmt: skip
        depths[name] = 1 + max((depths[other] for other in program.calls[name]), default=0)
        if depths[name] > MAX_CALLS:
            program.refuse(
                program.functions[name], "too-deep", f"Calls are nested over {MAX_CALLS} deep.",
                "Let functions call fewer others.",
            )  # fmt: skip


def check_writers(program: Program) -> None:
    """Refuse toolkit functions that write into an argument another hook does not have."""
    for hook in program.hooks:
        for name in program.reached_from(hook):
            for node in walk(program.functions[name]):
                tool = node.func.id if _is_named_call(node) else ""
                if kinds.WRITERS.get(tool, hook) != hook:
                    program.refuse(
                        node, "wrong-hook", f"{tool} has no effect in {hook}.",
                        f"Call it from {kinds.WRITERS[tool]} only.",
                    )  # fmt: skip


def _is_named_call(node: ast.AST) -> TypeGuard[_NamedCall]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


class _NamedCall(ast.Call):
    func: ast.Name


def _visit(program: Program, name: str, done: dict[str, bool]) -> None:
    """Depth-first order, callees first; a function met again while open calls itself."""
    if name in done:
        if not done[name]:
            program.refuse(
                program.functions[name], "recursion", f"{name} calls itself.", "Write a loop."
            )
        return
    done[name] = False
    for other in program.calls[name]:
        _visit(program, other, done)
    done[name] = True
    program.order.append(name)


def answers(function: ast.FunctionDef) -> bool:
    """Does a function return any value?"""
    return any(isinstance(node, ast.Return) and node.value is not None for node in walk(function))


def assigned_names(function: ast.FunctionDef) -> set[str]:
    """Parameters and every name that a statement of the function assigns."""
    names = {argument.arg for argument in function.args.args}
    inner = {
        id(name)
        for node in walk(function)
        if isinstance(node, ast.comprehension)
        for name in walk(node.target)
    }
    for node in walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in inner:
            names.add(node.id)
    return names


def stored_names(function: ast.FunctionDef | ast.For) -> set[str]:
    """Every name that a function or loop, or a comprehension in it, assigns."""
    return {
        node.id
        for node in walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
