"""The mutator: legal code, determinism, and edits that do what they say."""

import ast
import random
from dataclasses import dataclass

import pytest

from evolver import edits, insertions, library, splice
from evolver.archive import Member
from evolver.draft import HOOKS, Draft
from evolver.mutator import Mutator
from evolver.proposer import ProposalRequest
from evolver.sites import closed, score_sites
from evolver.tuner import axes_of
from sandbox.verifier import PolicyRefused, verify

BASELINES = {name: library.read(name) for name in library.baselines()}
ALL = {name: library.read(name) for name in library.names()}
CLASHING = '''"""Another idea of load."""

WAITING_WEIGHT = 9.0  # tune: 1 .. 16


def load(inst):
    return WAITING_WEIGHT * inst.queued_requests + inst.decoding_requests


def route(request, instances, memory):
    best, least = instances[0].id, INF
    for inst in instances:
        cost = load(inst)
        if cost < least:
            best, least = inst.id, cost
    return best
'''


def member(text, name="m"):
    source = verify(text, name)
    return Member(
        source.digest(), name, source, source.parameters(), {}, 1.0, (0,), "human", "", (), 0
    )


def request(seed, parent="least_loaded", others=("shortest_predicted_first", "prefix_affinity")):
    return ProposalRequest(
        member(ALL[parent]), tuple(member(ALL[name]) for name in others), rng_seed=seed
    )


def legal(text):
    try:
        verify(text)
    except PolicyRefused:
        return False
    return True


def test_nearly_every_product_is_legal():
    proposals = [
        Mutator().propose(request(seed, parent))
        for seed, parent in enumerate(sorted(BASELINES) * 5)
    ]
    texts = [proposal.text for proposal in proposals if proposal is not None]
    assert sum(map(legal, texts)) >= 0.95 * len(texts) > 0.9 * len(proposals)


def test_equal_requests_make_equal_proposals():
    assert Mutator().propose(request(7)) == Mutator().propose(request(7))


def test_different_seeds_make_different_proposals():
    texts = {
        (p.text, str(p.parameters))
        for seed in range(12)
        if (p := Mutator().propose(request(seed))) is not None
    }
    assert len(texts) >= 10


def test_constants_move_without_new_code():
    proposals = [Mutator().propose(request(seed)) for seed in range(60)]
    moved = [p for p in proposals if p is not None and p.parameters is not None]
    axes = {axis.name: axis for axis in axes_of(verify(BASELINES["least_loaded"]).tunables)}
    assert moved
    for proposal in moved:
        assert legal(proposal.text)
        assert all(axes[n].low <= v <= axes[n].high for n, v in proposal.parameters.items())


@pytest.mark.parametrize("name", sorted(ALL))
def test_reading_and_writing_keeps_a_policy(name):
    before = verify(ALL[name])
    after = verify(Draft.read(before.annotated()).text())
    assert (after.hooks, after.tunables) == (before.hooks, before.tunables)
    assert after.canonical == before.canonical


def test_tuned_constants_are_written_into_the_text():
    text = Draft.read(BASELINES["least_loaded"], {"WAITING_WEIGHT": 7.5}).text()
    assert verify(text).parameters() == {"WAITING_WEIGHT": 7.5}


def test_a_hook_comes_with_what_it_needs():
    draft = Draft.read(BASELINES["round_robin"])
    splice.take_hook(draft, Draft.read(BASELINES["shortest_predicted_first"]), "priority")
    taken = verify(draft.text())
    assert set(taken.hooks) == {"route", "priority"}
    assert {"CREDIT", "UNKNOWN_TOKENS"} <= set(taken.parameters())


def test_clashing_names_are_kept_apart():
    target, donor = Draft.read(BASELINES["power_of_two"]), Draft.read(CLASHING)
    names = splice.carry(target, donor, {"load"})
    assert names == {"load": "load_2", "WAITING_WEIGHT": "WAITING_WEIGHT_2"}
    assert "WAITING_WEIGHT_2" in ast.unparse(target.functions["load_2"])


def test_equal_definitions_are_shared():
    target, donor = (Draft.read(BASELINES[n]) for n in ("static_plan", "periodic_replanning"))
    names = splice.carry(target, donor, {"add_best"})
    assert set(names.values()) <= set(target.functions)
    assert "add_best_2" not in target.functions


def test_two_routes_blend():
    draft = Draft.read(BASELINES["least_loaded"])
    donor = Draft.read(CLASHING)
    assert splice.blend_routes(draft, donor, "route", random.Random(1))
    assert {"MIX", "WAITING_WEIGHT", "WAITING_WEIGHT_2"} == set(verify(draft.text()).parameters())


def test_a_score_is_found_and_written_out():
    draft = Draft.read(BASELINES["least_loaded"])
    (site,) = score_sites(draft)
    assert site.records == {"request": "Request", "inst": "Instance"}
    assert ast.unparse(closed(draft, site)) == ast.unparse(site.value)


def test_a_score_with_reassigned_locals_is_not_lifted_out():
    draft = Draft.read(BASELINES["least_predicted_completion"])
    helper = next(s for s in score_sites(draft) if s.function == "kv_use_after")
    assert closed(draft, helper) is None


@pytest.mark.parametrize(
    "edit",
    [
        insertions.insert_term,
        insertions.guard,
        insertions.skip_some,
        insertions.new_hook,
        edits.drop_term,
        edits.swap_comparison,
        edits.swap_operator,
        edits.swap_field,
        edits.scale,
        edits.bend,
    ],
)
def test_every_edit_changes_the_policy(edit):
    draft = Draft.read(CLASHING)
    change = edit(draft, random.Random(3))
    assert change
    assert verify(draft.text()).canonical != verify(CLASHING).canonical


def test_conditions_are_joined_to_triggers():
    draft = Draft.read(BASELINES["periodic_replanning"])
    assert "also asks" in insertions.join_condition(draft, random.Random(1))
    assert legal(draft.text())


def test_a_hook_can_be_left_to_the_default():
    draft = Draft.read(BASELINES["shortest_predicted_first"])
    edits.drop_hook(draft, random.Random(1))
    assert len(verify(draft.text()).hooks) == 1


def test_hostile_claims_stay_inside_the_docstring():
    draft = Draft.read(CLASHING)
    draft.claim = 'x"""\nimport os\n\\' + "caf\u00e9 " * 200
    assert legal(draft.text())


def test_the_contract_is_read_from_its_source():
    assert HOOKS["route"] == (
        ("request", "Request"), ("instances", "Rows[Instance]"), ("memory", "Memory"),
    )  # fmt: skip


@dataclass
class Nothing:
    text: str = (
        '"""Nothing to edit."""\n\n\ndef admit(request, instance, memory):\n    return True\n'
    )


def test_a_policy_with_nothing_to_edit_still_gives_something_or_none():
    parent = member(Nothing().text)
    for seed in range(20):
        proposal = Mutator().propose(ProposalRequest(parent, rng_seed=seed))
        assert proposal is None or legal(proposal.text)
