"""Makes a program that shows a fault as small as it can be while it still shows it."""

import ast
import copy

TRIES = 300


def smallest(text, fails, tries=TRIES):
    """The shortest text found that `fails(text)` still holds for.

    Statements are taken away and expressions replaced by a part of themselves or by a number,
    until nothing helps or so many texts have been tried.
    """
    best = text
    while True:
        for candidate in _simpler(best):
            tries -= 1
            if tries < 0:
                return best
            if len(candidate) < len(best) and fails(candidate):
                best = candidate
                break
        else:
            return best


def _simpler(text):
    tree = ast.parse(text)
    places = [(node, name) for node in ast.walk(tree) for name in ("body", "orelse")]
    for node, name in places:
        block = getattr(node, name, None)
        if isinstance(block, list):
            yield from _without_statements(tree, block)
    yield from _with_simpler_expressions(tree)


def _without_statements(tree, block):
    for place in range(len(block)):
        kept = list(block)
        inner = getattr(block[place], "body", [])
        for replacement in ([], inner if isinstance(inner, list) else [], [ast.Pass()]):
            block[place : place + 1] = replacement
            if block:
                yield _text(tree)
            block[:] = kept


def _with_simpler_expressions(tree):
    for node in ast.walk(tree):
        for name, value in list(ast.iter_fields(node)):
            if isinstance(value, ast.expr) and name not in ("func", "target"):
                parts = [part for part in ast.iter_child_nodes(value) if isinstance(part, ast.expr)]
                for part in [*map(copy.deepcopy, parts), ast.Constant(0), ast.Constant(0.5)]:
                    setattr(node, name, part)
                    yield _text(tree)
                setattr(node, name, value)


def _text(tree):
    return ast.unparse(ast.fix_missing_locations(copy.deepcopy(tree))) + "\n"
