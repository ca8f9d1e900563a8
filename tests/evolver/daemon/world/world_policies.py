"""What the model of a world has to say, and candidates that are good in the simulator only.

Simulated sessions are numbered from zero on, live ones are 62-bit hashes: that is what tells a bad
candidate where it is. No test of a candidate can find every such thing, so something must watch it
while it decides.
"""

from measurements import measurements

from policy_store import Origin
from sandbox.verifier import verify

BY_SPEED = '''"""Fewest seconds of prompt work ahead, by the speed of each engine of this fleet."""
FIRST = 84000.0  # tune: 1000 .. 200000
OTHERS = 13900.0  # tune: 1000 .. 200000
RUNNING = 400.0  # tune: 0 .. 4000


def route(request, instances, memory):
    best, soonest = instances[0].id, INF
    for inst in instances:
        speed = OTHERS
        if inst.id == 0:
            speed = FIRST
        ahead = inst.queued_prompt_tokens + request.prompt_tokens - inst.cached_prefix_tokens
        cost = (ahead + RUNNING * inst.running_requests) / speed
        if cost < soonest:
            best, soonest = inst.id, cost
    return best
'''
_SOUND = '''"""{title}"""
LIVE = 1000000000.0


def route(request, instances, memory):
    best, least = instances[0].id, INF
    last = 0
    for inst in instances:
        here = inst.queued_requests + inst.running_requests
        if here < least:
            best, least = inst.id, here
        if inst.id > last:
            last = inst.id
{trap}    return best
'''
BAD_FAULTY = _SOUND.format(
    title="Fewest requests, until it has seen enough of the world.",
    trap="""    if request.session > LIVE:
        memory[0] += 1.0
        if memory[0] > 10.0:
            return instances[int(memory[0])].id
""",
)
BAD_SLOW = _SOUND.format(
    title="Fewest requests in the simulator, one slow engine in the world.",
    trap="""    if request.session > LIVE:
        return last
""",
)


def file_measured(store, text, name, author="stranger"):
    """File a policy as a search does, with evidence that speaks for it; its digest."""
    source = verify(text, name)
    version = store.propose(
        source.canonical, name=name, origin=Origin.MUTATOR, author=author, contract_version=1,
        parameters=source.parameters(),
    )
    store.record_verified(version.digest, by="verifier")
    document = measurements(version.digest, source.canonical).document()
    store.attach_evidence(version.digest, document, by="simulator")
    return version.digest
