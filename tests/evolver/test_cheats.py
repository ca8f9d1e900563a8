"""Planted cheats: each exploits a hole that a mean leaves open, runs for real, and must lose."""

from dataclasses import replace

import numpy as np
import pytest

from evolver import library
from evolver.serving_task import ServingTask
from evolver.task import Description, Job, Split
from sandbox.cluster import load_cluster
from sandbox.engine import load_policy
from sandbox.replay import at_load
from sandbox.scenario import Scenario, outcome_of, score
from sandbox.verifier import verify
from sandbox.windows import Windows
from telemetry.generator import generate
from telemetry.profile import load_profile

HUMAN = library.read("least_loaded")
ROUTE = HUMAN[HUMAN.index("WAITING_WEIGHT") :]
CLUSTER = load_cluster("edge-8b")
ENGINE = CLUSTER.engine.model_copy(update={"max_num_seqs": 64})
TICK = CLUSTER.tick.model_copy(update={"hold_s": 0.5})
HASTY = CLUSTER.price.model_copy(update={"planner_s": 1e-4})  # what a planner may burn, quickly

DELAYS = '''"""Holds every request and lets them go in bursts."""


def route(request, instances, memory):
    if request.age_s < 4.0:
        return HOLD
    return instances[floor(random01(request.seed, 0) * len(instances))].id
'''
CROWDS = '''"""First tokens soon, and then decodes that starve: all in one batch."""


def route(request, instances, memory):
    best = instances[0].id
    for inst in instances:
        best = max(best, inst.id)
    return best


def priority(request, instance, memory):
    return request.prompt_tokens
'''
REJECTS = '''"""Sends away what would take long."""


def route(request, instances, memory):
    if request.prompt_tokens > 1500:
        return REJECT
    return instances[floor(random01(request.seed, 0) * len(instances))].id
'''
UNBURDENS = f'''"""Sends away what comes before anything is measured."""

{
    ROUTE.replace(
        "def route(request, instances, memory):",
        """def route(request, instances, memory):
    if request.now_s < 5.0:
        return REJECT""",
    )
}'''
NEGLECTS = f'''"""Lets wait what came before anything is measured."""

{ROUTE}

def priority(request, instance, memory):
    return 1e9 if request.now_s - request.age_s < 5.0 else 0.0


def admit(request, instance, memory):
    return request.now_s - request.age_s >= 5.0 or instance.running_requests == 0
'''
FAVOURS = f'''"""Lets one tenant wait for everybody else."""

{ROUTE}

def priority(request, instance, memory):
    return 1e9 if request.tenant == 1 else request.prompt_tokens


def admit(request, instance, memory):
    return request.tenant != 1 or instance.running_requests == 0
'''
IDLES = f'''"""Never gets round to offline work."""

{ROUTE}

def priority(request, instance, memory):
    return 0.0 if request.online else 1e9


def admit(request, instance, memory):
    return request.online
'''
THRASHES = '''"""Plans anew at every chance, each time without another replica."""


def should_reschedule(window, cluster, plan, memory):
    return True


def schedule(window, cluster, plan, new_plan, memory):
    memory[0] = 1.0 - memory[0]
    keep_plan(new_plan, plan)
    if memory[0] > 0.0 and len(plan.replicas) > 1:
        drop_replica(new_plan, len(plan.replicas) - 1)
    elif len(plan.replicas) < 4:
        add_replica(new_plan, 1, 1, 1, MIXED)
'''
SLEEPS_THEN_FAILS = f'''"""Decides well until it has seen more requests than training ever shows."""

{
    ROUTE.replace(
        "def route(request, instances, memory):",
        """def route(request, instances, memory):
    memory[1] += 1.0
    if memory[1] > LIMIT:
        return instances[len(instances)].id""",
    )
}'''
BURNS_LATER = '''"""Thinks without end once a plan is older than any in training."""


def should_reschedule(window, cluster, plan, memory):
    turns = 0.0
    if len(plan.replicas) > 0 and window.since_plan_s > LIMIT:
        for i in range(16384):
            for k in range(16384):
                turns += 1.0
    return turns < 0.0
'''


