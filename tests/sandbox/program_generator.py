"""Random policies for every hook, of everything the language has; equal seeds give equal texts.

Driven by the contract: hooks, fields and toolkit functions are taken from there, so that what is
added to it is generated too. Every text is well-formed but may cost too much.
"""

import expression_generator as expressions

from sandbox.language.kinds import (
    BOOL,
    FLOAT,
    FLOATS,
    INT,
    NOTHING,
    TABLE,
    VECTOR,
    Kind,
    hooks,
    tools,
)

# refusals of what may be written but is too much; "integer": a test as a bound or place
TOO_MUCH = {"cost", "integer", "too-deep", "too-long"}
SMALL = 2
HEAD = "N = 3  # tune: 1 .. 6"
ARITHMETIC, PAIR = expressions.ARITHMETIC, expressions.PAIR


class Generator(expressions.Expressions):
    """Writes one policy: constants, helpers and one hook."""

    def text(self):
        self.lines = [HEAD, "KNEE = 0.75", ""]
        for _ in range(self.rng.randint(0, max(0, self.size - 1))):
            self.helper()
        parameters = list(hooks()[self.hook].parameters)
        self.function(self.hook, parameters, hooks()[self.hook].result, self.size + 2)
        return "\n".join(self.lines) + "\n"

    def helper(self):
        wanted = [kind for _, kind in hooks()[self.hook].parameters]
        records = [Kind("record", k.record) for k in wanted if k.record]
        choices = [INT, FLOAT, BOOL, FLOATS, VECTOR, *records, *wanted]
        kinds = [self.rng.choice(choices) for _ in range(self.rng.randint(1, 3))]
        result = self.rng.choice([INT, FLOAT, FLOAT, BOOL, NOTHING, *kinds])
        name = f"help{len(self.helpers)}"
        parameters = [(self.fresh("p"), kind) for kind in kinds]
        self.function(name, parameters, result, 2)
        self.helpers.append((name, [kind for _, kind in parameters], result))

    def function(self, name, parameters, result, statements):
        self.lines += ["", f"def {name}({', '.join(parameter for parameter, _ in parameters)}):"]
        self.names = list(parameters)
        self.lists, self.pairs, self.maybe = [], [], []
        for kind in (INT, FLOAT):
            self.declare(1, kind)
        self.block(1, statements)
        if result != NOTHING:
            text = self.value(result, self.size)
            self.put(1, f"return 0 + {text}" if result in (INT, FLOAT) else f"return {text}")

    def put(self, depth, line):
        self.lines.append("    " * depth + line)

    def block(self, depth, statements):
        kept = [list(part) for part in (self.names, self.lists, self.pairs, self.maybe)]
        before = len(self.lines)
        for _ in range(statements):
            self.statement(depth)
        if len(self.lines) == before:
            self.put(depth, "pass")
        if depth > 1:
            self.names, self.lists, self.pairs, self.maybe = kept

    def statement(self, depth):
        choices = [self.declaration] * 5 + [self.reassign] * 3 + [self.augment] * 3
        choices += [self.tool_line] * 3 + [self.write] * 2 + [self.several]
        choices += [self.new_list, self.pair, self.best_of, self.inner] + [self.change_list] * 3
        if depth < 3:
            choices += [self.branch] * 3
            choices += [self.loop] * (4 if self.loops < self.size else 0)
        self.rng.choice(choices)(depth)

    def declaration(self, depth):
        rows = [Kind("record", kind.record) for _, kind in self.names if kind.record]
        kinds = [INT, FLOAT, FLOAT, BOOL, FLOATS, *rows, *(kind for _, kind in self.names)]
        self.declare(depth, self.rng.choice(kinds + ([VECTOR, TABLE] if depth == 1 else [])))

    def declare(self, depth, kind):
        name = self.fresh(kind.name[0])
        text = self.value(kind, self.size)
        annotation = ": int" if kind == INT and self.chance(0.1) else ""
        self.put(depth, f"{name}{annotation} = {text}")
        self.names.append((name, kind))

    def reassign(self, depth):
        name, kind = self.rng.choice(self.names)
        if kind in (INT, FLOAT, BOOL):
            self.put(depth, f"{name} = {self.value(kind, self.size)}")
            if self.chance(0.2):
                self.put(depth, f"{self.fresh('c')} = {name} = {self.value(kind, 1)}")

    def several(self, depth):
        first, second = (self.rng.choice([INT, FLOAT]) for _ in range(2))
        names = [self.fresh("m"), self.fresh("m")]
        left = [*names, self.place()] if self.writable() and self.chance(0.3) else names
        values = [self.value(first, 2), self.value(second, 2), self.number(1)][: len(left)]
        self.put(depth, f"{', '.join(left)} = {', '.join(values)}")
        self.names += zip(names, (first, second), strict=True)
        if first == second:
            self.put(depth, f"{names[0]}, {names[1]} = {names[1]}, {names[0]}")

    def new_list(self, depth):
        kind, name = self.elements(), self.fresh("xs")
        if kind.name == "record" and not self.record(kind):
            return
        one, other = self.element(kind), self.element(kind)
        forms = [f"[{one}, {other}]", f"[{one}]", f"[{one}] * 3"]
        if kind in (INT, FLOAT):
            inner = self.comprehension(kind, 1)
            forms += [f"[{inner[1:-1]}]", f"sorted({inner})", f"list({inner})"]
        same = [xs for xs, held in self.lists if held == kind]
        if same:
            xs = self.rng.choice(same)
            cut = self.rng.choice(["1:", ":2", "::-1", "-2:", "1:3"])
            forms += [f"{xs}[{cut}]", f"{xs} + [{one}]", f"{xs}.copy()", xs, f"list({xs})"]
        self.put(depth, f"{name} = {self.rng.choice(forms)}")
        self.lists.append((name, kind))

    def change_list(self, depth):
        if not self.lists:
            return
        xs, kind = self.rng.choice(self.lists)
        if kind.name == "record" and not self.record(kind):
            return
        one, place = self.element(kind), self.index()
        lines = [f"{xs}.append({one})"] * 3 + [f"{xs}.insert({self.exact()}, {one})"]
        lines += [f"{xs}.pop()", f"{xs}.pop({place})", f"{xs}.reverse()", f"{xs}[{place}] = {one}"]
        lines += [f"{xs} += [{one}]", f"{xs}.extend([{one}, {one}])"]
        if kind in (INT, FLOAT, PAIR):
            lines += [f"{xs}.sort()", f"{xs}.sort(reverse=True)"]
        if kind.name == "record":
            lines += [f"{xs}.sort(key={self.key(kind.record)})"]
        if kind in (INT, FLOAT):
            lines += [f"{xs}[{place}] {self.rng.choice('+-*')}= {self.value(INT, 1)}"]
        self.put(depth, self.rng.choice(lines))

    def pair(self, depth):
        name, kinds = self.fresh("t"), [self.rng.choice([INT, FLOAT]) for _ in range(2)]
        self.put(depth, f"{name} = ({self.value(kinds[0], 1)}, {self.value(kinds[1], 1)})")
        self.pairs.append((name, kinds))

    def best_of(self, depth):
        """The usual search whose best is None at first."""
        kind, best = self.rng.choice([INT, FLOAT]), self.fresh("best")
        target, iterable, kinds = self.iterable(1)
        self.put(depth, f"{best} = None")
        self.put(depth, f"for {target} in {iterable}:")
        kept, self.names = list(self.names), self.names + kinds
        value = self.value(kind, 1)
        self.names = kept
        test = f"{best} is None or {value} < {best}"
        self.put(depth + 1, f"if {test}:")
        self.put(depth + 2, f"{best} = {value}")
        name = self.fresh(kind.name[0])
        self.put(depth, f"{name} = {best} if {best} is not None else {self.value(kind, 0)}")
        self.names.append((name, kind))

    def inner(self, depth):
        """A function of its own that reads what is around it."""
        if depth > 1:
            return
        kind, name, given = self.rng.choice([INT, FLOAT]), self.fresh("inside"), self.fresh("q")
        kept, self.names = list(self.names), [*self.names, (given, FLOAT)]
        text = self.value(kind, 2)
        self.names = kept
        if self.chance(0.5):
            self.put(depth, f"{name} = lambda {given}: {text}")
        else:
            default = "=0.5" if self.chance(0.5) else ""
            self.put(depth, f"def {name}({given}{default}):")
            self.put(depth + 1, f"return {text}")
        result = self.fresh(kind.name[0])
        self.put(depth, f"{result} = {name}({self.value(FLOAT, 1)})")
        self.names.append((result, kind))

    def augment(self, depth):
        operator = self.rng.choice(ARITHMETIC)
        whole = [name for name, kind in self.names if kind == INT]
        if whole and self.chance(0.1):
            sign = self.rng.choice(expressions.BITS)
            self.put(depth, f"{self.rng.choice(whole)} {sign}= {self.value(INT, 1)}")
            return
        if self.writable() and self.chance(0.4):
            self.put(depth, f"{self.place()} {operator}= {self.number(2)}")
            return
        if operator == "/" or self.chance(0.6):
            pool, value = [n for n, kind in self.names if kind == FLOAT], self.number(2)
        else:
            pool, value = whole, self.value(INT, 2)
        if pool:
            power = f"**= {self.rng.randint(0, 3)}"
            rest = power if self.chance(0.1) else f"{operator}= {value}"
            self.put(depth, f"{self.rng.choice(pool)} {rest}")

    def write(self, depth):
        if self.writable():
            self.put(depth, f"{self.place()} = {self.number(2)}")

    def branch(self, depth):
        self.put(depth, f"if {self.condition(2)}:")
        self.block(depth + 1, self.rng.randint(1, 2))
        if self.chance(0.4):
            self.put(depth, f"elif {self.condition(2)}:")
            self.block(depth + 1, 1)
        if self.chance(0.4):
            self.put(depth, "else:")
            self.block(depth + 1, 1)

    def loop(self, depth):
        kept, self.loops = list(self.names), self.loops + 1
        target, iterable, kinds = self.iterable(2)
        self.put(depth, f"for {target} in {iterable}:")
        self.names += kinds
        self.block(depth + 1, self.rng.randint(1, 2))
        if self.chance(0.3):
            self.put(depth + 1, f"if {self.condition(1)}:")
            self.put(depth + 2, self.rng.choice(["break", "continue"]))
            self.block(depth + 1, 1)
        self.names, self.loops = kept, self.loops - 1

    def tool_line(self, depth):
        lines = [t for t in tools().values() if t.result == NOTHING and self.may_call(t)]
        lines += [t for t in tools().values() if t.name in ("add_replica", "add_move")]
        call = self.call(self.rng.choice(lines)) if lines else ""
        nothing = [one for one in self.helpers if one[2] == NOTHING]
        if nothing and self.chance(0.5):
            call = self.own(self.rng.choice(nothing), 1)
        if call:
            self.put(depth, call)


def candidate(seed, size=SMALL):
    """Hook and text of a seed's program; the verifier may find it too costly, and no more."""
    generator = Generator(seed, size)
    return generator.hook, generator.text()
