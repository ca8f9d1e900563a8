"""Changes to policies that the verifier admits: programs close to the boundary, on either side."""

import ast
import contextlib
import copy
import functools
from pathlib import Path

from sandbox import contract
from sandbox.errors import PolicyRefused
from sandbox.language.kinds import fields, tools
from sandbox.language.lifting import lifted
from sandbox.language.program import read_program
from sandbox.verifier import verify

HERE = Path(__file__).resolve()
NUMBERS = [0, 1, -1, 2, 3, 7, 63, 64, 255, 257, 4096, 2**31, 2**53 - 1, 2**53, 2**53 + 1, 2**63]
NUMBERS += [1e19, 0.0, -0.0, 0.5, 1e-9, 1e308, 5e-324, 9007199254740993.0, True, None]
OPERATORS = [ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow]
COMPARISONS = [ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE]


@functools.cache
def texts():
    """Policies at hand: the library, the default, drafts, and one of every construct."""
    root = HERE.parents[2]
    paths = sorted([*root.glob("evolver/library/*.py"), *HERE.parent.glob("drafts/**/*.py")])
    return [*paths, root / "sandbox/policies/default.py", HERE.with_name("every_construct.txt")]


@functools.cache
def hooks_of(path):
    """Hook and syntax tree of it with what it reaches, for every hook of a text."""
    try:
        tree = ast.parse(verify(path.read_text()).canonical)
    except PolicyRefused:
        return []
    program = read_program(lifted(tree), {})
    found = []
    for hook in program.hooks:
        kept = {name.split("__")[0] for name in program.reached_from(hook)}
        body = [
            node for node in tree.body if isinstance(node, ast.Assign) or _name(node) in kept
        ]
        found.append((hook, ast.Module(body, [])))
    return found


def _name(node):
    return node.name if isinstance(node, ast.FunctionDef) else node.targets[0].id


def mutant(rng):
    """A changed program: its hook and its text."""
    found = []
    while not found:
        found = hooks_of(rng.choice(texts()))
    hook, tree = rng.choice(found)
    tree = copy.deepcopy(tree)
    for _ in range(rng.randint(1, 3)):
        with contextlib.suppress(IndexError):  # there is nothing of that sort to change
            rng.choice(_CHANGES)(tree, rng)
    text = ast.unparse(ast.fix_missing_locations(tree)) + "\n"
    return hook, text if _is_python(text) else ""


def _is_python(text):
    try:
        compile(text, "<mutant>", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def _some(tree, rng, *types):
    found = [node for node in ast.walk(tree) if isinstance(node, types)]
    return rng.choice(found) if found else None


def _blocks(tree):
    for node in ast.walk(tree):
        for name in ("body", "orelse"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and not isinstance(node, ast.Module):
                yield block


def _expressions(tree):
    """Every place of an expression that is read: its owner, the field and the index in it."""
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            several = value if isinstance(value, list) else [value]
            for place, one in enumerate(several):
                stored = isinstance(getattr(one, "ctx", None), ast.Store)
                read = isinstance(one, ast.expr) and not isinstance(one, ast.Slice) and not stored
                if read and name not in ("func", "target"):
                    yield node, name, place if isinstance(value, list) else None


def _put(where, new):
    node, name, place = where
    if place is None:
        setattr(node, name, new)
    else:
        getattr(node, name)[place] = new


def _get(where):
    node, name, place = where
    value = getattr(node, name)
    return value if place is None else value[place]


def change_constant(tree, rng):
    node = _some(tree, rng, ast.Constant)
    if node:
        node.value = rng.choice(NUMBERS)


def change_name(tree, rng):
    node, other = _some(tree, rng, ast.Name), _some(tree, rng, ast.Name)
    if node:
        constants = ["INF", "HOLD", "MIXED", "MAX_REPLICAS", "len", "memory", "frame", "P"]
        node.id = rng.choice([other.id, other.id, other.id, rng.choice(constants)])


def change_field(tree, rng):
    node = _some(tree, rng, ast.Attribute)
    if node:
        owners = [record for record in fields().values() if node.attr in record]
        node.attr = rng.choice(list(rng.choice(owners or [fields()["Request"]])))


def change_operator(tree, rng):
    node = _some(tree, rng, ast.BinOp, ast.AugAssign, ast.Compare, ast.BoolOp)
    if isinstance(node, ast.Compare):
        node.ops[0] = rng.choice(COMPARISONS)()
    elif isinstance(node, ast.BoolOp):
        node.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
    elif node:
        node.op = rng.choice(OPERATORS)()


def change_call(tree, rng):
    node = _some(tree, rng, ast.Call)
    names = [*tools(), "min", "max", "sum", "len", "any", "int", "float", "abs", "sorted", "zip"]
    if node and isinstance(node.func, ast.Name):
        if rng.random() < 0.5 or not node.args:
            node.func.id = rng.choice(names)
        else:
            node.args.pop(rng.randrange(len(node.args)))


def delete_statement(tree, rng):
    block = rng.choice(list(_blocks(tree)))
    block[rng.randrange(len(block))] = ast.Pass()


def repeat_statement(tree, rng):
    block, other = (rng.choice(list(_blocks(tree))) for _ in range(2))
    block.insert(rng.randrange(len(block) + 1), copy.deepcopy(rng.choice(other)))


def swap_statements(tree, rng):
    block = rng.choice(list(_blocks(tree)))
    one, other = rng.randrange(len(block)), rng.randrange(len(block))
    block[one], block[other] = block[other], block[one]


def drop_guard(tree, rng):
    for block in rng.sample(list(_blocks(tree)), len(list(_blocks(tree)))):
        for place, node in enumerate(block):
            if isinstance(node, ast.If | ast.For):
                block[place : place + 1] = node.body
                return


def longer_loop(tree, rng):
    node = _some(tree, rng, ast.For, ast.comprehension)
    if node and isinstance(node.iter, ast.Call) and node.iter.args:
        factor = ast.Constant(rng.choice([2, 50, 1000, 2**52]))
        node.iter.args[0] = ast.BinOp(node.iter.args[0], ast.Mult(), factor)
    elif node:
        length = rng.choice([contract.MAX_REPLICAS, 10_000, 2**53])
        node.iter = ast.parse(f"range({length})", mode="eval").body


def nest_loop(tree, rng):
    block = rng.choice(list(_blocks(tree)))
    place = rng.randrange(len(block))
    over = rng.choice(["range(3)", "range(64)", "memory", "range(int(memory[0]))"])
    loop = ast.parse(f"for turn in {over}:\n    pass").body[0]
    loop.body = [block[place]]
    block[place] = loop


def replace_expression(tree, rng):
    places = list(_expressions(tree))
    if places:
        _put(rng.choice(places), copy.deepcopy(_get(rng.choice(places))))


def wrap_expression(tree, rng):
    places = list(_expressions(tree))
    if not places:
        return
    where = rng.choice(places)
    forms = ["-({})", "not ({})", "float({})", "int({})", "len([{} for turn in range(3)])"]
    forms += ["({}) ** 8", "({} if memory[0] else {})", "({} or {})", "max({}, {})", "[{}]"]
    forms += ["({}, {})", "sum(({} for turn in memory))", "({}) % 3", "({})[0]", "({}).id"]
    text = rng.choice(forms).replace("{}", ast.unparse(_get(where)))
    _put(where, ast.parse(text, mode="eval").body)


_CHANGES = [
    change_constant, change_name, change_field, change_operator, change_call, delete_statement,
    repeat_statement, swap_statements, drop_guard, longer_loop, nest_loop, replace_expression,
    wrap_expression,
]  # fmt: skip
