"""Random policies and records near the language's boundary, for differential tests."""

import random

import numpy as np

from sandbox import contract
from sandbox.errors import PolicyRefused
from sandbox.kinds import BOOL, FLOAT, INT, fields
from sandbox.records import new_rows
from sandbox.verifier import verify

FLOATS = [0.0, -0.0, 1.0, -1.5, 0.3, 1e-9, 5e-324, 1e16, 1e308, 2.0**53, 2.0**53 + 2]
FLOATS += [float("nan"), float("inf"), float("-inf"), 7.5, 120.25]
INTS = [0, 1, -1, 2, 3, 7, 40, 1000, 2**31, 2**52, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1]
INTS += [2**62, 2**63 - 1, -(2**63)]


def random_rows(record, count, rng, wild):
    """Rows whose fields hold small numbers, and with a chance of `wild` anything at all."""
    rows = new_rows(record, count)
    for row in range(count):
        _fill(rows[row], record.__name__, rng, wild)
    return rows


def _fill(row, record, rng, wild):
    for name, kind in fields()[record].items():
        if kind == BOOL:
            row[name] = rng.random() < 0.5
        elif kind == INT:
            row[name] = rng.choice(INTS) if rng.random() < wild else rng.randint(0, 9)
        elif kind == FLOAT:
            tame = rng.choice([rng.random() * 10, float(rng.randint(0, 5))])
            row[name] = rng.choice(FLOATS) if rng.random() < wild else tame
        elif kind.name == "rows":
            row[f"n_{name}"] = rng.randint(0, min(4, len(row[name])))
            for one in range(row[f"n_{name}"]):
                _fill(row[name][one], kind.record, rng, wild)
        else:
            row[name] = [rng.random() for _ in row[name]]


