"""The toolkit as its documentation says it, in plain Python and without a frame.

A second writing of `sandbox/toolkit.py` and of Python's own functions as the language has them,
for the reference in `plain_python.py`. Nothing here may call the sandbox's own code.
"""

import math

from sandbox.contract import MAX_CLASSES, MAX_REPLICAS, MAX_RUNNING, SCRATCH_FLOATS

FUEL, ZERO_DIVISION, INDEX, OVERFLOW, NOT_A_NUMBER, SCRATCH, OTHER = range(1, 8)
LIMIT = 2**53
LONGEST = 2**31


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
    def function(*values, key=None, default=None):
        if len(values) == 1:
            values = list(values[0])
            if not values and default is not None:
                return default
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


def turns(*bounds):
    start, stop, step = (0, *bounds, 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    if len(bounds) > 1:
        checked(stop - start)
    return (Int(k) for k in range(start, stop, step))


def whole(x):
    if type(x) is not float:
        return Int(x)
    need(x == x, NOT_A_NUMBER)
    need(-LIMIT <= x <= LIMIT, OVERFLOW)
    return Int(x)


def nearest(x):
    whole(x)
    return Int(round(x))


def floor(x: float):
    whole(x)
    return Int(math.floor(x))


def ceil(x: float):
    whole(x)
    return Int(math.ceil(x))


def power(x, n):
    result = x if n else type(x)(1)
    for _ in range(n - 1):
        result = result * x
    return result


def is_missing(x: float):
    return math.isnan(x)


def sqrt(x: float):
    return 0.0 if x < 0 else math.sqrt(x)


def exp(x: float):
    return x if math.isnan(x) else math.exp(sorted((-700.0, x, 700.0))[1])


def log(x: float):
    if x <= 0:
        return -745.0
    return math.log(x)


def clip(x, low, high):
    if float in (type(x), type(low), type(high)):
        x, low, high = float(x), float(low), float(high)
    if x < low:
        return low
    return high if x > high else x


def ratio(a: float, b: float, otherwise: float):
    return otherwise if math.isnan(a) or math.isnan(b) or b == 0 else a / b


def mixed(z):
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ z >> shift) * factor % 2**64
    return z ^ z >> 31


def random01(seed: int, k: int):
    z = mixed(int(seed) % 2**64) + (int(k) + 1) * 0x9E3779B97F4A7C15
    return (mixed(z % 2**64) >> 11) / 2**53


def step_time_s(instance, batch: float, context_tokens: float):
    each = instance.step_base_s + instance.step_per_seq_s * batch
    return each + instance.step_per_context_s * context_tokens


def prefill_time_s(instance, tokens: float):
    speed = instance.prefill_tokens_per_s
    if speed > 0:
        return tokens / speed
    return math.inf if tokens > 0 else 0.0


def positive(n):
    return float(max(n, 0))


def completion_s(request, instance):
    predicted = request.predicted_output_tokens
    output = 256.0 if math.isnan(predicted) else predicted - float(request.done_tokens)
    others = positive(instance.running_requests) + positive(instance.queued_requests)
    seats = float(instance.max_num_seqs) if instance.max_num_seqs > 0 else others + 1
    context = float(instance.context_tokens) + float(request.prompt_tokens)
    step = step_time_s(instance, others + 1 if others + 1 < seats else seats, context)
    rest = instance.predicted_remaining_tokens
    rest = 128.0 * others if math.isnan(rest) else rest
    each = rest / others if others > 0 else 0.0
    seat = (others + 1 - seats if others + 1 > seats else 0.0) * each * step / seats
    own = float(request.prompt_tokens) - float(instance.cached_prefix_tokens)
    ahead = float(instance.queued_prompt_tokens) + float(instance.prefill_backlog_tokens)
    prefill = prefill_time_s(instance, (own if own > 0 else 0.0) + ahead)
    return seat + prefill + (output if output >= 1 or output != output else 1.0) * step


