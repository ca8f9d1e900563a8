"""A stored run read back: what it tells, whatever the version, and what it adds up to."""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded_run import record_run

from evolver.cli.run_report import run_report
from evolver.run_accounts import (
    called,
    earned,
    family,
    gain_at,
    lineage,
    reached,
    reasons,
    searched,
    until_end,
)
from evolver.run_reader import read_history
from policy_store import PolicyStore
from policy_store.records import Run
from sandbox.report import Grid

START = datetime(2026, 1, 1, tzinfo=UTC)
RUN = Run("ab" * 16, "evolve", {}, START, None, None, None)


@dataclass(frozen=True)
class Row:
    kind: str
    payload: dict = field(default_factory=dict)
    at: datetime = START + timedelta(seconds=5)


def scored(sequence, digest, score, parents=(), kind="candidate_scored", **more):
    return Row(kind, {"sequence": sequence, "candidate": digest, "name": digest, "score": score,
                      "parents": list(parents), "proposer": "mutator", "seconds": 1.0 * sequence,
                      "generation": 0 if kind == "human_scored" else 1,
                      **more})  # fmt: skip


def history(*rows):
    return read_history(RUN, rows)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with PolicyStore.open(tmp_path_factory.mktemp("runs") / "store.db") as store:
        yield store


@pytest.fixture
def recorded(store, bowls, lines, constantly, humans):
    if not store.runs.list_runs():
        record_run(store, bowls(), [lines, constantly("SHAKE")], humans)
    (run,) = store.runs.list_runs()
    return read_history(run, store.runs.events(run.id))


def test_a_recorded_run_is_read_whole(recorded):
    assert recorded.verdict == "improved"
    assert recorded.windows == {"training": 4, "validation": 3, "sealed": 10}
    assert {one.name for one in recorded.baselines} >= {"plain", "better", "better, tuned"}
    assert recorded.winner is not None
    assert recorded.find(recorded.chosen) is recorded.winner


def test_the_curve_only_rises_and_ends_with_the_best(recorded):
    gains = [gain_at(recorded, step) for step in until_end(recorded)]
    assert gains == sorted(gains)
    assert gains[0] == 0.0
    assert gains[-1] == 1.0 - recorded.best.score / recorded.untuned.score
    assert searched(recorded) == 1.0 - recorded.best.score / recorded.tuned.score


def test_every_try_is_accounted_for(recorded):
    tries = len(recorded.rejected) + len(recorded.scored)
    assert sum(line.asked for line in earned(recorded)) >= tries
    lost = sum(reason.count for reason in reasons(recorded))
    assert lost + sum(line.better for line in earned(recorded)) == tries


def test_proposers_earn_together_what_the_search_gained(recorded):
    left = math.prod(1.0 - line.gain for line in earned(recorded))
    assert 1.0 - left == pytest.approx(searched(recorded))


def test_the_winners_line_begins_with_people_and_is_its_family(recorded):
    line = lineage(recorded)
    assert line[0].scored.human
    assert line[-1].scored is recorded.winner
    assert {one.scored.digest for one in line} <= family(recorded)


def test_calls_of_models_are_added_up(recorded):
    (line,) = called(recorded.calls)
    assert line.failures == (("EndpointSlow", line.calls // 2),)
    assert line.price_usd == pytest.approx(0.02 * line.calls / 2)


def test_chunks_of_evaluations_place_every_step():
    told = history(
        Row("run_started", {"sequence": 0, "evaluation_cost": 4}),
        scored(1, "h", 1.0, kind="human_scored"),
        Row("evaluated", {"sequence": 2, "cost": 6, "jobs": 1}),
        scored(3, "a", 0.9, ["h"], parent_score=1.0),
        Row("evaluated", {"sequence": 4, "cost": 4, "jobs": 1}),
        scored(5, "b", 0.95, ["h"], parent_score=1.0),
        scored(6, "c", 0.8, ["a", "b"], parent_score=0.9),
    )
    assert [(step.name, step.spent.evaluations) for step in told.curve] == [
        ("h", 0.0), ("a", 1.5), ("c", 2.5)]  # fmt: skip
    assert reached(told, 0.1).evaluations == 1.5
    assert reached(told, 0.5) is None
    assert lineage(told)[-1].beside == ("b",)


def test_a_veteran_is_a_candidate_and_nobody_to_beat():
    told = history(
        scored(1, "h", 1.0, kind="human_scored", proposer="human"),
        scored(2, "v", 0.7, kind="human_scored", proposer="veteran"),
    )
    assert [one.name for one in told.baselines] == ["h"]
    assert told.best.name == "v"
    rows = [row for block in run_report(told).blocks if isinstance(block, Grid)
            for row in block.rows]  # fmt: skip
    assert ["v", "veteran", "-30.0%"] in [[cell.text for cell in row] for row in rows]


def test_what_a_resumed_run_wrote_again_counts_once():
    row = scored(1, "a", 0.9)
    assert len(history(row, row).scored) == 1


def test_a_line_of_ancestors_that_bites_its_tail_ends():
    told = history(scored(1, "a", 0.9, ["b"]), scored(2, "b", 0.8, ["a"]))
    assert [one.scored.name for one in lineage(told)] == ["a", "b"]


def test_reasons_are_grouped_with_different_examples():
    refusal = {"line": 3, "code": "loop", "reason": "while has no bound.", "mend": "Use range."}
    rows = [Row("candidate_refused", {"sequence": k, "proposer": "m", "refusals": [refusal]})
            for k in range(3)]  # fmt: skip
    dropped = {"proposer": "m", "rung": "probe", "reason": "hopeless", "score": 2.0, "bar": 1.5}
    rows.append(Row("candidate_dropped", {"sequence": 9, **dropped}))
    first, second = reasons(history(*rows))
    assert (first.kind, first.code, first.count, len(first.examples)) == ("refused", "loop", 3, 1)
    assert first.examples[0].reason == "line 3: while has no bound. Use range."
    assert second.examples[0].reason == "+100.0% on probe, its parent +50.0%"


VALUES = st.sampled_from([
    None, True, -1, 7, 10**400, 1e308, float("nan"), float("inf"), "", "a", [], ["a"], [None, 3],
    [{"code": 3, "passed": False}], {}, {"a": {"asked": "b"}}, {"a": 3},
])  # fmt: skip
KINDS = ("run_started", "human_scored", "candidate_refused", "candidate_dropped", "evaluated",
         "candidate_scored", "tuned", "generation_done", "finalist", "candidate_chosen",
         "run_finished", "model_exchange", "proposer_failed", "candidate_duplicate",
         "later")  # fmt: skip
FIELDS = ("sequence", "seconds", "candidate", "score", "parents", "parameters", "gates", "arms",
          "refusals", "cost", "evaluation_cost", "windows", "tokens", "best_score",
          "text")  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(KINDS),
                          st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6)),
                max_size=8))  # fmt: skip
def test_whatever_a_database_holds_can_be_read(rows):
    told = history(*(Row(kind, payload) for kind, payload in rows))
    assert earned(told) is not None
    assert len(until_end(told)) <= len(rows) + 1
    assert sum(reason.count for reason in reasons(told)) <= len(rows)
    lineage(told)


def test_a_score_of_nothing_divides_nothing():
    found = history(scored(0, "h", 0.0, kind="human_scored"), scored(1, "c", 0.5))
    assert searched(found) == 0.5
