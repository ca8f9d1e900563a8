"""Predicted lengths: what was learned, within bounds whatever comes, the same after a restart."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry import read_trace
from telemetry.foretold import accuracy, foretell, learning
from telemetry.output_lengths import LengthStateError, Limits, OutputLengths
from telemetry.trace import Trace, TraceMeta

TRACES = Path(__file__).resolve().parents[2].parent / "shared/traces/requests"
WILD = st.integers(-(2**70), 2**70)


def taught(rows, limits=None):
    lengths = OutputLengths(limits)
    for row in rows:
        lengths.learn(*row)
    return lengths


def drawn(seed, count=600):
    rng = np.random.default_rng(seed)
    rows = zip(rng.integers(1, 3, count), rng.integers(0, 9, count), rng.integers(1, 5000, count),
               rng.integers(0, 4, count), np.full(count, -1), rng.integers(1, 900, count),
               strict=True)  # fmt: skip
    return [tuple(map(int, row)) for row in rows]


def test_quantiles_and_mean_are_those_of_the_answers_before():
    answers = np.random.default_rng(3).integers(100, 1000, 240)
    said = taught((1, 7, 500, 0, -1, int(n)) for n in answers).predict(1, 7, 500)
    assert said.mean_tokens == pytest.approx(answers.mean(), rel=0.03)
    told = (said.p10_tokens, said.p50_tokens, said.p90_tokens)
    assert told == pytest.approx(np.quantile(answers, (0.1, 0.5, 0.9)), rel=0.08)
    assert said.relative_error == pytest.approx(answers.std() / answers.mean(), rel=0.06)


def test_tenants_prompts_and_turns_are_told_apart_and_strangers_get_what_is_usual():
    rows = [(1, n % 2, 100 << (n % 3), n % 2, -1, 10 + 1000 * (n % 2)) for n in range(600)]
    lengths = taught(rows)
    assert lengths.predict(1, 0, 100, 0).p90_tokens < 15
    assert lengths.predict(1, 1, 100, 1).p10_tokens > 800
    assert 300 < lengths.predict(1, 99, 100, 0).mean_tokens < 700


def test_what_is_over_is_forgotten():
    before = [(1, 0, 64, 0, -1, 50)] * 5000
    assert taught([*before, *[(1, 0, 64, 0, -1, 800)] * 500]).predict(1, 0, 64).p50_tokens > 700


def test_nothing_is_said_before_anything_is_known_and_nothing_beyond_the_limit():
    assert taught([(1, 0, 10, 0, -1, 100)]).predict(1, 0, 10) is None
    said = taught([(1, 0, 10, 0, -1, 100)] * 9).predict(1, 0, 10, max_tokens=30)
    assert (said.mean_tokens, said.p90_tokens) == (30, 30)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(WILD, WILD, WILD, WILD, WILD, WILD), min_size=5, max_size=40))
def test_whatever_a_client_sends_it_predicts_finite_numbers_in_order(rows):
    lengths = taught(rows)
    for row in rows:
        mean, error, low, middle, high = lengths.predict(*row[:-1])
        assert np.isfinite([mean, error]).all()
        assert 0 < low <= middle <= high


def test_memory_is_bounded_and_who_comes_again_is_still_known_in_a_flood_of_strangers():
    lengths = OutputLengths(Limits(buckets=50))
    for stranger in range(3000):
        lengths.learn(1, 10**6 + stranger, stranger, stranger, stranger, 2000)
        if stranger % 10 == 0:
            lengths.learn(1, 7, 64, 0, -1, 20)
    assert len(lengths) <= 2 * 50 + 2
    assert lengths.predict(1, 7, 64).p50_tokens < 40


def test_a_saved_state_goes_on_as_before():
    rows = drawn(1)
    state = json.loads(json.dumps(taught(rows).state()))
    one, other = OutputLengths.restored(state), OutputLengths.restored(state)
    assert one.state() == state
    for row in drawn(2):
        assert one.predict(*row[:-1]) == other.predict(*row[:-1])
        one.learn(*row)
        other.learn(*row)


@pytest.mark.parametrize("change", [
    {"schema": 2}, {"all": [1, 2]}, {"all": [float("nan"), 1.0, {"3": 1}]},
    {"buckets": [[2, ["x"], 1, 1, {}]]}, {"buckets": [[9, [1, 2, 3], 1, 1, {}]]},
    {"classes": [[1, 5.0, 5.0, {"999": 1.0}]]}, {"classes": [[99, 5.0, 5.0, {}]]},
    {"all": [0.0, 0.0, {"3": 4.0}]},
])  # fmt: skip
def test_a_damaged_state_is_refused_in_one_sentence(change):
    with pytest.raises(LengthStateError, match="delete them"):
        OutputLengths.restored({**taught(drawn(1, 20)).state(), **change})


def test_law_2_what_has_not_ended_teaches_nothing():
    trace = Trace.of(TraceMeta(), arrival_s=np.arange(40.0), prompt_tokens=np.full(40, 10),
                     output_tokens=np.repeat([10, 4000], 20))  # fmt: skip
    told = foretell(trace, OutputLengths(), took_s=np.full(40, 7.5))
    assert np.isnan(told.mean_tokens[:9]).all()
    assert told.mean_tokens[9:28] == pytest.approx(10)
    assert (told.mean_tokens[28:] > 30).all()


def test_by_each_time_all_that_has_ended_is_learned_and_nothing_else():
    trace = Trace.of(TraceMeta(), arrival_s=[0.0, 1.0, 2.0, 50.0], prompt_tokens=[10] * 4,
                     output_tokens=[100, 20, 30, 40])  # fmt: skip
    lengths = OutputLengths()
    stops = learning(trace, lengths, (0.0, 9.0, 12.0, 1000.0), took_s=[20.0, 5.0, 5.0, 60.0])
    said = [lengths.predict(1, 0, 10) for _ in stops]
    assert said[0] is None
    assert said[1] == said[2]
    assert said[1].mean_tokens == pytest.approx(25)
    assert said[3].mean_tokens > 35


@pytest.mark.skipif(not TRACES.exists(), reason="the reference traces are not there")
@pytest.mark.parametrize(("name", "better"), [("azure2023_conv", 0.6), ("lmsys_arena_vtc", 0.99)])
def test_on_real_traces_it_beats_the_mean_of_all(name, better):
    trace = read_trace(TRACES / f"{name}.csv.gz")
    found = accuracy(foretell(trace, OutputLengths()), trace.output_tokens)
    history = np.cumsum(trace.output_tokens) / np.arange(1, len(trace) + 1)
    mean = np.sqrt(np.mean((history[:-1] - trace.output_tokens[1:]) ** 2))
    assert found.rmse < better * mean / trace.output_tokens.mean()
    assert 0.7 < found.coverage < 0.9
