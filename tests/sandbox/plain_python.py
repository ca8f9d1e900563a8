"""A policy's canonical text run by CPython itself: a second opinion on lowering and engines.

Nothing of the lowered form is used. Python evaluates the text as it stands, on plain objects,
with the functions of `plain_toolkit.py`. Only the kinds are taken from the verifier: an int that
the language holds as a float becomes one where it is read, and a value that is not of its kind
fails loudly, since everything the engines leave unchecked leans on the kinds.
"""

import ast
import functools
import inspect

import plain_toolkit as toolkit

from sandbox.language.inference import Inference
from sandbox.language.kinds import BOOL, FLOAT, INT, constants, fields, hooks, tools
from sandbox.language.lattice import element_of, same
from sandbox.language.lifting import lifted
from sandbox.language.program import read_program

plain = toolkit.language

_READ_AS = {BOOL: "as_bool", INT: "as_int", FLOAT: "as_float"}


class Row:
    """One record: its fields are attributes, arrays of rows are the filled ones at that time."""

    def __init__(self, record, row):
        self._record = record
        scalars, floats, rows = _parts(record)
        vars(self).update(zip(scalars, row[scalars].item() if scalars else (), strict=True))
        for name in floats:
            vars(self)[name] = plain.Numbers(row[name].tolist())
        for name in rows:
            vars(self)[f"_{name}"] = _Slots(fields()[record][name].record, row, name)

    def __getattr__(self, name):
        slots = vars(self)[f"_{name}"]
        return plain.Places(slots.at(place) for place in range(slots.count))

    def lengthen(self, name, count):
        """Let an array of rows have this many."""
        vars(self)[f"_{name}"].count = count

    def copy(self, other):
        """Take over every field of another row."""
        for name, value in vars(other).items():
            if isinstance(value, plain.Numbers):
                list.__setitem__(vars(self)[name], slice(None), value)
            else:
                vars(self)[name] = value

    def values(self):
        """Every number of it, in the order of the contract."""
        for name, kind in fields()[self._record].items():
            value = getattr(self, name)
            if kind.name == "rows":
                yield [list(row.values()) for row in value]
            else:
                yield list(value) if isinstance(value, plain.Numbers) else value


@functools.cache
def _parts(record):
    """Names of a record's numbers, arrays of floats and arrays of rows."""
    kinds = fields()[record]
    scalars = [name for name, kind in kinds.items() if kind in (BOOL, INT, FLOAT)]
    rows = [name for name, kind in kinds.items() if kind.name == "rows"]
    return scalars, [name for name in kinds if name not in {*scalars, *rows}], rows


class _Slots:
    """Room for rows, each made when it is first looked at, and how many are in use."""

    def __init__(self, record, row, name):
        self.record, self.rows, self.count = record, row[name], int(row[f"n_{name}"])
        self.made = {}

    def at(self, place):
        if place not in self.made:
            self.made[place] = Row(self.record, self.rows[place])
        return self.made[place]


def values_of(record, row):
    """Every number of a numpy row, as `Row.values` has them."""
    return list(Row(record, row).values())


