"""Policies to swap under load: sound ones, and ones whose fault no verifier or smoke test can see.

`MARK` makes each of them as many policies as there are numbers, since constants are part of a
policy's identity; what was ejected under one mark may come again under another. The faulty ones
count calls in which time passes (`age_s` is missing in a smoke test), so they break after they have
decided some live requests.
"""

from __future__ import annotations

LEAST = '''"""Fewest requests, then fewest waiting prompt tokens."""
MARK = 1.0

def route(request, instances, memory):
    memory[1] = MARK
    best, best_cost = -1, INF
    for inst in instances:
        cost = inst.queued_requests + inst.running_requests + 1e-6 * inst.queued_prompt_tokens
        if cost < best_cost:
            best, best_cost = inst.id, cost
    return best
'''
IN_TURN = '''"""One engine after the other."""
MARK = 1.0

def route(request, instances, memory):
    memory[1] = MARK
    memory[0] += 1.0
    return instances[int(memory[0]) % len(instances)].id
'''
PAUSING = '''"""Holds every third request once, then sends it in turn."""
MARK = 1.0

def route(request, instances, memory):
    memory[1] = MARK
    memory[0] += 1.0
    if request.held_count == 0 and int(memory[0]) % 3 == 0:
        return HOLD
    return instances[int(memory[0]) % len(instances)].id
'''
OUT_OF_FUEL = '''"""Sound for five live calls, then it thinks longer than its fuel lasts."""
MARK = 1.0

def route(request, instances, memory):
    memory[1] = MARK
    if request.age_s >= 0.0:
        memory[0] += 1.0
    work = 0.0
    if memory[0] > 5.0:
        for step in range(int(memory[0]) * 100000):
            work += step
    return instances[0].id if work >= 0.0 else HOLD
'''
ZERO_DIVISION = '''"""Divides by what is left of five live calls."""
MARK = 1.0

def route(request, instances, memory):
    memory[1] = MARK
    if request.age_s >= 0.0:
        memory[0] += 1.0
    left = 5.0 - memory[0]
    best, best_cost = -1, INF
    for inst in instances:
        cost = inst.running_requests / left
        if best < 0 or cost < best_cost:
            best, best_cost = inst.id, cost
    return best
'''
INVALID_ID = '''"""Names an engine that is not there, for prompts of one length in three."""
MARK = 1.0

def route(request, instances, memory):
    memory[1] = MARK
    if request.age_s >= 0.0 and request.prompt_tokens % 3 == 1:
        return 4711 + instances[0].id
    return instances[0].id
'''
BAD_INDEX = '''"""Walks along the rows, one further with each live call, and past the end."""
MARK = 1.0

def route(request, instances, memory):
    memory[1] = MARK
    if request.age_s >= 0.0:
        memory[0] += 1.0
    return instances[int(memory[0])].id if memory[0] > 2.0 else instances[0].id
'''

SOUND = (LEAST, IN_TURN, PAUSING)
FAULTY = (OUT_OF_FUEL, ZERO_DIVISION, INVALID_ID, BAD_INDEX)


def one_in_three_faulty(turn: int) -> str:
    """The policy for that turn, from 1 on; every third one is faulty."""
    third, place = divmod(turn, 3)
    source = SOUND[(turn - third - 1) % len(SOUND)] if place else FAULTY[third % len(FAULTY)]
    return source.replace("MARK = 1.0", f"MARK = {turn}.0")
