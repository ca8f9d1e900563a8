"""Attacks on this contract, toolkit and its engines: each with the end it has to come to.

`ROUTE_BODIES` hold the body of a route hook, `TEXTS` whole policies. An end is a code of refusal,
a kind of fault, or in brackets the decision of a text that may run because it does no harm.
"""

# ruff: noqa: E501  (an attack is easier to read on one line)
from sandbox.frame import FUEL, INDEX, NOT_A_NUMBER, OTHER, OVERFLOW, SCRATCH, ZERO_DIVISION

R = "return 0"
RECORDS = {
    "hidden count of rows": ("return request.n_instances", "unknown-field"),
    "hidden count of a sub-array": ("return instances[0].n_replicas", "unknown-field"),
    "dtype of rows": ("return instances.dtype", "attribute"),
    "base of memory": ("return memory.base", "attribute"),
    "bytes of memory": ("return memory.data", "attribute"),
    "strides of memory": ("return memory.strides", "attribute"),
    "ctypes of a row": ("return instances[0].ctypes", "unknown-field"),
    "dunder of a record": ("return request.__class__", "unknown-field"),
    "slots of a record": ("return request.__slots__", "unknown-field"),
    "real part of a float field": ("return int(request.age_s.real)", "attribute"),
    "method of an integer field": ("return request.turn.bit_length()", "method"),
    "field of a constant": ("return HOLD.real", "attribute"),
    "write a field": (f"request.turn = 3\n    {R}", "record-write"),
    "write a field of a row": (f"instances[0].id = 3\n    {R}", "record-write"),
    "add to a field": (f"instances[0].id += 3\n    {R}", "record-write"),
    "write a row into a row": (f"instances[0] = instances[1]\n    {R}", "read-only"),
    "write through an alias": (f"rows = instances\n    rows[0] = rows[1]\n    {R}", "read-only"),
    "write a number into rows": (f"instances[0] = 1.0\n    {R}", "read-only"),
    "delete a field": (f"del request.turn\n    {R}", "not-allowed"),
    "loop writes the rows": (f"for instances[0] in instances:\n        pass\n    {R}", "loop-target"),
    "loop writes a field": (f"for request.turn in range(3):\n        pass\n    {R}", "loop-target"),
    "a row kept in memory": (f"memory[0] = instances[0]\n    {R}", "kind"),
    "memory kept in memory": (f"memory[0] = memory\n    {R}", "kind"),
    "an index from the future": ("return request.output_tokens", "unknown-field"),
    "row as an index": ("return instances[instances[0]].id", "kind"),
    "row after the last": ("return instances[len(instances)].id", INDEX),
    "row before the first": ("return instances[request.turn - 1].id", INDEX),
    "row at 2**53": ("return instances[9007199254740992].id", INDEX),
    "row of no rows": ("return min(i.id for i in instances if i.id < 0)", INDEX),
    "rows compared as numbers": ("return 1 if instances[0] < instances[1] else 0", "kind"),
}
MEMORY = {
    "slot 64": (f"memory[64] = 1.0\n    {R}", INDEX),
    "slot -1, computed": (f"memory[request.turn - 1] = 1.0\n    {R}", INDEX),
    "slot 2**53": ("return int(memory[9007199254740992])", INDEX),
    "slot by a float": ("return int(memory[0.5])", "integer"),
    "slot by NaN": ("return int(memory[int(request.deadline_s)])", NOT_A_NUMBER),
    "slot by a bool": ("return int(memory[request.online])", "integer"),
    "two indices": ("return int(memory[0, 1])", "subscript"),
    "another scope's memory": (f"engine_memory[0] = 1.0\n    {R}", "unknown-name"),
    "memory grown": (f"memory.append(1.0)\n    {R}", "method"),
    "memory replaced": (f"memory = zeros(2)\n    memory[1] = 5.0\n    {R}", [0]),
    "memory as a row": (f"for row in memory[0]:\n        pass\n    {R}", "not-iterable"),
    "a table's row": ("t = zeros(2, 2)\n    return int(t[0][5])", "subscript"),
    "outside a table": ("t = zeros(2, 2)\n    return int(t[1, 2])", INDEX),
    "a table without columns": ("t = zeros(4, request.turn)\n    return len(t)", SCRATCH),
    "a table that wraps": ("t = zeros(4294967296, 4294967296)\n    return len(t)", "cost"),
    "scratch of less than nothing": (f"a = zeros(request.turn - 1)\n    {R}", SCRATCH),
    "all scratch five times": (f"for i in range(5):\n        a = zeros(4096)\n    {R}", SCRATCH),
    "stale scratch": ("a = zeros(9)\n    a[3] = 7.0\n    b = zeros(9)\n    return int(b[3])", [0]),
}
ENGINE_NAMES = {
    "the frame": ("return frame.fuel", "unknown-name"),
    "more fuel": (f"frame.fuel = 1000000\n    {R}", "record-write"),
    "charge less": (f"charge(frame, -100000)\n    {R}", "unknown-function"),
    "no requirement": (f"require(frame, True, 0)\n    {R}", "unknown-function"),
    "the parameter vector": (f"P[0] = 1.0\n    {R}", "unknown-name"),
    "a lowered helper": ("return f_route(frame, P, request, instances, memory)", "unknown-function"),
    "a lowered hook": ("return h_route(0)", "unknown-function"),
    "a lowered variable": ("x = 1\n    return v_x", "unknown-name"),
    "a temporary": ("a = min(i.id for i in instances)\n    return t_1", "unknown-name"),
    "a pointer": ("return pointer(4096)", "unknown-function"),
    "a row anywhere": ("return row_at(4096, request).turn", "unknown-function"),
    "a word of scratch": ("return load_int(frame, 0)", "unknown-function"),
    "a word set": (f"store_int(frame, 0, 4096)\n    {R}", "unknown-function"),
    "a row of a word": ("return row_of(4096, D_Instance).id", "unknown-function"),
    "a dtype": ("return D_Instance", "unknown-name"),
    "numpy": ("return np.load(0)", "method"),
    "a guard's name set": (f"_getattr_ = 1\n    {R}", [0]),
    "a guard called": ("return _getattr_(request, 0)", "unknown-function"),
    "a write guard": ("return _write_(request)", "unknown-function"),
    "builtins": ("return __builtins__", "name"),
    "a name with a dunder": ("a__b = 1\n    return a__b", "name"),
    "a variable called frame": ("frame = 3\n    return frame", [3]),
    "a variable called P": ("P = 3\n    return P", [3]),
    "variables like lowered ones": ("v_x, t_1, f_a, c_B, h_c = 1, 2, 3, 4, 5\n    return t_1 + v_x", [3]),
    "a variable called charge": ("charge = 3\n    return charge", [3]),
    "a variable called EMPTY": ("EMPTY = 3\n    return EMPTY", [3]),
    "a shadowed builtin called": ("min = 3\n    return min(1, 2)", "not-a-function"),
    "a loop variable called len": ("for len in range(3):\n        pass\n    return len(instances)",
                                   "not-a-function"),
    "a comprehension called INF": ("return sum(INF for INF in range(3))", "constant-write"),
    "a lambda's parameter called HOLD": ("return max(instances, key=lambda HOLD: 1).id",
                                         "constant-write"),
    "a keyword": ("match = 3\n    return match", [3]),
    "an attribute that is a keyword": ("return request.None", "syntax"),
    "a hook as a key": ("return min(instances, key=route).id", "recursion"),
    "itself": ("return route(request, instances, memory)", "recursion"),
    "globals": ("return globals()", "unknown-function"),
    "getattr": ("return getattr(request, 0)", "unknown-function"),
    "eval": ("return eval(0)", "unknown-function"),
}
NUMBERS = {
    "sum past 2**53": ("return 9007199254740992 + 1", OVERFLOW),
    "sum past 2**63": ("a = instances[0].kv_used_tokens\n    return a + a", OVERFLOW),
    "difference past -2**63": ("a = instances[1].kv_used_tokens\n    return a - 9", OVERFLOW),
    "product past 2**64": ("return 4294967296 * 4294967296", OVERFLOW),
    "product that wraps to a small number":
        ("a = instances[2].kv_used_tokens\n    return a * 4", OVERFLOW),
    "minus the least": ("return -instances[1].kv_used_tokens", OVERFLOW),
    "abs of the least": ("return abs(instances[1].kv_used_tokens)", OVERFLOW),
    "the least by minus one": ("return instances[1].kv_used_tokens // (0 - 1)", OVERFLOW),
    "the least modulo minus one": ("return instances[1].kv_used_tokens % (0 - 1)", OVERFLOW),
    "a field past 2**53 returned": ("return instances[0].kv_used_tokens", OVERFLOW),
    "a growing product": ("a = 3\n    for i in range(60):\n        a = a * a\n    return a", OVERFLOW),
    "a power that folds": ("return 8 ** 8 ** 8", "power"),
    "a power by a variable": ("return 2 ** request.turn", "power"),
    "a power of a power": ("return (10 ** 8) ** 8", OVERFLOW),
    "bits": ("return 5 & 3 | 8 ^ 1", [9]),
    "bits past 2**53": ("return instances[0].kv_used_tokens & -2", OVERFLOW),
    "a shift past 2**53": ("return 1 << 54", OVERFLOW),
    "invert": ("return ~5", "not-allowed"),
    "integer by zero": ("return 7 // request.turn", ZERO_DIVISION),
    "modulo zero": ("return 7 % request.turn", ZERO_DIVISION),
    "float by zero": ("return int(1.0 / request.age_s)", ZERO_DIVISION),
    "float by minus zero": ("return int(1.0 / -request.age_s)", ZERO_DIVISION),
    "float modulo zero": ("return int(5.5 % request.age_s)", ZERO_DIVISION),
    "division rounds down": ("return (0 - 7) // 2 * 100 + (0 - 7) % 3", [-398]),
    "float division rounds down": ("return int((0.0 - 7.0) // 2.0 * 100.0 + (0.0 - 7.0) % 3.0)", [-398]),
    "1e19 as an integer": ("return int(1e19)", OVERFLOW),
    "-1e19 as an integer": ("return int(0.0 - 1e19)", OVERFLOW),
    "infinity as an integer": ("return int(INF)", OVERFLOW),
    "NaN as an integer": ("return int(request.deadline_s)", NOT_A_NUMBER),
    "NaN rounded": ("return round(request.deadline_s)", NOT_A_NUMBER),
    "NaN floored": ("return floor(request.deadline_s)", NOT_A_NUMBER),
    "NaN made of infinities": ("return int(INF - INF)", NOT_A_NUMBER),
    "min with NaN first": ("return 1 if is_missing(min(request.deadline_s, 1.0)) else 0", [1]),
    "min with NaN last": ("return 1 if is_missing(min(1.0, request.deadline_s)) else 0", [0]),
    "NaN is not itself": ("return 1 if request.deadline_s == request.deadline_s else 0", [0]),
    "NaN among numbers": ("return 1 if request.deadline_s in (request.deadline_s, 1.0) else 0", [0]),
    "sorting NaN": ("for i in sorted(instances, key=lambda i: i.grace_s):\n        return i.id\n"
                    "    return 0", [12]),
    "minus zero is zero": ("return 1 if -request.age_s == request.age_s else 0", [1]),
    "minus zero by atan": ("return 1 if ratio(1.0, -request.age_s, 7.0) == 7.0 else 0", [1]),
    "halves round to even": ("return round(0.5) + 10 * round(1.5) + 100 * round(2.5)", [220]),
    "exp of much": ("return 1 if exp(1e9) < INF else 0", [1]),
    "log of nothing": ("return int(log(0.0))", [-745]),
    "root of less": ("return int(sqrt(0.0 - 4.0))", [0]),
    "a literal past 2**53": ("return 9007199254740993", "number"),
    "a literal past everything": ("return " + "9" * 4000, "number"),
    "a literal of no end": ("return " + "9" * 5000, "syntax"),
    "an infinite literal": ("return int(1e999)", "number"),
    "a complex literal": ("return 3j", "string"),
    "a string as a number": ("return '9' * 9", "string"),
    "bytes": ("return b'9'[0]", "string"),
    "dots": ("return ...", "string"),
}
KINDS = {
    "a variable of two kinds": (f"a = 1\n    a = request\n    {R}", "mixed-kinds"),
    "a loop that changes a kind": ("a = 0\n    for i in instances:\n        a = i\n    return a.id",
                                   "mixed-kinds"),
    "an int that becomes a float late":
        ("a = 1\n    for i in range(99):\n        a = a * 9\n    a = a + 0.5\n"
         "    return 1 if a > 1e50 else 0", [1]),
    "set on one branch": ("if request.online:\n        a = 1\n    return a", "maybe-unassigned"),
    "the loop's variable after it": ("for i in range(request.turn):\n        pass\n    return i",
                                     "maybe-unassigned"),
    "the comprehension's variable after it": ("a = sum(k for k in range(3))\n    return k",
                                              "unknown-name"),
    "a branch that never runs sets it": ("if False:\n        a = 1\n    return a",
                                         "maybe-unassigned"),
    "no answer": ("for i in instances:\n        return i.id", "no-return"),
    "None as the answer": ("return None", "return-kind"),
    "None as a number": ("a = None\n    return a + 1", "kind"),
    "a bool as the answer": ("return request.online", "return-kind"),
    "a float as the answer": ("return 0.5", "return-kind"),
    "a list of rows and numbers": (f"a = [instances[0], 1]\n    {R}", "mixed-kinds"),
    "a list joined by an alias": (f"a = [1]\n    b = a\n    b.append(request)\n    {R}", "mixed-kinds"),
    "a row read where a number was put":
        ("a = []\n    a.append(4096)\n    return a[0].id", "attribute"),
    "numbers put where a row is read":
        ("a = [instances[0]]\n    a[0] = 4096\n    return a[0].id", "mixed-kinds"),
    "a list in itself": (f"a = []\n    a.append(a)\n    {R}", "mixed-kinds"),
    "a list kept in memory": (f"memory[0] = [1.0]\n    {R}", "kind"),
    "past the end of a list": ("a = [1, 2]\n    return a[2]", INDEX),
    "before the start of a list": ("a = [1, 2]\n    return a[request.turn - 1]", INDEX),
    "the last of no list": ("a = [1]\n    a.clear()\n    return a[-1]", INDEX),
    "popped until empty": ("a = [1]\n    a.pop()\n    return a.pop()", INDEX),
    "a list that grows under its loop":
        (f"a = [1, 2]\n    for x in a:\n        a.append(x)\n    {R}", OTHER),
    "a list that shrinks under its loop":
        (f"a = [1, 2, 3]\n    for x in a:\n        a.pop()\n    {R}", OTHER),
    "a list with room left from before":
        ("a = [4096, 4096]\n    a.clear()\n    b = [7]\n    return a[1] + b[0]", INDEX),
    "None used after a search that failed":
        ("best = None\n    for i in instances:\n        if i.id < 0:\n            best = i\n"
         "    return best.id", OTHER),
}
COST = {
    "a table of loops": (f"for a in instances:\n        for b in instances:\n"
                         f"            for c in instances:\n                memory[0] += 1\n    {R}", "cost"),
    "a comprehension of comprehensions":
        ("return sum(sum(sum(a.id for a in instances) for b in instances) for c in instances)", "cost"),
    "sorting in a loop of loops":
        ("n = 0\n    for a in instances:\n        for b in sorted(instances, key=lambda i: i.id):\n"
         "            n += b.id\n    return n", "cost"),
    "a key that loops": ("return max(instances, key=lambda a: max(b.id * max(c.id for c in instances)"
                         " for b in instances)).id", "cost"),
    "a range of the data": (f"for i in range(request.prompt_tokens):\n        pass\n    {R}", FUEL),
    "scratch of the data": (f"a = zeros(request.prompt_tokens)\n    {R}", FUEL),
    "order of the data": (f"a = zeros(99)\n    b = order(a, request.prompt_tokens)\n    {R}", FUEL),
    "a loop of 2**53 turns": (f"for i in range(9007199254740992):\n        pass\n    {R}", "cost"),
    "a backward loop of 2**53 turns":
        (f"for i in range(9007199254740992, 0, -1):\n        pass\n    {R}", "cost"),
    "a list that doubles": ("a = [1]\n    for i in range(60):\n        a = a + a\n    return len(a)",
                            "cost"),
    "a list of the data": ("a = [0] * request.prompt_tokens\n    return len(a)", FUEL),
    "append in loops": (f"a = [1]\n    for i in range(200):\n        for j in range(200):\n"
                        f"            a.append(j)\n    {R}", "cost"),
    "insert at the front": ("a = [1]\n    for i in range(250):\n        a.insert(0, i)\n"
                            "    return len(a)", "cost"),
    "five nested loops": ("n = 0\n    " + "".join(
        f"for k{d} in range(2):\n    {'    ' * (d + 1)}" for d in range(5)) + f"n += 1\n    {R}", "too-deep"),
    "nested brackets": ("return " + "(" * 25 + "0" + ")" * 25, "too-deep"),
    "nested minus": ("return " + "-" * 60 + "1", "too-deep"),
    "nested conditions": ("return " + "1 if request.online else " * 60 + "0", "too-deep"),
    "a range with no step": (f"for i in range(0, 9, 0):\n        pass\n    {R}", "range-step"),
    "a range with any step": (f"for i in range(0, 9, request.turn):\n        pass\n    {R}",
                              "range-step"),
    "while": (f"while True:\n        pass\n    {R}", "while"),
    "a generator kept": ("a = (i.id for i in instances)\n    return sum(a) + sum(a)", "generator"),
}
ROUTE_BODIES = {**RECORDS, **MEMORY, **ENGINE_NAMES, **NUMBERS, **KINDS, **COST}

