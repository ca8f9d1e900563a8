"""Random expressions of every kind the language has, over the names that are at hand."""

import random

from sandbox.language.kinds import (
    BOOL,
    FLOAT,
    FLOATS,
    INT,
    NEW_PLAN,
    PLAN,
    TABLE,
    VECTOR,
    WRITERS,
    Kind,
    fields,
    fits,
    hooks,
    tools,
)  # fmt: skip

BITS = ["<<", ">>", "&", "|", "^"]
ARITHMETIC = ["+", "-", "*", "/", "//", "%"]
INTEGERS = ["0", "1", "2", "3", "5", "-1", "9007199254740992", "MIXED", "DECODE", "N"]
NUMBERS = ["0.0", "0.5", "1e-9", "1e300", "2.5", "INF", "-0.0", "5e-324", "KNEE", "(0.1 + 0.2)"]
PAIR = Kind("tuple", parts=(FLOAT, INT))


class Expressions:
    """What may be written at one place of a program: names with their kinds, and chance."""

    def __init__(self, seed, size):
        self.rng = random.Random(seed)
        self.size = size
        self.hook = self.rng.choice([*hooks(), "route", "route", "schedule", "schedule"])
        self.serial = 0
        self.names, self.lines, self.helpers = [], [], []
        self.lists, self.pairs, self.maybe = [], [], []
        self.loops = 0

    def fresh(self, prefix):
        self.serial += 1
        return f"{prefix}{self.serial}"

    def chance(self, share):
        return self.rng.random() < share

    def having(self, kind):
        """Variables that hold a kind."""
        return [name for name, held in self.names if fits(held, kind)]

    def of_some(self, name):
        """Variables whose kind is called so, with the kind."""
        return [(one, kind) for one, kind in self.names if kind.name == name]

    def elements(self):
        """What a list may hold: numbers, records that are at hand, pairs of numbers."""
        records = [kind for _, kind in self.names if kind.name == "record"]
        rows = [Kind("record", kind.record) for _, kind in self.names if kind.name == "rows"]
        usable = [kind for kind in records + rows if kind not in (PLAN, NEW_PLAN)]
        return self.rng.choice([INT, INT, FLOAT, FLOAT, PAIR, *usable[:3]])

    def element(self, kind, size=1):
        """An expression for an element; of a record only where one is surely to be had."""
        if kind == PAIR:
            return f"({self.value(FLOAT, size)}, {self.value(INT, size)})"
        return self.value(kind, size)

    def listed(self, kind, size):
        """An expression of a number that looks into a list."""
        for xs, held in self.rng.sample(self.lists, len(self.lists)):
            forms = []
            if held == kind:
                forms += [f"{xs}[{self.index()}]", f"{xs}[-1]", f"max({xs})", f"sum({xs})"]
                forms += [f"max(sorted({xs})[:2])", f"min({xs}, default={self.value(kind, 0)})"]
            if held == PAIR:
                part = "1" if kind == INT else "0"
                forms += [f"{xs}[{self.index()}][{part}]", f"min({xs})[{part}]"]
            if held.name == "record" and kind in (INT, FLOAT):
                forms += [self.field_of(f"{xs}[{self.index()}]", held, kind)]
            if kind == INT:
                forms += [f"len({xs})"]
            if held == INT and kind == INT:
                forms += [f"{xs}.count({self.integer(0)})", f"{xs}.index({self.integer(0)})"]
            if forms:
                return self.rng.choice(forms)
        pairs = [f"{name}[{place}]" for name, kinds in self.pairs
                 for place, held in enumerate(kinds) if held == kind]  # fmt: skip
        return self.rng.choice(pairs) if pairs else self.some_field(kind)

    def field_of(self, owner, record, kind):
        names = [f for f, what in fields()[record.record].items() if what == kind]
        return f"{owner}.{self.rng.choice(names)}" if names else {INT: "1", FLOAT: "0.5"}[kind]

    def place(self):
        tables, vectors = self.having(TABLE), self.having(VECTOR)
        if tables and (not vectors or self.chance(0.4)):
            return f"{self.rng.choice(tables)}[{self.index()}, {self.index()}]"
        return f"{self.rng.choice(vectors)}[{self.index()}]"

    def writable(self):
        return self.having(VECTOR) or self.having(TABLE)

    def index(self):
        if self.chance(0.7):
            return str(self.rng.randint(0, 3))
        return self.rng.choice(["N", self.exact(), self.exact(), f"int({self.value(FLOAT, 0)})"])

    def exact(self):
        """An integer that is no bool and has no sign before it."""
        names = [name for name, kind in self.names if kind == INT]
        return self.rng.choice([f"0 + {self.value(INT, 1)}", *names])

    def iterable(self, size):
        """A loop's target, what it runs over, and the kinds of the target's names."""
        name = self.fresh("k")
        if size > 0 and self.chance(0.45):
            form = self.rng.choice(["enumerate", "reversed", "zip"])
            first, inner, kinds = self.iterable(size - 1)
            if form == "enumerate":
                first = f"({first})" if "," in first else first
                return f"{name}, {first}", f"enumerate({inner})", [(name, INT), *kinds]
            if form == "reversed" and not inner.startswith(("enumerate(", "zip(", "reversed(")):
                return first, f"reversed({inner})", kinds
            if form == "zip":
                second, other, more = self.iterable(0)
                first = f"({first})" if "," in first else first
                return f"{first}, {second}", f"zip({inner}, {other})", [*kinds, *more]
            return first, inner, kinds
        rows = self.rows_expression()
        if rows and self.chance(0.6):
            text, record = rows
            if self.chance(0.25):
                text = f"sorted({text}, key={self.key(record)})"
            return name, text, [(name, Kind("record", record))]
        if self.having(FLOATS) and self.chance(0.3):
            return name, self.value(FLOATS, 1), [(name, FLOAT)]
        limits = ["3", "N", "N + 1", f"min(6, {self.exact()})"]
        bounds = self.rng.choice(
            [self.rng.choice(limits), f"{self.exact()}, 5, 2", "N, 0, -1", "2, N"]
        )
        return name, f"range({bounds})", [(name, INT)]

    def rows_expression(self):
        """Text of some rows and their record; None where there are none."""
        found = [(name, kind.record) for name, kind in self.of_some("rows")]
        for name, kind in self.of_some("record"):
            for field, held in fields()[kind.record].items():
                found += [(f"{name}.{field}", held.record)] * (held.name == "rows")
        return self.rng.choice(found) if found else None

    def key(self, record):
        one = self.fresh("r")
        names = [f for f, kind in fields()[record].items() if kind in (INT, FLOAT, BOOL)]
        sign = self.rng.choice(["", "-", "0.5 * "])
        return f"lambda {one}: {sign}{one}.{self.rng.choice(names)}"

    def may_call(self, tool):
        return WRITERS.get(tool.name, self.hook) == self.hook

    def call(self, tool, size=1):
        """A call of a toolkit function; empty where an argument is not to be had."""
        texts, count = [], len(tool.parameters)
        plain = self.rng.randint(0, count) if self.chance(0.1) else count
        for place, (name, kind) in enumerate(tool.parameters):
            text = self.argument(name, kind, size)
            if not text:
                return ""
            texts.append(text if place < plain else f"{name}={text}")
        return f"{tool.name}({', '.join(texts)})"

    def argument(self, name, kind, size):
        if kind == INT and name in ("pool", "tp", "pp", "role", "index", "class_id", "n"):
            sane = [str(self.rng.randint(0, 2)), "1", "1"]
            return self.rng.choice(sane) if self.chance(0.8) else self.exact()
        if kind in (INT, FLOAT, BOOL) or self.possible(kind):
            return self.value(kind, size)
        return ""

    def possible(self, kind):
        return bool(self.having(kind) or (kind.name == "record" and self.record(kind)))

    def own(self, helper, size):
        name, kinds, _ = helper
        if not all(kind in (INT, FLOAT, BOOL) or self.possible(kind) for kind in kinds):
            return ""
        return f"{name}({', '.join(self.value(kind, size) for kind in kinds)})"

    def value(self, kind, size):
        """An expression of a kind."""
        numbers = {INT: self.integer, FLOAT: self.floating, BOOL: self.boolean}
        if kind in numbers:
            return numbers[kind](size)
        if kind == TABLE:
            return self.rng.choice([*self.having(TABLE), f"zeros({self.rng.choice('4N')}, 4)"])
        if kind in (VECTOR, FLOATS):
            return self.sequence(kind)
        if kind.name == "rows":
            return self.rows_of(kind)
        return self.record(kind)

    def sequence(self, kind):
        found = [*self.having(kind), f"zeros({self.rng.choice(['4', 'N', 'N + 2'])})"]
        if kind == FLOATS:
            for name, held in self.of_some("record"):
                for field, what in fields()[held.record].items():
                    found += [f"{name}.{field}"] * (3 * (what == FLOATS))
        order = f"order({self.rng.choice(found)}, {self.rng.choice('123')})"
        return self.rng.choice([*found, order])

    def rows_of(self, kind):
        found = self.having(kind)
        for name, held in self.of_some("record"):
            for field, what in fields()[held.record].items():
                found += [f"{name}.{field}"] * (what == kind)
        return self.rng.choice(found) if found else ""

    def record(self, kind):
        found = self.having(kind) * 3
        if kind in (PLAN, NEW_PLAN):
            return self.rng.choice(found) if found else ""
        rows = Kind("rows", kind.record)
        sources = self.having(rows)
        for name, held in self.of_some("record"):
            for field, what in fields()[held.record].items():
                sources += [f"{name}.{field}"] * (what == rows)
        for source in sources:
            found += [f"{source}[{self.index()}]"]
            best = self.rng.choice(["min", "max"])
            found += [f"{best}({source}, key={self.key(kind.record)})"]
        if len(found) > 1 and self.chance(0.1):
            pair = self.rng.sample(found, 2)
            return f"({pair[0]} if {self.condition(1)} else {pair[1]})"
        return self.rng.choice(found) if found else ""

    def number(self, size):
        return self.rng.choice([self.integer, self.floating, self.floating])(size)

    def some_field(self, kind):
        """A field of this kind; a literal where no record is at hand."""
        found = []
        for name, held in self.of_some("record"):
            found += [f"{name}.{f}" for f, what in fields()[held.record].items() if what == kind]
        return self.rng.choice(found) if found else {INT: "7", FLOAT: "1.25", BOOL: "False"}[kind]

    def called(self, kind, size):
        """A call of a toolkit function or helper with this kind of result."""
        found = [t for t in tools().values() if t.result == kind and self.may_call(t)]
        texts = [self.call(self.rng.choice(found), size - 1)] if found else []
        texts += [self.own(one, size - 1) for one in self.helpers if one[2] == kind]
        texts = [text for text in texts if text]
        return self.rng.choice(texts) if texts else self.some_field(kind)

    def comprehension(self, kind, size, brackets="g"):
        """A comprehension that yields this kind, at most two loops deep."""
        kept = list(self.names)
        target, iterable, kinds = self.iterable(1)
        self.names = kept + kinds
        text = f"for {target} in {iterable}"
        if self.chance(0.3):
            text += f" if {self.condition(size)}"
        value = self.value(kind, size)
        self.names = kept
        return f"[{value} {text}]" if self.chance(0.4) else f"({value} {text})"

    def folded(self, kind, size):
        """sum, min, max, len, any or all of a comprehension."""
        if kind == BOOL:
            return f"{self.rng.choice(['any', 'all'])}({self.comprehension(BOOL, size - 1)})"
        if kind == INT and self.chance(0.3):
            inner = self.comprehension(INT, size - 1)
            return f"len([{inner[1:-1]}])"
        function = self.rng.choice(["sum", "min", "max", "sum"])
        inner = self.comprehension(kind, size - 1)
        default = function != "sum" and self.chance(0.6)
        return f"{function}({inner}{f', default={self.value(kind, 0)}' if default else ''})"

    def integer(self, size):
        rng = self.rng
        if size <= 0 or self.chance(0.2):
            return rng.choice([rng.choice(INTEGERS), *self.having(INT)[-4:], self.some_field(INT)])
        a, b = self.integer(size - 1), self.integer(size - 1)
        forms = [lambda: f"({a} {rng.choice(['+', '-', '*', '//', '%'])} {b})"] * 5
        forms += [lambda: f"({a} {rng.choice(BITS)} {b})", lambda: f"({a} << {rng.choice('0249')})"]
        forms += [lambda: f"{rng.choice(['min', 'max'])}({a}, {b})", lambda: f"abs({a})"]
        forms += [lambda: f"-({a})", lambda: f"({a}) ** {rng.choice([0, 1, 2, 8])}"]
        convert = rng.choice(["int", "round", "floor", "ceil"])
        forms += [lambda: f"{convert}({self.floating(size - 1)})", lambda: f"int({a})"]
        forms += [lambda: f"({a} if {self.condition(size - 1)} else {b})"]
        forms += [lambda: f"({a} {rng.choice(['and', 'or'])} {b})", lambda: f"clip({a}, 0, {b})"]
        forms += [lambda: self.listed(INT, size)] * 3
        forms += [lambda: self.called(INT, size)] * 2 + [lambda: self.length()]
        forms += [lambda: self.folded(INT, size)] * (2 if self.loops < self.size else 0)
        return rng.choice(forms)()

    def length(self):
        rows = self.rows_expression()
        found = [*self.having(FLOATS), *self.having(TABLE), *([rows[0]] if rows else [])]
        return f"len({self.rng.choice(found or ['zeros(2)'])})"

    def floating(self, size):
        rng = self.rng
        if size <= 0 or self.chance(0.2):
            floats = self.having(FLOAT)[-4:]
            return rng.choice([rng.choice(NUMBERS), *floats, *floats, self.some_field(FLOAT)])
        a, b = self.floating(size - 1), self.number(size - 1)
        left, right = (a, b) if self.chance(0.7) else (b, a)
        forms = [lambda: f"({left} {rng.choice(ARITHMETIC)} {right})"] * 5
        forms += [lambda: f"{rng.choice(['min', 'max'])}({left}, {right})", lambda: f"abs({a})"]
        forms += [lambda: f"-({a})", lambda: f"({a}) ** {rng.choice([0, 1, 2, 3])}"]
        forms += [lambda: f"({left} if {self.condition(size - 1)} else {right})"]
        forms += [lambda: f"round({a}, {rng.randint(0, 6)})"]
        forms += [lambda: f"float({b})", lambda: f"({self.integer(1)} / {self.integer(1)})"]
        forms += [lambda: f"({left} {rng.choice(['and', 'or'])} {right})"]
        forms += [lambda: self.called(FLOAT, size)] * 4 + [lambda: self.listed(FLOAT, size)] * 3
        forms += [lambda: f"sum({rng.choice(self.having(FLOATS) or ['zeros(3)'])})"]
        forms += [lambda: self.folded(FLOAT, size)] * (3 if self.loops < self.size else 0)
        forms += [self.place] * (2 if self.writable() else 0)
        return rng.choice(forms)()

    def boolean(self, size):
        rng = self.rng
        if size <= 0:
            return rng.choice(["True", "False", *self.having(BOOL)[-3:], self.some_field(BOOL)])
        a, b = self.number(size - 1), self.number(size - 1)
        forms = [lambda: f"({a} {rng.choice(['<', '<=', '>', '>=', '==', '!='])} {b})"] * 4
        forms += [lambda: f"(not {self.condition(size - 1)})", lambda: f"bool({a})"]
        forms += [lambda: f"({a} <= {b} < {self.number(1)})", lambda: self.called(BOOL, size)]
        member = f"({rng.choice(['1, 2', '0,', a])}, {b})".replace(",,", ",")
        forms += [lambda: f"({self.integer(1)} {rng.choice(['in', 'not in'])} {member})"]
        forms += [lambda: self.folded(BOOL, size)] * (1 if self.loops < self.size else 0)
        word = rng.choice(["and", "or"])
        forms += [lambda: f"({self.boolean(size - 1)} {word} {self.boolean(size - 1)})"]
        sign = rng.choice(BITS[2:])
        forms += [lambda: f"({self.boolean(size - 1)} {sign} {self.boolean(size - 1)})"]
        return rng.choice(forms)()

    def condition(self, size):
        return self.boolean(size) if self.chance(0.8) else self.number(size)
