"""Verdicts: what wins, what never can, and how rarely luck does; over made-up windows."""

import random
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import Table, judge, member, shaken, windows

from evolver.budget import Limits
from evolver.journal import EventKind, EventList
from evolver.loop import Search, SearchSettings
from evolver.task import Gate, Human, Split, WindowResult
from evolver.verdict import LEVEL, Effect, Outcome, Tried, decide
from sandbox.evidence import Role

RUNS = 200  # whole judgements of candidates that are no better


def test_a_steady_gain_wins_against_every_rival():
    levels = {"new": 0.9, "human-b": 1.1, "human-t": 0.99}
    task = Table(shaken(1, 0.02, levels), windows())
    verdict = judge(task, humans=("human", "human-b"), tuned=("human-t",), active="human-b")
    assert verdict.outcome is Outcome.IMPROVED
    roles = {role for effect in verdict.effects for role in effect.roles}
    assert roles == set(Role) - {Role.CANDIDATE}
    assert all(effect.proved for effect in verdict.effects)


@pytest.mark.parametrize("best_on", ["validation", "sealed"])
def test_a_win_must_hold_against_the_best_on_validation_and_in_hindsight(best_on):
    def objective(name, window):
        strong = name == "human-b" and window.startswith("sealed")
        level = {"new": 0.9, "human-b": 1.0 if best_on == "validation" else 1.05}.get(name, 1.02)
        return (0.89 if strong else level) * 2.0 ** random.Random(f"{name}{window}").gauss(0, 0.01)

    verdict = judge(Table(objective, windows()), humans=("human", "human-b"))
    assert verdict.outcome is Outcome.NO_CHANGE
    assert verdict.effect.rival.name == "human-b"
    assert Role.BEST_HUMAN_HINDSIGHT in verdict.effect.roles


def test_variants_of_a_window_count_once():
    few = judge(Table(shaken(1, 0.01, {"new": 0.8}), windows(sealed=7, variants=4)))
    enough = judge(Table(shaken(1, 0.01, {"new": 0.8}), windows(sealed=8, variants=4)))
    assert (few.outcome, enough.outcome) == (Outcome.NOT_ENOUGH, Outcome.IMPROVED)
    assert enough.effect.windows == 8


class Doubted(Table):
    def doubts(self, program):
        return ("sealed-0+no lengths", "sealed-1+no lengths")


def test_who_rests_on_predictions_is_shown_without_them_and_the_proof_is_as_before():
    def objective(name, window):
        gain = 1.2 if "+" in window else 0.8
        return gain if name == "new" else 1.0

    plain, shown = (judge(kind(objective, windows())) for kind in (Table, Doubted))
    assert (plain.outcome, shown.outcome) == (Outcome.IMPROVED, Outcome.IMPROVED)
    assert shown.reason.startswith(plain.reason)
    assert "-20.0% on 2 windows with no lengths" in shown.reason
    assert shown.effect.windows == plain.effect.windows
    assert "sealed-0+no lengths" in shown.results[shown.winner.digest]


def test_with_too_few_units_nothing_sealed_is_run():
    task, log = Table(shaken(1, 0.01, {"new": 0.8}), windows(sealed=7)), EventList()
    verdict = judge(task, log=log)
    assert "8 independent sealed windows and there are 7" in verdict.reason
    assert not log.of(EventKind.SEALED_OPENED)
    assert not [window for _, window in task.ran if window.startswith("sealed")]


def test_a_finalist_that_breaks_a_guardrail_or_fails_is_passed_over():
    levels = {"breaks": 0.7, "fails": 0.75, "new": 0.9}
    faults = [("fails", "validation-0")]
    task = Table(shaken(2, 0.01, levels), windows(), faults, broken=["breaks"])
    assert judge(task, ("breaks", "fails", "new")).winner.name == "new"
    verdict = judge(task, ("breaks", "fails"))
    assert verdict.reason.startswith("Each of the 2 finalists failed or broke a guardrail")
    assert "Against human: Goodput -9.0%." in verdict.reason


@pytest.mark.parametrize(
    ("tried", "words"),
    [
        (Tried(), "No candidate was proposed."),
        (Tried(9), "None of the 9 candidates proposed was legal"),
        (Tried(9, 5), "None of the 5 candidates tried was scored on all training windows"),
        (Tried(9, 5, 3, ("Goodput -3.0%.",)), "None of the 3 candidates scored .* Goodput -3.0%"),
        (Tried(9, 5, 3), "Each of the 3 candidates scored behaves just as a human policy does."),
    ],
)
def test_without_a_finalist_the_reason_says_how_far_candidates_came(tried, words):
    verdict = judge(Table(shaken(0, 0.0, {}), windows()), (), tried=tried)
    assert verdict.outcome is Outcome.NO_CHANGE
    assert re.match(words, verdict.reason)


