"""Growth: terms at weight zero change nothing, those that save something stay, others leave."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolver import library
from evolver.draft import Draft
from evolver.growth import AT_ONCE, GROWING, Place, Weights, enriched, groups, grown, weigh
from evolver.terms import BY_HOOK, PLACEMENT, URGENCY
from sandbox.cluster import load_cluster
from sandbox.engine import load_policy
from sandbox.policies import default_text
from sandbox.replay import at_load, default_policy
from sandbox.simulation import Outcome, Setup, simulate
from sandbox.verifier import verify
from telemetry import generate, load_profile

MOST_LATER_PS = 10**10
NAMES = ("glia", "hexagent")
ROUTER = '''"""A router. It counts."""


def cost_of(request, inst):
    return 1.0 * inst.queued_requests


def route(request, instances, memory):
    best, least = instances[0].id, INF
    for inst in instances:
        if cost_of(request, inst) < least:
            best, least = inst.id, cost_of(request, inst)
    return best
'''


def default() -> Draft:
    return Draft.read(default_text())


def outcome(text: str) -> Outcome:
    cluster = load_cluster("h100-8b")
    trace, _ = at_load(generate(load_profile("azure2023_conv"), n=50, seed=1), cluster, 0.9)
    policy = load_policy(verify(text), engine="interpreted")
    return simulate(Setup(trace, cluster), policy, default_policy())


def test_the_groups_of_a_hook_are_all_its_terms_in_order() -> None:
    for hook in GROWING:
        parts = groups(hook)
        wanted = PLACEMENT if hook == "admit" else BY_HOOK.get(hook, PLACEMENT)
        assert [term for part in parts for term in part] == list(wanted)
        assert max(map(len, parts)) <= AT_ONCE


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("hook", "place"), [(hook, one) for hook, places in GROWING.items() for one in places]
)
def test_an_enriched_policy_decides_as_the_plain_one_until_a_weight_moves(
    name: str, hook: str, place: Place
) -> None:
    plain = Draft.read(library.read(name))
    if hook not in plain.functions:
        pytest.skip(f"{name} has no {hook}: the default's would take its place")
    before = outcome(plain.text())
    for terms in groups(hook):
        rich = enriched(plain, default(), hook, place, terms)
        if rich is None:
            continue
        assert set(rich.terms) <= verify(rich.text).parameters().keys()
        after = outcome(rich.text)
        assert (after.engine == before.engine).all()
        # A decision takes its microseconds, and longer with more to weigh.
        assert abs(after.finish - before.finish).max() < MOST_LATER_PS


def test_terms_go_into_a_helper_where_the_score_is_computed_there() -> None:
    rich = enriched(Draft.read(ROUTER), default(), "route", "score", PLACEMENT[:3])
    assert rich is not None
    assert rich.text.index("GROWN") < rich.text.index("def cost_of")
    body = rich.text[rich.text.index("def cost_of") : rich.text.index("def route")]
    assert body.count("GROWN") == 3


def test_a_hook_that_is_lacking_comes_from_the_default_policy() -> None:
    (terms, *_) = groups("priority")
    rich = enriched(Draft.read(ROUTER), default(), "priority", "score", terms)
    assert rich is not None
    assert "priority" in verify(rich.text).hooks


def test_what_has_a_weight_stays_under_a_name_of_its_own_with_its_sign() -> None:
    terms = PLACEMENT[:4]
    text = grown(
        Draft.read(ROUTER), default(), "route", "score", terms, [(terms[0], 0.3), (terms[3], -3.0)]
    )
    assert text is not None
    source = verify(text)
    assert source.parameters() == {"QUEUE_LENGTH_WEIGHT": 0.3, "KV_USE_WEIGHT": 3.0} | {
        name: value for name, value in source.parameters().items() if name.startswith("KV_KNEE")
    }
    assert "GROWN" not in text
    assert "- KV_USE_WEIGHT" in text
    assert text.startswith('"""A router. route also weighs: queue length, KV use beyond a knee.')


def test_a_condition_grows_limits_and_keeps_what_it_asked() -> None:
    plain = Draft.read(library.read("glia"))
    rich = enriched(plain, default(), "route", "gate", PLACEMENT[:2])
    assert rich is not None
    assert "and GROWN * extra <= 1.0 and (GROWN_2 * extra_2 <= 1.0)" in rich.text
    text = grown(plain, default(), "admit", "gate", PLACEMENT[:2], [(PLACEMENT[1], 4.0)])
    assert text is not None
    source = verify(text)
    assert source.parameters()["BATCH_SIZE_WEIGHT"] == 4.0
    assert "OFFLINE_ROOM" in source.parameters()
    assert enriched(plain, default(), "priority", "gate", URGENCY[:2]) is None


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(-20, 20), max_size=6))
def test_weights_that_are_found_never_make_it_worse(targets: dict[str, float]) -> None:
    seen = []

    def scores(asked: Sequence[Weights]) -> list[Sequence[float]]:
        seen.extend(asked)
        return [
            [100.0 + sum((one.get(name, 0.0) - target) ** 2 for name, target in targets.items())]
            for one in asked
        ]

    found = weigh("abcdef", scores, scores)
    assert scores([found])[0] <= scores([{}])[0]
    assert found in seen or not found
    assert found.keys() <= targets.keys()


def test_a_term_that_helps_on_the_first_look_only_does_not_stay() -> None:
    def first(asked: Sequence[Weights]) -> list[Sequence[float]]:
        return [[1.0 - 0.1 * bool(one)] for one in asked]

    def whole(asked: Sequence[Weights]) -> list[Sequence[float]]:
        return [[1.0 - 0.1 * (one.keys() == {"b"})] * 3 for one in asked]

    assert weigh("abc", first, whole).keys() == {"b"}


def test_luck_in_one_window_of_three_is_no_reason_to_stay_nor_is_a_fault() -> None:
    def lucky(asked: Sequence[Weights]) -> list[Sequence[float]]:
        return [[1.0 - 0.3 * bool(one), 1.0, 1.0] for one in asked]

    def faulty(asked: Sequence[Weights]) -> list[Sequence[float]]:
        return [[math.inf if one else 1.0] for one in asked]

    assert weigh("a", lucky, lucky) == {}
    assert weigh("a", faulty, faulty) == {}
