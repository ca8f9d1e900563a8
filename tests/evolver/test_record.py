"""What a run files: a winner has the nearest of its ancestors that the store knows as parents."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from measurements import measurements
from prompt_request import member

from evolver.dossier import as_stored
from evolver.record import RunRecord
from evolver.written import written
from policy_store import Origin, PolicyStore
from policy_store.gates import latest_evidence, objection
from sandbox.verifier import verify

ROUTE = """KNEE = {knee}  # tune: 0 .. 9


def route(request, instances, memory):
    best, least = -1, INF
    for inst in instances:
        if inst.queued_requests + KNEE < least:
            best, least = inst.id, inst.queued_requests + KNEE
    return best
"""


def line(*knees):
    """Members, each made from the one before."""
    found = []
    for knee in knees:
        source = verify(ROUTE.format(knee=knee), "p")
        digest = source.digest()
        parents = tuple(one.digest for one in found[-1:])
        found.append(replace(member(), digest=digest, program=source, parameters={},
                             parents=parents, name=f"p{knee}"))  # fmt: skip
    return found


@pytest.fixture
def store(tmp_path):
    with PolicyStore.open(tmp_path / "store.db") as opened:
        yield opened


def filed(store, one):
    source = written(one.text, one.parameters, one.name)
    return store.propose(source.canonical, name=one.name, origin=Origin.MUTATOR, author="m",
                         contract_version=1, parameters=source.parameters()).digest  # fmt: skip


def parents_of(store, members):
    run = store.runs.start_run("evolve", {}).id
    verdict = SimpleNamespace(winner=members[-1])
    evidence = measurements(members[-1].digest)
    digest = RunRecord(store, run).propose(verdict, evidence, "evolver", members)
    return store.show(digest).version.parents


def test_the_nearest_stored_ancestor_is_the_parent(store):
    members = line(1, 2, 3, 4)
    filed(store, members[0])
    nearest = filed(store, members[1])
    assert parents_of(store, members) == (nearest,)


def test_who_has_no_stored_ancestor_has_no_parent(store):
    assert parents_of(store, line(1, 2)) == ()


def test_the_evidence_of_a_tuned_winner_is_of_what_is_stored(store):
    winner = replace(line(1)[0], parameters={"KNEE": 5})
    evidence = as_stored(measurements(winner.digest), winner)
    run = store.runs.start_run("evolve", {}).id
    verdict = SimpleNamespace(winner=winner)
    policy = store.show(RunRecord(store, run).propose(verdict, evidence, "evolver"))
    assert policy.version.parameters == {"KNEE": 5}
    assert latest_evidence(policy) == evidence
    assert objection(evidence, policy.version.digest) == ""
