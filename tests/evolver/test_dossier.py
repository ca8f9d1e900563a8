"""The record of a verdict says what the verdict said, window by window."""

import math
from dataclasses import replace

import pytest
from made_up import Table, judge, shaken, windows

from evolver.dossier import evidence_of
from evolver.problem import Problem
from evolver.task import Split
from evolver.verdict import Tried
from sandbox.cluster import load_cluster
from sandbox.evidence import Evidence, Role
from sandbox.profile_standing import Grade, ProfileStanding
from sandbox.replay import LoadReport
from sandbox.scenario import Scenario
from sandbox.stats import relative_gain
from telemetry import generate, load_profile

CLUSTER = load_cluster("edge-8b")
TRACE = generate(load_profile("azure2023_conv"), span_s=5.0, seed=0)
PROBLEM = Problem(TRACE, CLUSTER, LoadReport(0.8, 10.0, 8.0, 1.0))
LEVELS = {"new": 0.9, "human-t": 0.98, "human-b": 1.1}


def proved(level=0.9, noise=0.02, tried=None):
    """A verdict and its record, over sealed windows with a variant each."""
    task = Table(shaken(3, noise, {**LEVELS, "new": level}), windows(variants=2))
    verdict = judge(task, humans=("human", "human-b"), tuned=("human-t",), active="human-b",
                    tried=tried)  # fmt: skip
    names = [name for split in Split for name in task.windows(split)]
    scenarios = [
        Scenario(name, TRACE, CLUSTER, None, 1.0, k, start_s=1.0, stop_s=5.0)
        for k, name in enumerate([*names, "never-run"])
    ]
    return verdict, evidence_of(verdict, PROBLEM, scenarios, task)


@pytest.mark.parametrize(
    ("level", "noise", "outcome", "shown"),
    [(0.9, 0.02, "improved", "improved"), (0.95, 0.1, "no_change", "inconclusive")],
)
def test_the_record_shows_what_the_verdict_said(level, noise, outcome, shown):
    verdict, evidence = proved(level, noise)
    assert (verdict.outcome.value, evidence.outcome.value) == (outcome, shown)
    assert evidence.verdict == verdict.reason
    for said, effect in zip(verdict.effects, evidence.effects, strict=True):
        ends = (effect.interval.mean, effect.interval.low, effect.interval.high)
        assert tuple(map(relative_gain, ends)) == (said.gain, said.low, said.high)
        assert (effect.against, effect.p_value) == (said.roles[0], said.p_value)


def test_the_record_names_every_rival_and_how_many_were_tried():
    verdict, evidence = proved(tried=Tried(50, 41, 17))
    roles = {role for c in evidence.contenders for role in (c.role, *c.also)}
    assert roles == set(Role)
    assert {c.digest for c in evidence.contenders[1:]} == {e.rival.digest for e in verdict.effects}
    assert (evidence.candidates_tried, evidence.finalists) == (41, 1)


def test_variants_are_marked_and_count_with_their_window():
    _, evidence = proved()
    assert evidence.sealed_units == 10
    assert len([window for window in evidence.windows if window.sealed]) == 20
    assert {w.variant for w in evidence.windows if w.sealed} == {True, False}


def test_the_record_can_be_read_back():
    _, evidence = proved()
    assert Evidence.from_json(evidence.to_json()) == evidence
    assert all(math.isfinite(c.time.total_s) for c in evidence.contenders)


def test_without_a_sealed_window_there_is_no_record():
    _, evidence = proved(level=1.3)
    assert evidence is None


@pytest.mark.parametrize(
    ("grade", "status", "outcome"),
    [("good", "pass", "improved"), ("poor", "fail", "inconclusive"),
     ("stale", "fail", "inconclusive")],
)  # fmt: skip
def test_evidence_made_with_a_profile_that_is_off_is_marked(grade, status, outcome, monkeypatch):
    standing = ProfileStanding(Grade(grade), "Why.", 500, 0.1, 0.2, 0.3, 0.4, 1.8e9)
    cluster = CLUSTER.model_copy(update={"standing": standing})
    monkeypatch.setattr(f"{__name__}.PROBLEM", replace(PROBLEM, cluster=cluster))
    _, evidence = proved()
    assert evidence.standing == standing
    assert (evidence.gates[-1].name, evidence.gates[-1].status.value) == ("profile", status)
    assert evidence.outcome.value == outcome
    assert (grade in evidence.verdict) == (grade != "good")
