"""Which engine runs a hook, and what is compiled of a policy that is bred from known ones."""

import pytest
from small_scenario import scenario

from evolver.leaderboard import runs as module
from evolver.leaderboard.runs import Engines, Runs
from sandbox.compiled import build_policy
from sandbox.engine import load_policy
from sandbox.hook_text import hook_text
from sandbox.kernel.calls import CALLED
from sandbox.outcome_bytes import outcome_to_bytes
from sandbox.scenario import outcome_of
from sandbox.verifier import verify

ROUTE = """
WEIGHT = 2.0  # tune: 0.5 .. 8

def route(request, instances, memory):
    return min(instances, key=lambda inst: WEIGHT * inst.queued_requests + inst.running_requests).id
"""
OTHER = "\ndef priority(request, instance, memory):\n    return -request.age_s\n"
NEW = OTHER.replace("-request.age_s", "request.prompt_tokens - request.age_s")


@pytest.fixture(scope="module")
def known():
    source = verify(ROUTE + OTHER)
    made = build_policy(source).hooks
    return {hook_text(source, hook).digest: code for hook, code in made.items()}


@pytest.fixture
def built(monkeypatch):
    """The hooks that were compiled."""
    asked = []

    def counted(source, only):
        asked.extend(only)
        return build_policy(source, only)

    monkeypatch.setattr(module, "build_policy", counted)
    return asked


def test_a_policy_of_known_hooks_is_in_machine_code_at_once(known, built):
    renamed = verify((ROUTE + OTHER).replace("WEIGHT", "SHARE").replace("2.0", "3.0"))
    loaded = Engines(known).load(renamed)
    assert loaded.compiled.hooks == {"route", "priority"}
    assert loaded.interpreted.hooks == set()
    assert not built


def test_an_unknown_hook_is_compiled_once_interpreting_it_would_take_longer(known, built):
    engines, source = Engines(known), verify(ROUTE + NEW)
    for _ in range(2):  # the next run counts, too
        assert engines.load(source).interpreted.hooks == {"priority"}
        engines.spent(source, 0.04)
    loaded = engines.load(source)
    assert (loaded.interpreted.hooks, loaded.compiled.hooks) == (set(), {"route", "priority"})
    alone = engines.load(verify(NEW))
    assert alone.compiled.hooks == {"priority"}
    assert built == ["priority"]


def test_what_will_run_often_or_is_dear_to_interpret_is_compiled_at_once(known, built):
    engines, source = Engines(known), verify(ROUTE + NEW)
    engines.wanted_often(source)
    assert engines.load(source).interpreted.hooks == set()
    other = verify(NEW.replace("prompt_tokens", "done_tokens"))
    assert engines.load(other).interpreted.hooks == {"priority"}
    engines.spent(other, 9.0)
    another = verify(NEW.replace("prompt_tokens", "turn"))
    assert engines.load(another).interpreted.hooks == set()
    assert built == ["priority", "priority"]


def test_a_policy_of_two_engines_does_what_it_does_in_one(known):
    source = verify(ROUTE + NEW)
    window = scenario().problem(0).windows().training[0]
    mixed = Engines(known).load(source).with_parameters({"WEIGHT": 5.0})
    assert (mixed.compiled.hooks, mixed.interpreted.hooks) == ({"route"}, {"priority"})
    plain = load_policy(source, {"WEIGHT": 5.0}, "interpreted", CALLED)
    both = [outcome_of(window, one) for one in (mixed, plain)]
    first, second = (outcome_to_bytes(one, window.cluster) for one in both)
    assert first == second
    assert mixed.digest == plain.digest
    outcome, _ = Runs([window], known).outcome(source, {"WEIGHT": 5.0}, window.name)
    assert outcome_to_bytes(outcome, window.cluster) == first
