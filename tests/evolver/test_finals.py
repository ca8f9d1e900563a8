"""Finalists: tried on other conditions as far as the budget goes; none is lost without a reason."""

import pytest

from evolver.budget import Limits
from evolver.journal import EventKind, EventList
from evolver.loop import Search, SearchSettings
from tests.evolver.conftest import Bowls


class Varied(Bowls):
    """Bowls with variants of the training windows, on which a text with `FRAIL` fails."""

    def variants(self):
        return ("variant-0", "variant-1", "variant-2", "variant-3")

    def _score(self, job, window):
        result = super()._score(job, window)
        return result if "FRAIL" not in job.parameters else self.frail(result, window)

    def frail(self, result, window):
        return type(result)(window, 1e6, fault="fuel") if window in self.variants() else result


def finals(proposers, humans, evaluations, **settings):
    log = EventList()
    settings = SearchSettings(seed=1, tuned_humans=0, **settings)
    Search(Varied(), proposers, humans, Limits(evaluations=evaluations), settings, [log]).run()
    return [event.data["varied"] for event in log.of(EventKind.FINALIST)]


def test_who_holds_up_under_other_conditions_is_a_finalist(lines, humans):
    varied = finals([lines], humans, 150, varied_share=0.2)
    assert varied
    assert all(score is not None and score < 1.0 for score in varied)


def test_who_fails_under_other_conditions_is_none(constantly, humans):
    assert finals([constantly("FRAIL")], humans, 100, varied_share=0.3, tuner=False) == []


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_whom_the_budget_does_not_try_there_stays_a_finalist_behind_the_others(
    lines, humans, share
):
    varied = finals([lines], humans, 60, varied_share=share)
    assert None in varied
    assert sorted(varied, key=lambda score: score is None) == varied