def test_a_verdict_says_how_many_were_tried():
    task = Table(shaken(1, 0.01, {"new": 0.9}), windows())
    verdict = judge(task, ("new", "other"), tried=Tried(40, 31, 12))
    assert (verdict.tried, verdict.finalists) == (31, 2)


@pytest.mark.parametrize(("sealed", "noise"), [(8, 0.1), (20, 0.01)])
def test_candidates_equal_in_distribution_win_in_at_most_one_run_of_a_hundred(noise, sealed):
    humans, candidates = ("human-a", "human-b", "human-c"), tuple("uvwxyz")
    wins = 0
    for seed in range(RUNS):
        verdict = judge(Table(shaken(seed, noise, {}), windows(sealed)), candidates, humans)
        wins += verdict.outcome is Outcome.IMPROVED
    assert wins <= RUNS * LEVEL


def test_whole_runs_on_noise_alone_win_in_at_most_one_of_a_hundred(bowls, constantly):
    people = [Human(f"p{k}", f"ALPHA = 3\nBETA = 7\nSHAKE = {k}") for k in range(2)]
    outcomes = [
        Search(
            bowls(noise=0.05),
            [constantly("SHAKE")],
            people,
            Limits(evaluations=16),
            SearchSettings(seed=seed, batch=8, tuned_humans=0),
        )
        .run()
        .verdict
        for seed in range(RUNS)
    ]
    assert sum(bool(verdict.effects) for verdict in outcomes) > RUNS / 4
    assert sum(verdict.outcome is Outcome.IMPROVED for verdict in outcomes) <= RUNS * LEVEL


def test_the_sign_flip_keeps_its_level_where_nothing_else_stops_a_candidate():
    proved = 0
    for seed in range(RUNS):
        court = judge(Table(shaken(seed, 0.1, {}), windows(12, validation=0)), ("new",))
        proved += court.effect is not None and court.effect.proved
    assert proved <= 2 * RUNS * LEVEL


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9), st.integers(0, 999))
def test_a_fault_on_any_sealed_window_never_wins(window, seed):
    faults = [("new", f"sealed-{window}")]
    verdict = judge(Table(shaken(seed, 0.01, {"new": 0.2}), windows(), faults))
    assert verdict.outcome is Outcome.NO_CHANGE
    assert "fuel" in verdict.reason


numbers = st.floats(-0.2, 0.9)
effects = st.builds(
    lambda low, width, p: Effect(member("human"), low + width / 2, low, low + width, 9, p),
    numbers,
    st.floats(0.0, 0.1),
    st.sampled_from([0.002, 0.01, 0.02, 0.5]),
)
gates = st.builds(Gate, st.just("gate"), st.booleans(), st.just("Goodput."))


@given(st.lists(effects, min_size=1, max_size=4), effects, st.lists(gates, max_size=2), gates)
def test_a_further_rival_never_makes_a_win(known, rival, kept, gate):
    results = {"w": WindowResult("w", 1.0)}
    before, _ = decide(results, known, kept, 0.005)
    after, _ = decide(results, [*known, rival], [*kept, gate], 0.005)
    assert before is Outcome.IMPROVED or after is Outcome.NO_CHANGE


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(10)), st.integers(0, 99))
def test_the_order_of_windows_changes_nothing(order, seed):
    objective, names = shaken(seed, 0.05, {"new": 0.93}), windows()
    mixed = {split: tuple(ws[i] for i in order if i < len(ws)) for split, ws in names.items()}
    moved = {w: names[Split.SEALED][i] for w, i in zip(names[Split.SEALED], order, strict=True)}
    plain = judge(Table(objective, names))
    assert told(judge(Table(objective, mixed))) == told(plain)
    sealed_moved = Table(lambda name, w: objective(name, moved.get(w, w)), names)
    assert told(judge(sealed_moved)) == told(plain)


@settings(max_examples=25, deadline=None)
@given(st.integers(-20, 12), st.integers(0, 99))
def test_the_scale_of_objectives_changes_nothing(octaves, seed):
    objective = shaken(seed, 0.05, {"new": 0.93})
    plain = judge(Table(objective, windows()))
    scaled = judge(Table(lambda name, w: objective(name, w) * 2.0**octaves, windows()))
    assert (scaled.outcome, scaled.winner) == (plain.outcome, plain.winner)
    if plain.effect:
        assert scaled.effect.low == pytest.approx(plain.effect.low, abs=1e-9)
        assert scaled.effect.p_value == plain.effect.p_value


def told(verdict):
    return replace(verdict, results={})
