"""The first gate: textual limits, parsing, and an allow-list of syntax and names.

Everything that is not allowed here is refused by absence; the tables below only give the common
refusals their own words.
"""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
from collections.abc import Iterator

from sandbox.errors import PolicyRefused, Refusal
from sandbox.language import canonical
from sandbox.language.nodes import walk
from sandbox.language.trees import single_statements, tree_of

MAX_BYTES, MAX_LINES = 16_384, 400
MAX_BRACKETS, MAX_DEPTH, MAX_NODES, MAX_LOOPS = 24, 48, 6_000, 4
INT_LIMIT = 2**53

_CONTROL = re.compile(r"[^\n\t\x20-\x7e]")
_COOKIE = re.compile(r"(?m)^[ \t]*#.*?coding[:=]")
# Words may stand around it; bounded, or a long comment takes the square of its length.
_TUNE = re.compile(r"#\s*tune:\s*(\S{1,60}?)\s*\.\.\s*([^\s,;()]{1,60})(?![^\s,;()])")

_ALLOWED: tuple[type[ast.AST], ...] = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Assign, ast.AugAssign, ast.AnnAssign,
    ast.For, ast.If, ast.Break, ast.Continue, ast.Pass, ast.Return, ast.Expr,
    ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.keyword,
    ast.Attribute, ast.Subscript, ast.Name, ast.Constant, ast.Tuple, ast.Lambda,
    ast.GeneratorExp, ast.ListComp, ast.comprehension, ast.List, ast.Slice,
    ast.expr_context, ast.boolop, ast.unaryop,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow,
    ast.LShift, ast.RShift, ast.BitAnd, ast.BitOr, ast.BitXor,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot,
)  # fmt: skip

_REFUSED: dict[type[ast.AST], tuple[str, str, str]] = {
    ast.While: (
        "while", "while has no bound.", "Write for turn in range(n): and break when it is done."
    ),
    ast.Import: ("import", "Imports are not allowed.", "The toolkit is already in scope."),
    ast.ImportFrom: ("import", "Imports are not allowed.", "The toolkit is already in scope."),
    ast.ClassDef: ("class", "Classes are not allowed.", "Write helper functions."),
    ast.Try: ("try", "Exceptions cannot be caught.", "Test before you divide or index."),
    ast.Raise: ("raise", "Exceptions cannot be raised.", "Return a safe answer."),
    ast.Assert: ("assert", "assert is not allowed.", "Write an if."),
    ast.Dict: ("dict", "Dictionaries are not allowed.", "Use zeros(n) and integer keys."),
    ast.Set: ("set", "Sets are not allowed.", "Use zeros(n) as flags."),
    ast.JoinedStr: ("string", "Strings are not allowed.", "Use numbers."),
    ast.NamedExpr: ("walrus", ":= is not allowed.", "Assign on a line of its own."),
    ast.Global: ("global", "global is not allowed.", "Keep state in memory[i]."),
    ast.Nonlocal: ("global", "nonlocal is not allowed.", "Keep state in memory[i]."),
    ast.Starred: ("star", "Starred expressions are not allowed.", "Write each value."),
}


def parse(text: str) -> ast.Module:
    """The syntax tree of a text that passed the textual limits and the allow-list.

    Raises:
        PolicyRefused: it did not.
    """
    check_text(text)
    try:
        tree = tree_of(text)
    except SyntaxError as error:
        line = error.lineno or 1
        raise PolicyRefused([_syntax(line, error.msg)]) from None
    except (ValueError, RecursionError, MemoryError):
        raise PolicyRefused([_syntax(1, "too deeply nested or too large a number")]) from None
    _stop_if(_size_refusals(tree))
    tree = canonical.stripped(tree)
    _stop_if(list(_node_refusals(tree)))
    return tree


def check_text(text: str) -> None:
    """Hold a text to the textual limits.

    Raises:
        PolicyRefused: it breaks one.
    """
    _stop_if(list(_text_refusals(text)))


def check_compiles(tree: ast.Module) -> None:
    """Hold a tree to Python's own compiler, dead code and unused helpers included.

    Raises:
        PolicyRefused: it is no Python, though it could be parsed.
    """
    try:
        for statement in single_statements(tree):
            compile(statement, "<policy>", "exec", dont_inherit=True)
    except SyntaxError as error:
        raise PolicyRefused([_syntax(error.lineno or 1, error.msg)]) from None


def tune_ranges(text: str) -> dict[int, tuple[str, str] | None]:
    """`# tune: low .. high` comments by line, None where one cannot be read."""
    found: dict[int, tuple[str, str] | None] = {}
    for token in _tokens(text):
        if token.type == tokenize.COMMENT and "tune:" in token.string:
            match = _TUNE.search(token.string)
            found[token.start[0]] = (match.group(1), match.group(2)) if match else None
    return found


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    return tokenize.generate_tokens(io.StringIO(text).readline)


def _stop_if(refusals: list[Refusal]) -> None:
    if refusals:
        raise PolicyRefused(sorted(refusals, key=lambda refusal: refusal.line)[:20])