class _AsItStands(ast.NodeTransformer):
    """Marks where a value is read, so that it is read as its kind; leaves the rest alone."""

    def __init__(self, kinds):
        self.kinds = kinds
        self.values = {}
        self.names = 0

    def visit(self, node):
        kind = self.kind(node) if isinstance(node, ast.expr) else None
        done = super().visit(node)
        read = not isinstance(getattr(node, "ctx", None), ast.Store)
        return self.as_kind(kind, done) if kind is not None and read else done

    def kind(self, node):
        return self.kinds.get(_position(node))

    def as_kind(self, kind, node):
        """`node`, read as a value of this kind."""
        if kind in _READ_AS:
            return _call(_READ_AS[kind], node)
        if kind.name not in ("list", "tuple", "optional"):
            return node
        name = f"kind_{len(self.values)}__"
        self.values[name] = kind
        return _call("as_kind", _load(name), node)

    def visit_BinOp(self, node):
        whole = self.kind(node) == INT
        self.generic_visit(node)
        if whole:  # Python's bool would compute past every check
            node.left, node.right = _call("as_int", node.left), _call("as_int", node.right)
        return _operation(node.left, node.op, node.right)

    def visit_Subscript(self, node):
        """xs[-1], where the sign is written out, counts from the end."""
        place = node.slice
        signed = isinstance(place, ast.UnaryOp) and isinstance(place.op, ast.USub)
        if signed and isinstance(place.operand, ast.Constant):
            if isinstance(node.ctx, ast.Load):
                return _call("back", self.visit(node.value), self.visit(place.operand))
            size = _call("len", self.visit(node.value))
            node.slice = ast.BinOp(size, ast.Sub(), place.operand)
            node.value = self.visit(node.value)
            return node
        self.generic_visit(node)
        return node

    def visit_Compare(self, node):
        operands = [node.left, *node.comparators]
        if isinstance(node.ops[0], ast.In | ast.NotIn):
            return self._member(node)
        floats = any(self.kind(operand) == FLOAT for operand in operands)
        numbers = all(self.kind(operand) in _READ_AS for operand in operands)
        self.generic_visit(node)
        if floats and numbers:
            node.left = _call("as_float", node.left)
            node.comparators = [_call("as_float", one) for one in node.comparators]
        return node

    def _member(self, node):
        choices = node.comparators[0]
        if isinstance(choices, ast.Tuple | ast.List):
            several = [self.visit(one) for one in choices.elts]
        else:
            several = [ast.Starred(self.visit(choices), ast.Load())]
        found = _call("among", self.visit(node.left), *several)
        return ast.UnaryOp(ast.Not(), found) if isinstance(node.ops[0], ast.NotIn) else found

    def visit_AugAssign(self, node):
        """`a[f()] += x` reads the place once, then the value, and writes last."""
        kind = self.kind(node.target)
        if kind not in _READ_AS:
            node.value = self.visit(node.value)
            if isinstance(node.op, ast.Pow) and isinstance(node.target, ast.Name):
                raised = _operation(_load(node.target.id), node.op, node.value)
                return ast.Assign([node.target], raised)
            return node
        lines = []
        if isinstance(node.target, ast.Subscript):
            parts = [self.visit(node.target.value), self.visit(node.target.slice)]
            owner, index = (self._name() for _ in parts)
            lines = [_store(owner, parts[0]), _store(index, parts[1])]
            places = [ast.Subscript(_load(owner), _load(index), c()) for c in (ast.Load, ast.Store)]
        else:
            places = [_load(node.target.id), node.target]
        old = _call(_READ_AS[kind], places[0])
        value = _operation(old, node.op, self.visit(node.value))
        return [*lines, ast.Assign([places[1]], value)]

    def _name(self):
        self.names += 1
        return f"place_{self.names}__"


def _position(node):
    """A node's type and place in the text: equal for a node and its copies."""
    ends = (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)
    return (type(node).__name__, *ends) if hasattr(node, "lineno") else None


def _kinds(inference):
    """Kind of each expression by its position; not of those that stand for several."""
    found = {}
    for node, kind in inference.expressions.items():
        place = _position(node)
        known = found.setdefault(place, kind)
        if known is not None and not same(known, kind):
            found[place] = None
    return found


def _operation(left, operator, right):
    if isinstance(operator, ast.Pow):
        return _call("power", left, right)
    return ast.BinOp(left, operator, right)


def _load(name):
    return ast.Name(name, ast.Load())


def _store(name, value):
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _call(name, *arguments):
    return ast.Call(_load(name), list(arguments), [])


def as_bool(value):
    if type(value) is not bool:
        raise plain.WrongKind(f"{value!r} is no bool")
    return value


def as_int(value):
    if value is None:
        raise plain.Fault(plain.OTHER)
    if type(value) not in (bool, int, plain.Int):
        raise plain.WrongKind(f"{value!r} is no int")
    return plain.Int(value)


def as_float(value):
    if value is None:
        raise plain.Fault(plain.OTHER)
    if type(value) not in (bool, int, plain.Int, float):
        raise plain.WrongKind(f"{value!r} is no number")
    return float(value)


def as_kind(kind, value):
    """A list, tuple or optional with its numbers as their kinds; a list stays the same list."""
    if kind in _READ_AS:
        return {BOOL: as_bool, INT: as_int, FLOAT: as_float}[kind](value)
    if kind.name == "optional":
        return None if value is None else as_kind(kind.parts[0], value)
    if kind.name == "tuple":
        if len(value) != len(kind.parts):
            raise plain.WrongKind(f"{value!r} is no {kind}")
        return tuple(as_kind(part, one) for part, one in zip(kind.parts, value, strict=True))
    if kind.name == "list" and not isinstance(value, plain.Sequence):
        return plain.List(as_kind(element_of(kind), one) for one in value)
    return value


def among(value, *choices):
    return any(value == choice for choice in choices)


