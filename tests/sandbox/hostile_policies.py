"""Policies that mean harm: they read everything, answer nonsense, burn fuel, never rest."""

from sandbox import contract


def _sum_of(record, row, skip=()):
    """Source text that adds up every number a record has, missing ones left out."""
    lines = []
    for name, kind in record.__annotations__.items():
        if kind == "int" and name not in skip:
            lines.append(f"    total = 0.75 * total + {row}.{name}")
        elif kind == "float" and name not in skip:
            lines.append(f"    total = add(total, {row}.{name})")
    return "\n".join(lines)


ADD = '''"""Looks at every number there is."""


def add(total, value):
    return total if is_missing(value) else 0.75 * total + value


'''
LOOK = f"""def about(request):
    total = 0.0
{_sum_of(contract.Request, "request")}
    return total


def look(total, inst):
{_sum_of(contract.Instance, "inst", skip=("knob_token_budget", "knob_speculation"))}
    return total - floor(total)


"""
CURIOUS = (
    ADD
    + LOOK
    + """def route(request, instances, memory):
    best, least, total = HOLD, 0.9, about(request)
    for inst in instances:
        value = look(total, inst)
        if value < least:
            best, least = inst.id, value
    if least < 0.005:
        return REJECT
    return best


def priority(request, instance, memory):
    memory[0] += 1.0
    return look(about(request), instance)


def evict(entry, instance, memory):
    memory[2] += 1.0
    total = look(0.01 * entry.age_s + 0.3 * entry.tokens + 0.7 * entry.hits, instance)
    return total + 0.1 * entry.users + 0.001 * entry.depth_tokens


def prewarm(instance, entries, memory):
    memory[3] += look(float(len(entries)), instance)
    for entry in entries:
        if not entry.probability < 0.5 or entry.in_s < 1.0:
            bring_in(entry)


def admit(request, instance, memory):
    memory[1] += 1.0
    turn = 0.1 * memory[1]
    return look(about(request), instance) + turn - floor(turn) < 1.2


"""
    + f"""def route_decode(request, instances, memory):
    best, least, total = HOLD, 0.95, about(request)
    for inst in instances:
        value = look(total, inst)
        if value < least:
            best, least = inst.id, value
    return best


def migrate(running, instances, moves, memory):
    total = 0.0
    for inst in instances:
        total = look(total, inst)
    for row in running:
{_sum_of(contract.Running, "row").replace("    total", "        total")}
        total -= floor(total)
        for inst in instances:
            if total + 0.1 * inst.running_requests < 0.3 and row.instance != inst.id:
                add_move(moves, row, inst.id)


def tune(instance, memory):
    value = look(memory[2], instance)
    memory[2] += value
    if value < 0.6:
        set_token_budget(instance, int(value * 200.0))
        set_speculation(instance, int(value * 8.0))
    if value > 0.4:
        set_offline_share(instance, 2.0 * value - 1.0)
        set_finetune_share(instance, value)


def situation(window, cluster, plan):
    total = 0.0
{_sum_of(contract.Window, "window")}
{_sum_of(contract.Cluster, "cluster")}
    for row in window.classes:
        total = add(total, row.queue_mean_s)
        total = add(total, row.ttft_mean_s)
        total = add(total, float(row.queued_requests))
    for replica in plan.replicas:
        total = add(total, replica.kv_used)
        total = add(total, float(replica.running_requests))
    return total - floor(total)


def should_reschedule(window, cluster, plan, memory):
    memory[0] = situation(window, cluster, plan)
    return memory[0] < 0.5


def schedule(window, cluster, plan, new_plan, memory):
    role = MIXED
    for index, shape in enumerate(cluster.shapes):
        want_gpus(cluster, shape.pool, int(memory[0] * 7.0 + index) % 4)
        free = cluster.pools[shape.pool].present - plan_gpus(new_plan, shape.pool)
        if memory[0] * 4.0 - index > -1.0 and free >= shape.gpus:
            add_replica(new_plan, shape.pool, shape.tp, shape.pp, role)
            role = int(memory[0] * 6.0 + index) % 3
"""
)
BRANCHES = """

def branches(request, branches, memory):
    total = 0.0
    for branch in branches:
        total = add(total, branch.score) + 0.1 * branch.done_tokens + 0.01 * branch.index
        if total - floor(total) < 0.2 and not branch.finished:
            prune(branch)
    return int(6.0 * (total - floor(total))) if len(branches) > 0 else request.branch_count - 1
"""
ROUTE = '"""One line."""\n\n\ndef route(request, instances, memory):\n    return '
HOSTILE = {
    "holds": ROUTE + "HOLD\n",
    "rejects": ROUTE + "REJECT if request.prompt_tokens > 300 else instances[0].id\n",
    "garbage": ROUTE + "request.seed - 77\n",
    "divides": ROUTE + "1 // (request.prompt_tokens - request.prompt_tokens)\n",
    "burns": '"""Never done."""\n\n\ndef route(request, instances, memory):\n    total = 0\n'
    "    for a in range(100):\n        for b in range(30):\n            total += a * b\n"
    "    return instances[total % len(instances)].id\n",
    "starves": '"""Lets nobody in."""\n\n\n'
    "def admit(request, instance, memory):\n    return False\n",
    "flips": '"""Another plan each time, good or bad."""\n\n\n'
    "def should_reschedule(window, cluster, plan, memory):\n    return True\n\n\n"
    "def schedule(window, cluster, plan, new_plan, memory):\n    memory[0] += 1.0\n"
    "    for k in range(int(memory[0]) % 7):\n"
    "        add_replica(new_plan, k % 2, 1, 1, (k + int(memory[0])) % 3)\n",
    "buys": '"""Wants another number of GPUs each time, and plans with what is there."""\n\n\n'
    "def should_reschedule(window, cluster, plan, memory):\n    return True\n\n\n"
    "def schedule(window, cluster, plan, new_plan, memory):\n    memory[0] += 1.0\n"
    "    turn = int(memory[0])\n"
    "    for pool in range(len(cluster.pools)):\n"
    "        want_gpus(cluster, pool, (turn * 3 + pool) % 5)\n"
    "        for k in range(max(cluster.pools[pool].present - turn % 2, 0)):\n"
    "            index = add_replica(new_plan, pool, 1, 1, MIXED)\n"
    "            set_lengths(new_plan, index, turn % 3 * k, 1000 + k)\n",
    "moves": '"""Everything moves all the time, some of it nowhere."""\n\n\n'
    "def migrate(running, instances, moves, memory):\n    memory[0] += 1.0\n"
    "    for k in range(len(running)):\n"
    "        there = instances[(k + int(memory[0])) % len(instances)].id\n"
    "        add_move(moves, running[k], 999 if k == 7 else there)\n\n\n"
    "def route_decode(request, instances, memory):\n    memory[0] += 1.0\n"
    "    if int(memory[0]) % 3 == 0:\n        return HOLD\n"
    "    return instances[int(memory[0]) % len(instances)].id\n",
    "twists": '"""Turns every knob, too far."""\n\n\ndef tune(instance, memory):\n'
    "    memory[0] += 1.0\n    wild = random01(instance.id, int(memory[0]))\n"
    "    set_token_budget(instance, int(wild * 9000.0) - 50)\n"
    "    set_speculation(instance, int(wild * 19.0) - 1)\n"
    "    set_offline_share(instance, 1.4 * wild - 0.2)\n"
    "    set_finetune_share(instance, 1.4 * wild - 0.2)\n"
    "    if wild > 0.9:\n        memory[1] = 1.0 / (wild - wild)\n",
    "deep": '"""Pipelines where there are any, and speculation in them."""\n\n\n'
    "def should_reschedule(window, cluster, plan, memory):\n    return True\n\n\n"
    "def schedule(window, cluster, plan, new_plan, memory):\n    memory[0] += 1.0\n"
    "    for shape in cluster.shapes:\n"
    "        free = cluster.pools[shape.pool].present - plan_gpus(new_plan, shape.pool)\n"
    "        if free >= shape.gpus and (shape.pp > 1 or int(memory[0]) % 4 == 0):\n"
    "            add_replica(new_plan, shape.pool, shape.tp, shape.pp, MIXED)\n\n\n"
    "def priority(request, instance, memory):\n    return random01(request.seed, 7)\n\n\n"
    "def tune(instance, memory):\n    memory[0] += 1.0\n"
    "    set_speculation(instance, int(memory[0]) % 4)\n",
    "curious": CURIOUS + BRANCHES,
    "prunes": '"""Prunes all there is."""\n\n\n'
    "def branches(request, branches, memory):\n    for branch in branches:\n"
    "        prune(branch)\n    return 3\n",
}