def _syntax(line: int, message: str) -> Refusal:
    return Refusal(line, "syntax", f"This is not Python: {message}.", "Correct the syntax.")


def _text_refusals(text: str) -> Iterator[Refusal]:
    if len(text) > MAX_BYTES:
        yield Refusal(1, "too-long", f"The text is over {MAX_BYTES} bytes.", "Shorten it.")
        return
    bad = _CONTROL.search(text)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        yield Refusal(
            line, "character", "The text may hold printable ASCII only.", "Retype this line."
        )
    if _COOKIE.search("\n".join(text.split("\n", 2)[:2])):
        yield Refusal(1, "character", "An encoding may not be declared.", "Remove the comment.")
    if text.count("\n") >= MAX_LINES:
        yield Refusal(MAX_LINES, "too-long", f"There are over {MAX_LINES} lines.", "Shorten it.")
    if not bad:
        yield from _bracket_refusals(text)


def _bracket_refusals(text: str) -> Iterator[Refusal]:
    depth = 0
    try:
        for token in _tokens(text):
            if token.type != tokenize.OP:
                continue
            depth += (token.string in "([{") - (token.string in ")]}")
            if depth > MAX_BRACKETS:
                reason = f"Brackets are nested over {MAX_BRACKETS} deep."
                yield Refusal(token.start[0], "too-deep", reason, "Use variables.")
                return
    except (tokenize.TokenError, SyntaxError):
        yield _syntax(1, "a bracket or string is not closed, or indentation is uneven")


def _size_refusals(tree: ast.Module) -> list[Refusal]:
    count, loops = 0, 0
    pending: list[tuple[ast.AST, int, int]] = [(tree, 0, 0)]
    while pending:
        node, depth, loops = pending.pop()
        count += 1
        line = getattr(node, "lineno", 1)
        if depth > MAX_DEPTH:
            return [Refusal(line, "too-deep", "The code is nested too deeply.", "Use variables.")]
        if count > MAX_NODES:
            return [Refusal(line, "too-long", "There is too much code.", "Shorten it.")]
        if isinstance(node, ast.For | ast.comprehension):
            loops += 1
            if loops > MAX_LOOPS:
                reason = f"Loops are nested over {MAX_LOOPS} deep."
                return [Refusal(line, "too-deep", reason, "Flatten them.")]
        pending.extend((child, depth + 1, loops) for child in ast.iter_child_nodes(node))
    return []


def _node_refusals(tree: ast.Module) -> Iterator[Refusal]:
    for node in walk(tree):
        line = getattr(node, "lineno", 1)
        if type(node) in _REFUSED:
            yield Refusal(line, *_REFUSED[type(node)])
        elif not isinstance(node, _ALLOWED):
            reason = f"{type(node).__name__} is not part of the language."
            yield Refusal(line, "not-allowed", reason, "Write it plainly.")
        else:
            yield from _detail_refusals(node, line)
    yield from _string_refusals(tree)


def _detail_refusals(node: ast.AST, line: int) -> Iterator[Refusal]:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield from _number_refusals(node.value, line)
    elif isinstance(node, ast.FunctionDef):
        yield from _name_refusals(node.name, line)
        if node.decorator_list or getattr(node, "type_params", None):
            yield Refusal(line, "decorator", "Decorators are not allowed.", "Remove it.")
    elif isinstance(node, ast.arguments):
        if node.vararg or node.kwarg or node.posonlyargs:
            yield Refusal(
                _line_of_arguments(node), "parameters", "Parameters are plain names.",
                "Remove stars and markers, and name every parameter.",
            )  # fmt: skip
    elif isinstance(node, ast.Name):
        yield from _name_refusals(node.id, line)
    elif isinstance(node, ast.arg):
        yield from _name_refusals(node.arg, line)
    elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
        yield Refusal(line, "unknown-field", "No field starts with _.", "Use a record's fields.")
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        yield Refusal(line, "not-allowed", "~ is not part of the language.", "Write not x.")
    elif isinstance(node, ast.comprehension) and node.is_async:
        yield Refusal(line, "not-allowed", "async is not allowed.", "Remove it.")


def _line_of_arguments(node: ast.arguments) -> int:
    parts = [*node.posonlyargs, *node.args, *node.kwonlyargs, node.vararg, node.kwarg]
    return next((part.lineno for part in parts if part is not None), 1)


def _number_refusals(value: float, line: int) -> Iterator[Refusal]:
    if isinstance(value, int) and value > INT_LIMIT:
        yield Refusal(line, "number", "The integer is beyond 2**53.", "Use a smaller one.")
    elif value == math.inf:
        yield Refusal(line, "number", "The number is infinite.", "Write INF.")


def _name_refusals(name: str, line: int) -> Iterator[Refusal]:
    if "__" in name:
        yield Refusal(line, "name", "Names do not contain __.", "Choose another name.")


def _string_refusals(tree: ast.Module) -> Iterator[Refusal]:
    for node in walk(tree):
        if not isinstance(node, ast.Constant) or type(node.value) in (int, float, bool):
            continue
        if node.value is not None:
            yield Refusal(node.lineno, "string", "Only docstrings may be strings.", "Use numbers.")