def find_shape(cluster, pool: int, tp: int, pp: int):
    for place, shape in enumerate(cluster.shapes):
        if (shape.pool, shape.tp, shape.pp) == (pool, tp, pp):
            return place
    return -1


def shape_of(cluster, replica):
    place = find_shape(cluster, replica.pool, replica.tp, replica.pp)
    return cluster.shapes[place] if place >= 0 else None


def serving_rate_rps(cluster, plan):
    rate = 0.0
    for shape in [shape_of(cluster, replica) for replica in plan.replicas]:
        rate += shape.rate_rps if shape else 0.0
    return rate


def switch_cost_s(cluster, plan, new_plan):
    left = [(one.pool, one.tp, one.pp) for one in plan.replicas]
    longest = 0.0
    for replica in new_plan.replicas:
        like = (replica.pool, replica.tp, replica.pp)
        if like in left:
            left.remove(like)
            continue
        shape = shape_of(cluster, replica)
        longest = shape.start_s if shape and shape.start_s > longest else longest
    return longest


def plan_gpus(plan, pool: int):
    return sum(one.tp * one.pp for one in plan.replicas if one.pool == pool)


def add_replica(new_plan, pool: int, tp: int, pp: int, role: int):
    need(1 <= tp <= 64 and 1 <= pp <= 64 and 0 <= role <= 2 and 0 <= pool <= 15, OTHER)
    index = len(new_plan.replicas)
    if index == MAX_REPLICAS:
        return -1
    new_plan.lengthen("replicas", index + 1)
    vars(new_plan.replicas[index]).update(
        pool=pool, tp=tp, pp=pp, role=role, length_low_tokens=0, length_high_tokens=LONGEST,
        share=Numbers([1.0] * MAX_CLASSES), instance=-1, ready=False, queued_requests=0,
        running_requests=0, kv_used=0.0, rate_rps=0.0,
    )  # fmt: skip
    return index


def set_lengths(new_plan, index: int, low_tokens: int, high_tokens: int):
    replica = new_plan.replicas[index]
    replica.length_low_tokens = sorted((0, low_tokens, LONGEST))[1]
    replica.length_high_tokens = sorted((0, high_tokens, LONGEST))[1]


def set_share(new_plan, index: int, class_id: int, share: float):
    replica = new_plan.replicas[index]
    need(0 <= class_id < MAX_CLASSES, INDEX)
    need(share == share, NOT_A_NUMBER)
    replica.share[class_id] = sorted((0.0, share, 1.0))[1]


def keep_plan(new_plan, plan):
    new_plan.lengthen("replicas", len(plan.replicas))
    for target, source in zip(new_plan.replicas, plan.replicas, strict=True):
        target.copy(source)
    new_plan.keep = True


def drop_replica(new_plan, index: int):
    rows = new_plan.replicas
    need(0 <= index < len(rows), INDEX)
    for place in range(index, len(rows) - 1):
        rows[place].copy(rows[place + 1])
    new_plan.lengthen("replicas", len(rows) - 1)


def want_gpus(cluster, pool: int, count: int):
    row = cluster.pools[pool]
    need(0 <= count <= 1_000_000, OTHER)
    row.wanted = count


def add_move(moves, running, instance_id: int):
    index = len(moves.rows)
    if index == MAX_RUNNING:
        return False
    moves.lengthen("rows", index + 1)
    moves.rows[index].request, moves.rows[index].instance = running.request, instance_id
    return True


def bring_in(entry):
    entry.wanted = True


def prune(branch):
    branch.pruned = True


def set_token_budget(instance, tokens: int):
    instance.knob_token_budget = sorted((16, tokens, 65_536))[1]


def set_speculation(instance, depth: int):
    instance.knob_speculation = sorted((0, depth, 16))[1]


def set_offline_share(instance, share: float):
    need(share == share, NOT_A_NUMBER)
    instance.knob_offline_share = sorted((0.0, share, 1.0))[1]


def set_finetune_share(instance, share: float):
    need(share == share, NOT_A_NUMBER)
    instance.knob_finetune_share = sorted((0.0, share, 0.9))[1]
