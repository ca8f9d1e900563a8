"""Policies put together of known hooks run on machine code that was made for other policies."""

import random

import pytest
import random_inputs as inputs
import trials

from evolver.draft import Draft
from evolver.library import read
from evolver.splice import take_hook
from sandbox.compiled import build_policy, link_policy
from sandbox.engine import load_policy
from sandbox.errors import CodeRefused
from sandbox.mixed import mix_policy
from sandbox.native.policy_code import PolicyCode
from sandbox.verifier import verify

CALLS = 15
LIBRARY = {
    "echo": ("priority", "admit", "evict"),
    "hermes": ("priority", "prewarm"),
    "llumnix": ("route", "priority"),
    "shortest_predicted_first": ("route", "priority"),
    "splitwise": ("route", "route_decode"),
    "vtc": ("priority",),
}
# one name for unlike helpers and constants, one memory for unlike hooks
CLASHING = {
    "first": """
SHARE = 0.5  # tune: 0 .. 1
LIMIT = 2  # tune: 1 .. 9

def cost(request, inst):
    return SHARE * inst.queued_requests + LIMIT

def route(request, instances, memory):
    memory[0] = memory[0] + SHARE
    best, least = instances[0].id, INF
    for inst in instances:
        if cost(request, inst) < least:
            best, least = inst.id, cost(request, inst)
    return best

def priority(request, instance, memory):
    return cost(request, instance) - memory[0] * LIMIT
""",
    "second": """
LIMIT = 4.0  # tune: 1 .. 9
SHARE = 0.25  # tune: 0 .. 1

def cost(request, inst):
    return LIMIT * inst.running_requests - SHARE

def route(request, instances, memory):
    memory[0] = memory[0] - LIMIT
    return max(instances, key=lambda inst: cost(request, inst) + memory[1]).id

def priority(request, instance, memory):
    memory[1] = memory[1] + SHARE
    return cost(request, instance)
""",
}


@pytest.fixture(scope="module")
def codes():
    texts = {name: read(name) for name in LIBRARY} | CLASHING
    sources = {name: verify(text) for name, text in texts.items()}
    wanted = LIBRARY | dict.fromkeys(CLASHING, ("route", "priority"))
    return {name: (one, build_policy(one, wanted[name])) for name, one in sources.items()}


def drawn(source, rng):
    """Constants anywhere in their ranges."""
    found = {}
    for one in source.tunables:
        low, high = max(one.low, one.value - 50.0), min(one.high, one.value + 50.0)
        integer = rng.randint(int(low), int(high))
        found[one.name] = integer if one.integer else rng.uniform(low, high)
    return found


def child_of(base, donor, hook, rng):
    """The base with a hook of the donor, each with constants of its own."""
    draft = Draft.read(base.annotated(), drawn(base, rng))
    take_hook(draft, Draft.read(donor.annotated(), drawn(donor, rng)), hook)
    return verify(draft.text())


def assert_alike(source, code, rng):
    """The composite decides as it does interpreted, in two settings of its constants."""
    linked = link_policy(source, code, only=code.hooks)
    plain = load_policy(source, engine="interpreted", only=code.hooks)
    mixed = mix_policy(source, code.only(list(code.hooks)[1:]), code.hooks)
    for parameters in ({}, drawn(source, rng)):
        for hook in code.hooks:
            all_three = [one.with_parameters(parameters) for one in (plain, linked, mixed)]
            engines = [trials.Engine(one, hook) for one in all_three]
            for _ in range(CALLS):
                given = inputs.inputs_for(hook, rng)
                assert not list(trials.disagreements([one.call(given) for one in engines])), hook


@pytest.mark.parametrize("names", [LIBRARY, CLASHING], ids=["library", "clashing"])
def test_law_5_a_composite_of_known_hooks_decides_as_it_does_interpreted(codes, names):
    rng, tried = random.Random(5), 0
    for base, own in (codes[name] for name in names):
        for donor, code in (codes[name] for name in names):
            for hook in code.hooks if donor is not base else ():
                child = child_of(base, donor, hook, rng)
                assert_alike(child, PolicyCode({**own.hooks, hook: code.hooks[hook]}), rng)
                tried += 1
    assert tried >= len(names)


def test_a_composite_with_another_policys_hook_of_the_same_name_is_refused(codes):
    base, own = codes["first"]
    child = child_of(base, codes["second"][0], "priority", random.Random(1))
    assert own.lacks(child, "priority")
    assert not own.lacks(child, "route")
    with pytest.raises(CodeRefused, match="another policy"):
        link_policy(child, own)


def test_a_hook_is_given_the_constants_that_it_reads(codes):
    source, code = codes["second"]
    linked = link_policy(source, code, {"SHARE": 0.125, "LIMIT": 7.0})
    child = child_of(source, codes["vtc"][0], "priority", random.Random(1))
    assert sorted(linked.parameters_of("route")) == [0.125, 7.0]
    assert len(load_policy(child, code=code, only=("route",)).parameters_of("route")) == 2
    assert len(child.tunables) > 2
