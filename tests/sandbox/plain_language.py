"""Numbers, lists and Python's own functions as the language has them, in plain Python.

For the reference in `plain_python.py`. Nothing here may call the sandbox's own code.
"""

from sandbox.contract import SCRATCH_FLOATS

FUEL, ZERO_DIVISION, INDEX, OVERFLOW, NOT_A_NUMBER, SCRATCH, OTHER = range(1, 8)
LIMIT = 2**53


class Fault(Exception):
    """What stops a policy."""

    def __init__(self, kind):
        super().__init__(kind)
        self.kind = kind


class WrongKind(AssertionError):
    """A value is not of the kind that the verifier promised: the verifier is unsound."""


def need(holds, kind):
    if not holds:
        raise Fault(kind)


def checked(value):
    need(-LIMIT <= value <= LIMIT, OVERFLOW)
    return Int(value)


class Int(int):
    """An integer that stops where it leaves 2**53, and meets a float as a float."""

    def __add__(self, other):
        return NotImplemented if not isinstance(other, int) else checked(int(self) + int(other))

    __radd__ = __add__

    def __sub__(self, other):
        return NotImplemented if not isinstance(other, int) else checked(int(self) - int(other))

    def __rsub__(self, other):
        return NotImplemented if not isinstance(other, int) else checked(int(other) - int(self))

    def __mul__(self, other):
        return NotImplemented if not isinstance(other, int) else checked(int(self) * int(other))

    __rmul__ = __mul__

    def __floordiv__(self, other):
        return NotImplemented if not isinstance(other, int) else divided(self, other)[0]

    def __rfloordiv__(self, other):
        return NotImplemented if not isinstance(other, int) else divided(other, self)[0]

    def __mod__(self, other):
        return NotImplemented if not isinstance(other, int) else divided(self, other)[1]

    def __rmod__(self, other):
        return NotImplemented if not isinstance(other, int) else divided(other, self)[1]

    def __lshift__(self, n):
        need(0 <= n <= 62, OVERFLOW)
        return checked(int(self) << int(n))

    def __rshift__(self, n):
        need(0 <= n <= 62, OVERFLOW)
        return checked(int(self) >> int(n))

    def __and__(self, other):
        return checked(int(self) & int(other))

    def __or__(self, other):
        return checked(int(self) | int(other))

    def __xor__(self, other):
        return checked(int(self) ^ int(other))

    def __truediv__(self, other):
        return float(self) / float(other)

    def __rtruediv__(self, other):
        return float(other) / float(self)

    def __neg__(self):
        return checked(-int(self))

    def __abs__(self):
        return self if self >= 0 else -self


def divided(a, b):
    need(b != 0, ZERO_DIVISION)
    need(-LIMIT <= a <= LIMIT, OVERFLOW)
    quotient, rest = divmod(int(a), int(b))
    return Int(quotient), Int(rest)


class Sequence(list):
    """What can be indexed: places 0 .. length - 1; a slice of it is a list of its own."""

    def __getitem__(self, i):
        if isinstance(i, slice):
            return List(list.__getitem__(self, i))
        need(0 <= i < len(self), INDEX)
        return list.__getitem__(self, i)

    def __add__(self, other):
        return List(list.__add__(self, other))

    def __mul__(self, times):
        return List(list.__mul__(self, int(times)))

    __rmul__ = __mul__


class Numbers(Sequence):
    """memory, share, zeros(n): each place holds a float."""

    def __setitem__(self, i, x):
        need(0 <= i < len(self), INDEX)
        list.__setitem__(self, i, float(x))


class Places(Sequence):
    """Rows."""


class List(Sequence):
    """A policy's own list."""

    def __setitem__(self, i, x):
        need(0 <= i < len(self), INDEX)
        list.__setitem__(self, i, x)

    def __iter__(self):
        """Elements of a list that nobody changes before the last of them is taken."""
        count = len(self)
        for k in range(count):
            need(len(self) == count, OTHER)
            yield self[k]
        need(len(self) == count, OTHER)

    def __reversed__(self):
        count = len(self)
        for k in range(count - 1, -1, -1):
            need(len(self) == count, OTHER)
            yield self[k]
        need(len(self) == count, OTHER)

    def pop(self, i=None):
        place = len(self) - 1 if i is None else i
        need(0 <= place < len(self), INDEX)
        return list.pop(self, place)

    def index(self, x):
        found = [k for k, one in enumerate(self) if one == x]
        need(found, INDEX)
        return Int(found[0])

    def copy(self):
        return List(self)

    def sort(self, key=None, reverse=False):
        list.__setitem__(self, slice(None), ordered(self, key, reverse))