class Generator:
    """Writes one policy with a `route` hook; equal seeds give equal texts."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.names = 0
        self.ints, self.floats, self.bools, self.rows = [], [], [], []
        self.vectors, self.tables, self.helpers = ["memory"], [], []
        self.lines = []

    def text(self):
        self.lines = ["N = 3  # tune: 1 .. 6", "KNEE = 0.75", ""]
        for _ in range(self.rng.randint(0, 2)):
            self.helper()
        self.lines += ["def route(request, instances, memory):"]
        self.start(["request"], ["instances"])
        self.block(1, self.rng.randint(2, 7))
        self.lines.append(f"    return {self.integer(2)}")
        return "\n".join(self.lines) + "\n"

    def start(self, records, row_names):
        self.ints, self.floats, self.bools = ["N"], ["KNEE"], []
        self.records = [(name, "Request" if name == "request" else "Instance") for name in records]
        self.rows = row_names
        self.vectors, self.tables = (["memory"] if row_names else []), []
        if row_names:
            for kind in ("ints", "floats", "bools"):
                self.assign(1, kind, fresh=True)

    def helper(self):
        name = f"help{len(self.helpers)}"
        self.lines.append(f"def {name}(inst, amount, count):")
        self.start(["inst"], [])
        self.floats.append("amount")
        self.ints.append("count")
        self.block(1, 2)
        self.lines += [f"    return {self.floating(2)}", ""]
        self.helpers.append(name)

    def fresh(self, prefix):
        self.names += 1
        return f"{prefix}{self.names}"

    def block(self, depth, statements):
        for _ in range(statements):
            self.statement(depth, 2)

    def put(self, depth, line):
        self.lines.append("    " * depth + line)

    def statement(self, depth, size):
        choices = [self.assign_any] * 5 + [self.augment] * 2
        if depth < 3:
            choices += [self.branch] * 2 + [self.loop] * 2
        if self.vectors:
            choices += [self.write] * 2
            if depth == 1:
                choices += [self.scratch]
        self.rng.choice(choices)(depth)

    def assign_any(self, depth):
        self.assign(depth, self.rng.choice(["ints", "floats", "floats", "bools"]), depth == 1)

    def assign(self, depth, kind, fresh=False):
        write = {"ints": self.integer, "floats": self.floating, "bools": self.boolean}[kind]
        pool = [name for name in getattr(self, kind) if not name.isupper()]
        value = write(3)
        if fresh or not pool:
            name = self.fresh(kind[0])
            self.put(depth, f"{name} = {value}")
            if depth == 1:
                getattr(self, kind).append(name)
        elif len(pool) > 1 and self.rng.random() < 0.2:
            first, second = self.rng.sample(pool, 2)
            self.put(depth, f"{first}, {second} = {value}, {write(2)}")
        else:
            self.put(depth, f"{self.rng.choice(pool)} = {value}")

    def augment(self, depth):
        pool = [name for name in self.floats if not name.isupper()]
        if pool:
            operator = self.rng.choice(["+", "-", "*", "/", "//", "%"])
            self.put(depth, f"{self.rng.choice(pool)} {operator}= {self.number(2)}")
        if self.vectors and self.rng.random() < 0.5:
            self.put(depth, f"{self.place()} += {self.number(2)}")

    def place(self):
        if self.tables and self.rng.random() < 0.4:
            return f"{self.rng.choice(self.tables)}[{self.index()}, {self.index()}]"
        return f"{self.rng.choice(self.vectors)}[{self.index()}]"

    def index(self):
        if self.rng.random() < 0.7:
            return str(self.rng.randint(0, 3))
        return self.rng.choice(["N", *self.ints, f"int({self.floating(0)})"])

    def write(self, depth):
        self.put(depth, f"{self.place()} = {self.number(2)}")

    def scratch(self, depth):
        name = self.fresh("a")
        if self.rng.random() < 0.5:
            self.put(depth, f"{name} = zeros({self.rng.choice(['4', 'N', 'len(instances)'])})")
            self.vectors.append(name)
        else:
            self.put(depth, f"{name} = zeros({self.rng.choice(['4', 'N'])}, 4)")
            self.tables.append(name)

    def branch(self, depth):
        self.put(depth, f"if {self.condition(3)}:")
        self.block(depth + 1, self.rng.randint(1, 2))
        if self.rng.random() < 0.5:
            self.put(depth, f"elif {self.condition(2)}:")
            self.block(depth + 1, 1)
        if self.rng.random() < 0.5:
            self.put(depth, "else:")
            self.block(depth + 1, 1)

    def loop(self, depth):
        saved = [list(part) for part in (self.ints, self.floats, self.records)]
        name = self.fresh("k")
        form = self.rng.randint(0, 5 if self.rows else 1)
        if form == 0:
            self.put(depth, f"for {name} in range({self.rng.choice(['3', 'N', 'N + 1'])}):")
            self.ints.append(name)
        elif form == 1:
            self.put(depth, f"for {name} in range({self.integer(1)}, 5, 2):")
            self.ints.append(name)
        elif form == 2:
            self.put(depth, f"for {name} in instances:")
            self.records.append((name, "Instance"))
        elif form == 3:
            self.put(depth, f"for i{name}, {name} in enumerate(reversed(instances)):")
            self.ints.append(f"i{name}")
            self.records.append((name, "Instance"))
        elif form == 4:
            key = f"key=lambda r: {self.field('r', 'Instance')}"
            self.put(depth, f"for {name} in sorted(instances, {key}):")
            self.records.append((name, "Instance"))
        else:
            vector = self.rng.choice(self.vectors)
            self.put(depth, f"for {name}, v{name} in zip(instances, {vector}):")
            self.records.append((name, "Instance"))
            self.floats.append(f"v{name}")
        self.block(depth + 1, self.rng.randint(1, 2))
        if self.rng.random() < 0.3:
            word = self.rng.choice(["break", "continue"])
            self.put(depth + 1, f"if {self.condition(1)}:")
            self.put(depth + 2, word)
            self.block(depth + 1, 1)
        self.ints, self.floats, self.records = saved

    def field(self, owner, record, kind=None):
        names = [name for name, held in fields()[record].items() if held == (kind or FLOAT)]
        return f"{owner}.{self.rng.choice(names)}"

    def some_field(self, kind):
        return self.field(*self.rng.choice(self.records), kind)

    def number(self, size):
        return self.rng.choice([self.integer, self.floating, self.floating])(size)

    def integer(self, size):
        rng = self.rng
        if size <= 0 or rng.random() < 0.2:
            literal = str(rng.choice([0, 1, 2, 3, 5, 9_007_199_254_740_992]))
            return rng.choice([literal, *self.ints, self.some_field(INT)])
        a, b = self.integer(size - 1), self.integer(size - 1)
        forms = [lambda: f"({a} {rng.choice(['+', '-', '*', '//', '%'])} {b})"] * 4
        forms += [lambda: f"min({a}, {b})", lambda: f"max({a}, {b})", lambda: f"abs({a})"]
        forms += [lambda: f"-{a}", lambda: f"({a}) ** 2"]
        forms += [lambda: f"int({self.floating(size - 1)})"]
        forms += [lambda: f"round({self.floating(size - 1)})"]
        forms += [lambda: f"floor({self.floating(size - 1)})"]
        forms += [lambda: f"ceil({self.floating(size - 1)})"]
        forms += [lambda: f"({a} if {self.condition(size - 1)} else {b})"]
        forms += [lambda: f"clip({a}, 0, {b})"]
        if self.rows:
            forms += [lambda: "len(instances)"]
            forms += [lambda: f"sum({self.field('r', 'Instance', INT)} for r in instances)"]
            forms += [lambda: f"len([r for r in instances if {self.field('r', 'Instance')} > {b}])"]
            forms += [lambda: f"max((r.id for r in instances if r.id > {b}), default={a})"]
            key = self.field("r", "Instance")
            forms += [lambda: f"{rng.choice(['min', 'max'])}(instances, key=lambda r: {key}).id"]
            forms += [lambda: f"instances[{self.index()}].id"]
        return rng.choice(forms)()

    def floating(self, size):
        rng = self.rng
        if size <= 0 or rng.random() < 0.2:
            literal = rng.choice(["0.0", "0.5", "1e-9", "1e300", "2.5", "INF"])
            return rng.choice([literal, *self.floats, self.some_field(FLOAT)])
        a, b = self.floating(size - 1), self.number(size - 1)
        random = [lambda: f"random01(request.seed, {self.integer(size - 2)})"] if self.rows else []
        forms = [lambda: f"({a} {rng.choice(['+', '-', '*', '/', '//', '%'])} {b})"] * 5
        forms += [lambda: f"min({a}, {b})", lambda: f"max({b}, {a})", lambda: f"abs({a})"]
        forms += [lambda: f"-({a})", lambda: f"({a}) ** 3"]
        forms += [lambda: f"sqrt({a})", lambda: f"exp({a})"]
        forms += [lambda: f"log({a})", lambda: f"clip({a}, 0.0, {b})"]
        forms += [lambda: f"ratio({a}, {b}, 1.0)", *random]
        forms += [lambda: f"({a} if {self.condition(size - 1)} else {b})"]
        forms += [lambda: f"float({self.integer(size - 2)})"]
        if self.helpers and self.rows:
            helper, record = rng.choice(self.helpers), "min(instances, key=lambda r: r.id)"
            forms += [lambda: f"{helper}({record}, {b}, {self.integer(size - 2)})"] * 2
        if self.rows:
            value = f"{self.field('r', 'Instance')} * {b}"
            forms += [lambda: f"sum({value} for r in instances)"]
            forms += [lambda: f"max({value} for r in instances)"]
            test = f"r.id != {self.integer(size - 2)}"
            forms += [lambda: f"min([{value} for r in instances if {test}])"]
            forms += [lambda: f"completion_s(request, instances[{rng.randint(0, 3)}])"]
        if self.vectors:
            forms += [self.place] * 2
        return rng.choice(forms)()

    def boolean(self, size):
        rng = self.rng
        if size <= 0:
            return rng.choice(["True", *self.bools, self.some_field(BOOL)])
        a, b = self.number(size - 1), self.number(size - 1)
        forms = [lambda: f"{a} {rng.choice(['<', '<=', '>', '>=', '==', '!='])} {b}"] * 4
        forms += [lambda: f"is_missing({self.floating(size - 1)})"]
        forms += [lambda: f"not {self.condition(size - 1)}"]
        forms += [lambda: f"{a} <= {b} < {self.number(1)}"]
        forms += [lambda: f"{self.integer(size - 2)} in (1, 2, {a})"]
        if self.rows:
            test = f"{self.field('r', 'Instance')} > {b}"
            forms += [lambda: f"{rng.choice(['any', 'all'])}({test} for r in instances)"]
        word = rng.choice(["and", "or"])
        forms += [lambda: f"({self.boolean(size - 1)} {word} {self.boolean(size - 1)})"]
        return rng.choice(forms)()

    def condition(self, size):
        return self.boolean(size) if self.rng.random() < 0.8 else self.integer(size)


def random_inputs(rng):
    """A request, instances, memory, rotation and fuel."""
    wild = rng.choice([0.0, 0.05, 0.3])
    instances = random_rows(contract.Instance, rng.randint(1, 6), rng, wild)
    memory = np.array([rng.choice([0.0, 1.0, *FLOATS]) for _ in range(contract.MEMORY_SLOTS)])
    fuel = rng.choice([60_000, 60_000, 60_000, rng.randint(0, 500)])
    rotation = rng.randrange(len(instances))
    instances["id"] = np.arange(len(instances)) + 10
    return random_rows(contract.Request, 1, rng, wild), instances, memory, rotation, fuel


def admitted(seed):
    """The first program from this seed on that the verifier does not find too costly."""
    while True:
        text = Generator(seed).text()
        try:
            verify(text)
        except PolicyRefused as refused:
            if {refusal.code for refusal in refused.refusals} != {"cost"}:
                raise
            seed += 1
        else:
            return text
