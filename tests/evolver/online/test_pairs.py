"""Pairs say where everything comes from, and refuse what does not fit."""

from pathlib import Path

import pytest
import small_ground
from pydantic import ValidationError

from evolver.errors import ExperimentRefused
from evolver.online.pairs import lay, read_pairs

TRACES = Path(__file__).resolve().parents[3].parent / "shared" / "traces"


def test_six_pairs_need_files_and_one_does_not():
    needs = [spec.needs_files for spec in read_pairs()]
    assert needs.count(True) >= 6
    assert needs.count(False) >= 1


def test_a_pair_of_built_in_profiles_is_the_same_every_time():
    spec = next(spec for spec in read_pairs() if not spec.needs_files)
    first, second = lay(spec, None), lay(spec, None)
    assert first.trace.digest() == second.trace.digest()
    assert first.capacity.trace.digest() == second.capacity.trace.digest()
    assert first.cluster.tick.monitoring_s == spec.monitoring_s
    assert any("four times as fast" in note for note in first.notes)


def test_a_recorded_pair_is_laid_as_it_says():
    if not TRACES.is_dir():
        pytest.skip("the recorded traces are not here")
    spec = next(spec for spec in read_pairs() if spec.name == "code-parcae")
    ground = lay(spec, TRACES)
    assert ground.trace.span_s == spec.regime[-1].until_s
    assert sorted(ground.volatile) == [False, True]


def test_without_their_folder_pairs_say_what_is_missing():
    with pytest.raises(ExperimentRefused, match="name the folder with --traces"):
        lay(small_ground.spec(), None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"past_s": 41.0},
        {"regime": [{"name": "a", "until_s": 90.0}, {"name": "b", "until_s": 80.0}]},
        {"requests": {"why": small_ground.WHY}},
        {"capacity": {"file": "x", "speed": 5.0, "node": "H100:1", "why": small_ground.WHY}},
        {"requests": {"file": "x", "rate": 2.0}},
    ],
    ids=["past", "regimes", "nothing named", "too fast", "no reason"],
)
def test_wrong_pairs_are_refused(wrong):
    with pytest.raises(ValidationError):
        small_ground.spec(**wrong)
