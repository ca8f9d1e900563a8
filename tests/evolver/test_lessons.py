"""Lessons: ideas that saved something, and those that did not; nothing about constants."""

from dataclasses import replace

import pytest
from made_up import member

from evolver.candidates import Candidate
from evolver.evaluation import Trial
from evolver.lessons import LINES_KEPT, Lessons
from evolver.proposer import Proposal, ProposalRequest


def candidate(idea="wait less", parameters=None):
    parent = member("parent")
    proposal = Proposal("text", "mutator", idea, (parent.digest,), parameters)
    return Candidate(Trial(member("child").program, {}), ProposalRequest(parent), proposal)


@pytest.mark.parametrize(
    ("score", "worked", "failed"),
    [(0.9, ["10.0% less than the best until then: wait less"], []),
     (1.1, [], ["10.0% more than its parent: wait less"]),
     (0.9999, [], [])],
)  # fmt: skip
def test_what_a_score_teaches(score, worked, failed):
    lessons = Lessons()
    lessons.scored(candidate(), replace(member("child"), score=score, idea="wait less"), 1.0)
    assert (list(lessons.worked), list(lessons.failed)) == (worked, failed)


def test_a_gain_that_breaks_a_guardrail_is_no_idea_that_worked():
    lessons = Lessons()
    broken = replace(member("child"), score=0.5, idea="starve them", breaks="p99 +90.0%.")
    lessons.scored(candidate(), broken, 1.0)
    assert list(lessons.failed) == ["it broke a guardrail (p99 +90.0%.): starve them"]
    assert not lessons.worked


def test_what_ended_early_teaches_unless_it_was_a_twin():
    lessons = Lessons()
    for reason in ("fault", "slower", "twin", "alike", "budget"):
        lessons.dropped(candidate(), reason, 1.2, 1.1)
    assert list(lessons.failed) == [
        "1.2 on its first windows, where its parent had 1.1: wait less",
        "it failed when it ran: wait less",
    ]


def test_constants_teach_nothing_and_the_latest_lines_stay():
    lessons = Lessons()
    lessons.dropped(candidate(parameters={"A": 1.0}), "slower", 1.2, 1.1)
    assert not lessons.failed
    for number in range(LINES_KEPT + 1):
        lessons.dropped(candidate(f"idea {number}"), "fault", 1.2, 1.1)
    assert len(lessons.failed) == LINES_KEPT
    assert lessons.failed[0].endswith(f"idea {LINES_KEPT}")