def _tool(function):
    """A function of the toolkit whose numbers become what its parameters say."""
    signature = inspect.signature(function)
    takes = [parameter.annotation for parameter in signature.parameters.values()]
    convert = {float: float, int: plain.Int}

    def called(*arguments, **named):
        if named:
            arguments = signature.bind(*arguments, **named).args
        given = [convert.get(t, lambda x: x)(a) for t, a in zip(takes, arguments, strict=True)]
        return function(*given)

    return called


@functools.cache
def _functions():
    functions = {name: _tool(getattr(toolkit, name)) for name in tools() if name != "order"}
    return {
        **constants(), **functions, "__builtins__": {}, "power": plain.power, "among": among,
        "as_kind": as_kind, "back": plain.back, "list": plain.List, "tuple": plain.List,
        "as_bool": as_bool, "as_int": as_int, "as_float": as_float,
        "min": plain.extreme(lambda a, b: a < b), "max": plain.extreme(lambda a, b: a > b),
        "sum": plain.total, "sorted": plain.ordered, "range": plain.Turns, "int": plain.whole,
        "round": plain.nearest, "float": float, "bool": bool, "abs": abs, "len": len, "any": any,
        "all": all, "enumerate": enumerate, "zip": plain.side_by_side, "reversed": reversed,
    }  # fmt: skip


class PlainPolicy:
    """A verified policy as Python runs it."""

    def __init__(self, source):
        self.constants = {
            one.name: int(one.value) if one.integer else one.value for one in source.tunables
        }
        program = read_program(lifted(ast.parse(source.canonical)), {})
        program.constants = {one.name: one for one in source.tunables}
        inference = Inference(program)
        inference.run()
        tree = ast.parse(source.canonical)
        marker = _AsItStands(_kinds(inference))
        kept = [node for node in tree.body if _defined(node) not in self.constants]
        tree.body = [marker.visit(node) for node in kept]
        self.constants |= marker.values
        self.code = compile(ast.fix_missing_locations(tree), "<canonical text>", "exec")

    def call(self, hook, rows, memory, rotation=0):
        """What a call leaves: ("answer", value) or ("fault", kind), memory, records by name."""
        given = {"memory": plain.Numbers(memory.tolist())}
        for name, kind in hooks()[hook].parameters:
            if kind.record:
                made = [Row(kind.record.removeprefix("New"), row) for row in rows[name]]
                if kind.name == "rows":
                    turn = rotation if kind.record == "Instance" else 0
                    given[name] = plain.Places(made[turn:] + made[:turn])
                    rows_seen = made
                else:
                    given[name], rows_seen = made[0], made
                given[f"{name} as it lies"] = rows_seen
        scratch = plain.Scratch()
        own = {"zeros": scratch.zeros, "order": scratch.order}
        scope = _functions() | own | self.constants
        exec(self.code, scope)
        answer = _answer(scope[hook], hook, [given[name] for name, _ in hooks()[hook].parameters])
        left = {name: given[f"{name} as it lies"] for name in rows}
        return answer, list(given["memory"]), left


def _defined(node):
    return node.targets[0].id if isinstance(node, ast.Assign) else ""


def _answer(function, hook, arguments):
    try:
        value = function(*arguments)
        if hooks()[hook].result == INT:
            value = plain.checked(as_int(value))
        elif hooks()[hook].result == FLOAT:
            value = as_float(value)
            plain.need(value == value, plain.NOT_A_NUMBER)
    except plain.Fault as fault:
        return "fault", fault.kind
    except ZeroDivisionError:
        return "fault", plain.ZERO_DIVISION
    except AttributeError as error:
        if error.obj is not None:
            raise
        return "fault", plain.OTHER  # a field of None
    except TypeError as error:
        if "NoneType" not in str(error):
            raise
        return "fault", plain.OTHER  # None in arithmetic or a comparison
    return "answer", value


def differences(outcome, engine, rows, memory, written):
    """Words for how an engine's outcome, memory and `written` rows differ from plain Python's."""
    answer, floats, records = outcome
    found = []
    if not _same(answer, engine):
        found.append(f"answer {engine} instead of {answer}")
    if not _same(floats, memory.tolist()):
        found.append("memory")
    for name in written:
        ours = [list(row.values()) for row in records[name]]
        theirs = [values_of(records[name][at]._record, row) for at, row in enumerate(rows[name])]
        if not _same(ours, theirs):
            found.append(name)
    return found


def _same(a, b):
    """Equal numbers, lists in lists; missing equals missing, and the sign of zero is no matter."""
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return a == b or (a != a and b != b)