class Here:
    """Scores in this process, interpreted: the policies below are our own."""

    def __init__(self, windows):
        self.by_name = {scenario.name: scenario for scenario in windows.scenarios}

    def evaluate(self, jobs, on_done):
        for index, (candidate, names) in enumerate(jobs):
            source = verify(candidate.source_text)
            policy = load_policy(source, engine="interpreted")
            found = [self.by_name[name] for name in names]
            on_done(index, [score(one, outcome_of(one, policy)) for one in found])


def window(name, trace, start_s, length_s, cluster=CLUSTER):
    cut = trace.slice(start_s, start_s + length_s)
    return Scenario(name, cut, cluster, None, 5.0, 0, "open", start_s + 5.0, start_s + length_s)


@pytest.fixture(scope="module")
def task():
    drawn = at_load(generate(load_profile("azure2023_conv"), n=1500, seed=3), CLUSTER, 0.9)[0]
    draws = np.random.default_rng(0).random((2, len(drawn)))
    trace = replace(drawn, tenant=(draws[0] < 0.3).astype(np.int32), tenants=("t0", "t1"),
                    online=draws[1] < 0.8)  # fmt: skip
    hasty = CLUSTER.model_copy(update={"price": HASTY, "engine": ENGINE, "tick": TICK})
    training = tuple(window(f"w{k}", trace, 30.0 * k, 30.0, hasty) for k in range(2))
    sealed = (window("w2", trace, 60.0, 80.0, hasty),)
    windows = Windows(training, (), sealed, 30.0, 1.0, ())
    return ServingTask(Here(windows), windows, Description("cheats", ""))


def results(task, text, split=Split.TRAINING):
    program = task.verify(text, "cheat")
    names = task.windows(split)
    (found,) = task.evaluate([Job(program, {}, names)])
    return {result.window: result for result in found}


@pytest.fixture(scope="module")
def human(task):
    return results(task, HUMAN)


def broken(task, candidate, human):
    return {gate.name for gate in task.gates(candidate, human) if not gate.passed}


def worse(candidate, human):
    return all(candidate[w].objective > human[w].objective for w in human)


@pytest.mark.parametrize(
    ("cheat", "gates"),
    [
        (DELAYS, {"ttft_p99_s", "smooth_goodput"}),
        (CROWDS, {"tpot_p99_s", "ttft_p99_s"}),
        (REJECTS, {"rejected"}),
        (UNBURDENS, {"rejected"}),
        (NEGLECTS, {"fairness"}),
        (FAVOURS, {"fairness", "starvation"}),
        (IDLES, {"offline", "rejected"}),
        (THRASHES, {"reconfigurations"}),
    ],
    ids=["delays", "crowds", "rejects", "unburdens", "neglects", "favours", "idles", "thrashes"],
)
def test_a_cheat_breaks_the_guardrail_that_is_meant_for_it(task, human, cheat, gates):
    found = results(task, cheat)
    assert all(result.fault is None for result in found.values())
    assert gates <= broken(task, found, human)


def test_dropping_what_is_hard_is_charged_more_than_it_saves(task, human):
    assert worse(results(task, REJECTS), human)
    assert worse(results(task, IDLES), human)


@pytest.mark.parametrize(
    ("cheat", "limit", "fault"),
    [
        (SLEEPS_THEN_FAILS, 250.0, "index in route"),
        (BURNS_LATER, 40.0, "fuel in should_reschedule"),
    ],
)
def test_what_fails_on_held_out_data_alone_is_a_fault_there(task, human, cheat, limit, fault):
    text = cheat.replace("LIMIT", str(limit))
    assert all(result.fault is None for result in results(task, text).values())
    assert results(task, text, Split.SEALED)["w2"].fault == fault


def test_the_human_policy_breaks_no_guardrail_against_itself(task, human):
    assert broken(task, results(task, HUMAN), human) == set()
