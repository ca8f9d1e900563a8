"""The serving task: refusals as data, faults as worst cases, guardrails that hold."""

from dataclasses import replace

import pytest

from evolver import library
from evolver.serving_task import ServingTask
from evolver.task import Description, Job, Refused, Split, WindowResult
from sandbox.cluster import load_cluster
from sandbox.scenario import Scenario
from sandbox.scores import WindowScore
from sandbox.windows import Windows
from telemetry.generator import generate
from telemetry.profile import load_profile


class FakePool:
    def __init__(self, score):
        self.score, self.jobs = score, []

    def evaluate(self, jobs, on_done):
        self.jobs += jobs
        scores = [[self.score(window) for window in windows] for _, windows in jobs]
        for index in reversed(range(len(jobs))):
            on_done(index, scores[index])
        return scores


TRACE = generate(load_profile("azure2023_conv"), n=30, seed=0)


def scenario(name, requests=30):
    trace = TRACE.slice(0.0, float(TRACE.arrival_s[requests - 1]))
    return Scenario(name, trace, load_cluster("edge-8b"), None, 0.0, 0)


WINDOWS = Windows(
    (scenario("a"), scenario("b", 20)), (scenario("c"),), (scenario("d"),), 1.0, 0.1, (),
    scenario("probe", 5), (scenario("a+rate2", 10),), (scenario("c+seed"),),
)  # fmt: skip


def task(score=lambda window: WindowScore(window, 1.0)):
    return ServingTask(FakePool(score), WINDOWS, Description("t", "o"))


def results(**metrics):
    return {"w": WindowResult("w", 1.0, metrics)}


def test_windows_cost_their_requests_and_variants_are_of_their_unit():
    assert (task().cost("a"), task().cost("b"), task().cost("a+rate2")) == (29, 19, 9)
    assert (task().unit("a+rate2"), task().unit("a")) == ("a", "a")
    assert (task().variants(), task().windows(Split.TRAINING)) == (("a+rate2",), ("a", "b"))
    assert task().windows(Split.VALIDATION) == ("c", "c+seed")


def test_a_refusal_keeps_the_words_of_the_verifier():
    refused = task().verify("import os", "x")
    assert isinstance(refused, Refused)
    assert refused.refusals[0].code == "import"


def test_a_policy_is_scored_with_its_parameters():
    serving = task()
    program = serving.verify(library.read("least_loaded"), "least_loaded")
    (answer,) = serving.evaluate([Job(program, {"WAITING_WEIGHT": 2.0}, ("a",))])
    (candidate, windows) = serving._pool.jobs[0]
    assert answer == [WindowResult("a", 1.0)]
    assert (candidate.parameters, windows) == ({"WAITING_WEIGHT": 2.0}, ("a",))
    assert serving.verify(candidate.source_text, "again").digest() == program.digest()


def test_results_are_handed_on_as_they_are_done():
    serving, told = task(lambda w: WindowScore(w, 1.0, fingerprint="f")), []
    program = serving.verify(library.read("round_robin"), "rr")
    jobs = [Job(program, {}, ("a",)), Job(program, {}, ("b",))]
    answers = serving.evaluate(jobs, lambda index, results: told.append((index, results)))
    assert told == [(1, answers[1]), (0, answers[0])]
    assert answers[1] == [WindowResult("b", 1.0, fingerprint="f")]


def test_faulty_decisions_are_a_fault():
    serving = task(lambda window: WindowScore(window, 1.0, faults=3))
    program = serving.verify(library.read("round_robin"), "rr")
    assert serving.evaluate([Job(program, {}, ("a",))])[0][0].fault == "3 faulty decisions"


def test_gates_are_the_guardrails_against_a_human():
    gates = task().gates(results(smooth_goodput=97.0), results(smooth_goodput=100.0))
    assert {gate.name: gate.passed for gate in gates}["smooth_goodput"] is False


def test_niches_tell_scopes_apart():
    serving = task()
    niches = {
        serving.niche(serving.verify(library.read(name), name), results(fuel_per_decision=90.0))
        for name in ("least_loaded", "shortest_predicted_first", "static_plan")
    }
    assert len(niches) == 3


@pytest.mark.parametrize(("requests", "probed"), [(5, True), (9, False)])
def test_a_probe_that_costs_nearly_what_a_window_does_is_left_out(requests, probed):
    windows = replace(WINDOWS, probe=scenario("probe", requests))
    names = [
        rung.name for rung in ServingTask(FakePool(None), windows, Description("t", "o")).cascade()
    ]
    assert (names[0] == "probe") == probed