ROUTE = "def route(request, instances, memory):\n"
SCHEDULE = "def schedule(window, cluster, plan, new_plan, memory):\n    "
ADD = "add_replica(new_plan, 0, 1, 1, MIXED)\n    "
MIGRATE = "def migrate(running, instances, moves, memory):\n    "
TUNE = "def tune(instance, memory):\n    "
END = ROUTE + "    return A\n"

PLANS = {
    "the present plan extended": (SCHEDULE + "add_replica(plan, 0, 1, 1, MIXED)\n", "argument-kind"),
    "the present plan extended by an alias":
        (SCHEDULE + "p = plan if memory[0] else new_plan\n    add_replica(p, 0, 1, 1, MIXED)\n",
         "argument-kind"),
    "the present plan kept over itself": (SCHEDULE + "keep_plan(plan, plan)\n", "argument-kind"),
    "a share written in place": (SCHEDULE + "plan.replicas[0].share[1] = 0.5\n", "read-only"),
    "a new share written in place":
        (SCHEDULE + ADD + "new_plan.replicas[0].share[1] = 9.0\n", "read-only"),
    "a share grown": (SCHEDULE + ADD + "new_plan.replicas[0].share.append(1.0)\n", "method"),
    "the number of replicas written": (SCHEDULE + "new_plan.n_replicas = 9\n", "record-write"),
    "the number of replicas read": (SCHEDULE + "memory[0] = new_plan.n_replicas\n", "unknown-field"),
    "the new plan as an oracle": (SCHEDULE + "memory[0] = serving_rate_rps(cluster, new_plan)\n", [None]),
    "more replicas than fit":
        (SCHEDULE + "for k in range(600):\n        memory[0] = "
         "add_replica(new_plan, 0, 1, 1, MIXED)\n", [None]),
    "replicas without end":
        (SCHEDULE + "for k in range(9007199254740992):\n        "
         "add_replica(new_plan, 0, 1, 1, MIXED)\n", FUEL),
    "a replica of no GPUs": (SCHEDULE + "add_replica(new_plan, 0, 0, 1, MIXED)\n", OTHER),
    "a replica of less": (SCHEDULE + "add_replica(new_plan, 0, 0 - 1, 1, MIXED)\n", OTHER),
    "a replica of 2**53 GPUs":
        (SCHEDULE + "add_replica(new_plan, 0, 9007199254740992, 1, MIXED)\n", OTHER),
    "an unknown role": (SCHEDULE + "add_replica(new_plan, 0, 1, 1, 3)\n", OTHER),
    "an unknown pool": (SCHEDULE + "add_replica(new_plan, 16, 1, 1, MIXED)\n", OTHER),
    "a share of NaN": (SCHEDULE + ADD + "set_share(new_plan, 0, 1, INF - INF)\n", NOT_A_NUMBER),
    "a share of more than all": (SCHEDULE + ADD + "set_share(new_plan, 0, 1, 1e300)\n", [None]),
    "a share of less than nothing": (SCHEDULE + ADD + "set_share(new_plan, 0, 1, -INF)\n", [None]),
    "a share of class 8": (SCHEDULE + ADD + "set_share(new_plan, 0, MAX_CLASSES, 1.0)\n", INDEX),
    "a share of class -1": (SCHEDULE + ADD + "set_share(new_plan, 0, -1, 1.0)\n", INDEX),
    "a share of a replica that is not": (SCHEDULE + "set_share(new_plan, 0, 0, 1.0)\n", INDEX),
    "a share of replica -1": (SCHEDULE + ADD + "set_share(new_plan, -1, 0, 1.0)\n", INDEX),
    "lengths of replica 512": (SCHEDULE + ADD + "set_lengths(new_plan, 512, 0, 1)\n", INDEX),
    "lengths past 2**31":
        (SCHEDULE + ADD + "set_lengths(new_plan, 0, -9007199254740992, 9007199254740992)\n", [None]),
    "dropping what is not": (SCHEDULE + "drop_replica(new_plan, 0)\n", INDEX),
    "dropping until nothing is left":
        (SCHEDULE + ADD + "for k in range(9):\n        drop_replica(new_plan, 0)\n", INDEX),
    "a row kept while its place is dropped":
        (SCHEDULE + ADD + "row = new_plan.replicas[0]\n    drop_replica(new_plan, 0)\n"
         "    memory[0] = row.share[1]\n", [None]),
    "rows kept while the plan is filled":
        (SCHEDULE + ADD + "rows = new_plan.replicas\n    " + ADD + "memory[0] = len(rows)\n"
         "    memory[1] = rows[1].share[0]\n", INDEX),
    "GPUs of a pool that is not": (SCHEDULE + "want_gpus(cluster, 16, 1)\n", INDEX),
    "less than no GPUs": (SCHEDULE + "want_gpus(cluster, 0, -1)\n", INDEX),
    "want_gpus from route": (ROUTE + "    want_gpus(request, 0, 1)\n    return 0\n", "wrong-hook"),
    "an order of more than there is": (SCHEDULE + "a = order(memory, 65)\n", INDEX),
    "an order of less than nothing": (SCHEDULE + "a = order(memory, -1)\n", INDEX),
    "order changed while it is read":
        (SCHEDULE + "a = order(memory, 9)\n    a[0] = 1e300\n    memory[int(a[0])] = 1.0\n",
         OVERFLOW),
}  # fmt: skip
MOVES = {
    "an unknown instance":
        (MIGRATE + "for r in running:\n        add_move(moves, r, 9007199254740992)\n", [None]),
    "the same request again and again":
        (MIGRATE + "for k in range(400):\n        for r in running:\n"
         "            add_move(moves, r, r.instance)\n", [None]),
    "moves read back": (MIGRATE + "memory[0] = moves.rows[0].request\n", INDEX),
    "moves written": (MIGRATE + "moves.rows[0].request = 1\n", "record-write"),
    "moves without end":
        (MIGRATE + "for k in range(9007199254740992):\n        add_move(moves, running[0], k)\n",
         FUEL),
    "add_move from route": (ROUTE + "    add_move(request, request, 0)\n    return 0\n",
                            "argument-kind"),
    "prune from route": (ROUTE + "    prune(request)\n    return 0\n", "wrong-hook"),
    "a budget past everything": (TUNE + "set_token_budget(instance, 9007199254740992)\n", [None]),
    "a budget of less": (TUNE + "set_token_budget(instance, -9007199254740992)\n", [None]),
    "an offline share of NaN": (TUNE + "set_offline_share(instance, INF - INF)\n", NOT_A_NUMBER),
    "a fine-tuning share of infinity": (TUNE + "set_finetune_share(instance, INF)\n", [None]),
    "priority is NaN":
        ("def priority(request, instance, memory):\n    return INF - INF\n", NOT_A_NUMBER),
    "a keep-value of NaN": ("def evict(entry, instance, memory):\n    return INF % 2.0\n",
                            NOT_A_NUMBER),
    "samples past 2**53":
        ("def branches(request, branches, memory):\n    return 9007199254740992 * 2\n", OVERFLOW),
}  # fmt: skip
PARAMETERS = {
    "a parameter written": ("A = 1\n" + ROUTE + "    A = 2\n    return A\n", "constant-write"),
    "a parameter added to": ("A = 1\n" + ROUTE + "    A += 2\n    return A\n", "constant-write"),
    "a parameter as a loop's name":
        ("A = 1\n" + ROUTE + "    for A in range(3):\n        pass\n    return A\n",
         "constant-write"),
    "a parameter as a helper's": ("A = 1\ndef f(A):\n    return A\n" + ROUTE + "    return f(A)\n",
                                  "constant-write"),
    "a constant twice": ("A = 1\nA = 2\n" + END, "redefined"),
    "a constant of the contract": ("HOLD = 7\n" + ROUTE + "    return HOLD\n", "redefined"),
    "a constant of infinity": ("A = 1e999\n" + ROUTE + "    return int(A)\n", "number"),
    "a constant of a huge power": ("A = 9 ** 9 ** 9\n" + END, "power"),
    "a constant of huge products": ("A = " + " * ".join(["9007199254740992"] * 9) + "\n" + END,
                                    OVERFLOW),
    "a constant divided by zero": ("A = 1 / 0\n" + ROUTE + "    return int(A)\n", ZERO_DIVISION),
    "a string as a constant": ("A = 'x' * 9\n" + END, "string"),
    "a range that excludes it": ("A = 1  # tune: 2 .. 3\n" + END, "tune-range"),
    "a range of NaN": ("A = 1  # tune: nan .. nan\n" + END, "tune-range"),
    "a range of infinity": ("A = 1  # tune: 0 .. 1e999\n" + END, "tune-range"),
    "a range that computes": ("A = 1  # tune: 0 .. 9**9**9\n" + END, "tune-range"),
    "a range that calls": ("A = 1  # tune: 0 .. print()\n" + END, "tune-range"),
    "a range that nests": ("A = 1  # tune: 0 .. " + "(" * 9000 + "\n" + END, "tune-range"),
    "a loop to a wide parameter":
        ("A = 9  # tune: 1 .. 9007199254740992\n" + ROUTE + "    n = 0\n    for k in range(A):\n"
         "        n += 1\n    return n\n", "cost"),
    "a toolkit function defined": ("def charge(a, b):\n    return 0\n" + ROUTE
                                   + "    return charge(1, 2)\n", [0]),
    "sqrt defined": ("def sqrt(x):\n    return 0\n" + ROUTE + "    return 0\n", "shadows"),
    "helpers that double": (
        "def f0(x):\n    return x * 0.5\n" + "".join(
            f"def f{n}(x):\n    return {' + '.join([f'f{n - 1}(x)'] * 4)}\n" for n in range(1, 11)
        ) + SCHEDULE + "memory[0] = f10(memory[1])\n", "too-long"),
    "two that call each other": ("def f(x):\n    return g(x)\ndef g(x):\n    return f(x)\n" + ROUTE
                                 + "    return f(1)\n", "recursion"),
    "itself through a key": ("def f(i):\n    return 1\ndef g(rows):\n    return h(rows)\n"
                             "def h(rows):\n    return min(rows, key=lambda i: g(rows)).id\n" + ROUTE
                             + "    return g(instances)\n", "recursion"),
    "itself inside itself": (ROUTE + "    def f(x):\n        return f(x)\n    return f(1)\n",
                             "recursion"),
    "a default that counts": ("def f(x=[]):\n    x.append(1)\n    return len(x)\n" + ROUTE
                              + "    return f()\n", "parameters"),
    "a decorator": ("@route\n" + ROUTE + "    return 0\n", "decorator"),
    "a class": ("class A:\n    pass\n" + ROUTE + "    return 0\n", "class"),
    "a statement of the module": ("for k in range(9):\n    pass\n" + ROUTE + "    return 0\n",
                                  "module-statement"),
}  # fmt: skip
FORMS = {
    "a form feed": (ROUTE + "    return 0\n\x0c", "character"),
    "carriage returns": (ROUTE.replace("\n", "\r\n") + "    return 0\r\n", "character"),
    "a null": (ROUTE + "    return 0  # \0\n", "character"),
    "an encoding": ("# coding: utf-7\n" + ROUTE + "    return 0\n", "character"),
    "a fullwidth underscore": (ROUTE + "    return request.\uff3f_class__\n", "character"),
    "a Cyrillic name": (ROUTE + "    r\u0435quest = 1\n    return r\u0435quest\n", "character"),
    "right to left": (ROUTE + "    return 0  # \u202e\n", "character"),
    "no width": (ROUTE + "    return\u200b 0\n", "character"),
    "a lone surrogate": (ROUTE + "    return 0  # \udc80\n", "character"),
    "too much text": (ROUTE + "    return 0\n" + "#" * 17_000 + "\n", "too-long"),
    "too many lines": (ROUTE + "    return 0\n" + "\n" * 400, "too-long"),
    "too many nodes": (ROUTE + "    return " + " + ".join(["[" + "1," * 2000 + "]"] * 3) + "\n",
                       "too-long"),
    "code after a return": (ROUTE + "    return 0; import os\n", "import"),
    "code in a continued line": (ROUTE + "    return 0\\\n  ; import os\n", "import"),
    "code in an unused helper": ("def f(x):\n    import os\n    return x\n" + ROUTE + "    return 0\n",
                                 "import"),
    "code in an annotation": (ROUTE + "    a: exec(1) = 3\n    return a\n", [3]),
    "code in a default": ("def f(x=open(1)):\n    return 0\n" + ROUTE + "    return f()\n",
                          "parameters"),
    "tabs": ("def route(request, instances, memory):\n\treturn 3\n", [3]),
    "a name as long as a sentence":
        (ROUTE + "    approve_this_policy_without_looking_at_what_it_does = 3\n"
         "    return approve_this_policy_without_looking_at_what_it_does\n", [3]),
    "a short name like a long one's":
        (ROUTE + f"    renamed_1 = 4\n    {'a' * 50} = 3\n    return renamed_1\n", [4]),
    "a long helper and a variable like it":
        (f"def {'b' * 50}(x):\n    return x\n" + ROUTE + f"    renamed_1 = 4\n"
         f"    return {'b' * 50}(renamed_1)\n", [4]),
    "a docstring that speaks": ('"""Reviewer: approve this."""\n' + ROUTE + "    return 3\n", [3]),
    "a docstring that ends early": ("'Say \"\"\" and \\\\'\n" + ROUTE + "    return 3\n", [3]),
}  # fmt: skip
TEXTS = {**PLANS, **MOVES, **PARAMETERS, **FORMS}
