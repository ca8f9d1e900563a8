"""Candidates: whose structure it is, and what was changed."""

from dataclasses import replace

from made_up import member

from evolver.candidates import Candidate
from evolver.evaluation import Trial
from evolver.proposer import Proposal, ProposalRequest

OFFERED, CHOSEN = member("offered"), replace(member("chosen"), origin="model rewrite")


def candidate(parents, program):
    request = ProposalRequest(OFFERED, (CHOSEN,))
    return Candidate(Trial(program, {}), request, Proposal("", "tuner", "", parents, {"A": 1.0}))


def test_the_tuner_may_change_another_than_it_was_offered():
    tuned = candidate((CHOSEN.digest,), CHOSEN.program)
    assert tuned.parent is CHOSEN
    assert tuned.origin == "model rewrite"


def test_who_names_no_parent_changed_what_it_was_offered():
    assert candidate((), member("new").program).parent is OFFERED


def test_a_humans_structure_with_other_constants_is_the_tuners():
    human = member("human plain")
    request = ProposalRequest(human)
    proposal = Proposal("", "tuner", "", (human.digest,), {"A": 1.0})
    assert Candidate(Trial(human.program, {}), request, proposal).origin == "tuner"