def back(xs, n):
    """xs[-n], where n is written out."""
    return xs[len(xs) - n]


class Table:
    """zeros(n, m)."""

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.cells = {}

    def __len__(self):
        return self.rows

    def _place(self, place):
        if not isinstance(place, tuple):
            raise WrongKind("half a place")
        need(0 <= place[0] < self.rows and 0 <= place[1] < self.columns, INDEX)
        return int(place[0]), int(place[1])

    def __getitem__(self, place):
        return self.cells.get(self._place(place), 0.0)

    def __setitem__(self, place, x):
        self.cells[self._place(place)] = float(x)


class Scratch:
    """zeros() of one call, out of so many floats together."""

    def __init__(self):
        self.left = SCRATCH_FLOATS

    def zeros(self, n, m=None):
        floats = n if m is None else n * m
        need(floats >= 0 and floats <= self.left and (m is None or (n >= 0 and m >= 1)), SCRATCH)
        self.left -= floats
        return Numbers([0.0] * int(n)) if m is None else Table(n, m)

    def order(self, values, n):
        need(0 <= n <= len(values), INDEX)
        places = sorted(range(n), key=lambda i: last_when_missing(list(values)[i]))
        return Numbers(float(place) for place in places)


def last_when_missing(x):
    return (x != x, float(x))


def number_of(values, better):
    """min or max of several numbers: the first that no other beats."""
    if any(type(value) is float for value in values):
        values = [float(value) for value in values]
    best = values[0]
    for value in values[1:]:
        best = value if better(value, best) else best
    return best


def extreme(better):
    def function(*values, key=None, **otherwise):
        if len(values) == 1:
            values = list(values[0])
            if not values and otherwise:
                return otherwise["default"]
        values = need_some(values)
        if key is None and not isinstance(values[0], tuple):
            return number_of(values, better)
        return best_of(values, [numbers_of(key(v)) if key else v for v in values], better)

    return function


def best_of(values, keys, better):
    best = 0
    for place in range(1, len(values)):
        best = place if better(keys[place], keys[best]) else best
    return values[best]


def numbers_of(value):
    return tuple(map(numbers_of, value)) if isinstance(value, tuple) else float(value)


def need_some(rows):
    rows = list(rows)
    need(rows, INDEX)
    return rows


def total(values, start=0):
    result = start if type(start) is float else Int(start)
    for value in values:
        result = result + value
    return result


def ordered(rows, key=None, reverse=False):
    sign = -1.0 if reverse else 1.0

    def place(row):
        value = row if key is None else key(row)
        parts = flat(value) if isinstance(value, tuple) else [value]
        return tuple(last_when_missing(sign * float(part)) for part in parts)

    return List(sorted(rows, key=place))


def flat(value):
    return [x for part in value for x in (flat(part) if isinstance(part, tuple) else [part])]


def side_by_side(*several):
    """zip(), whose lists all keep their length to its end."""
    sizes = [(one, len(one)) for one in several if isinstance(one, List)]
    yield from zip(*several, strict=False)
    need(all(len(one) == size for one, size in sizes), OTHER)


class Turns:
    """range(), which can be walked from its end, too."""

    def __init__(self, *bounds):
        if len(bounds) > 1:
            checked(bounds[1] - bounds[0])
        self.numbers = range(*bounds)

    def __iter__(self):
        return map(Int, self.numbers)

    def __reversed__(self):
        return map(Int, reversed(self.numbers))


def whole(x):
    if type(x) is not float:
        return Int(x)
    need(x == x, NOT_A_NUMBER)
    need(-LIMIT <= x <= LIMIT, OVERFLOW)
    return Int(x)


def nearest(x, places=None):
    if places is None:
        whole(x)
        return Int(round(x))
    if type(x) is not float:
        return Int(x)
    scale = float(10**places)
    return float(round(x * scale)) / scale if -LIMIT <= x * scale <= LIMIT else x


def power(x, n):
    result = x if n else type(x)(1)
    for _ in range(n - 1):
        result = result * x
    return result
