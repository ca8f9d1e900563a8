"""A whole contest on a small scenario: entrants, tuning, evolution, sealed windows.

The whole one compiles what it breeds, so it belongs to the slow ones (`make test-effects`).
"""

from __future__ import annotations

import json
import os
import pickle

import pytest
from small_scenario import scenario

from evolver.leaderboard.contest import Contest, Effort
from evolver.leaderboard.entrants import Given
from evolver.leaderboard.jobs import Plan, contest_job, lay
from evolver.leaderboard.shelf import Shelf
from evolver.leaderboard.tuning import Tries

MINE = "def route(request, instances, memory):\n    return instances[0].id\n"


FEW = ("round_robin", "least_loaded", "sglang")


@pytest.mark.skipif("EVOLVER_EFFECTS" not in os.environ, reason="compiles for some seconds")
def test_all_entrants_meet_on_windows_that_nobody_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evolver.library.names", lambda: FEW)
    ground, effort = lay(scenario(), 0, None), Effort(Tries(1, 2, 1), 1.0)
    found = Contest(ground, effort, Shelf({}), [Given("mine", MINE)]).run()
    assert {*FEW, "default", "mine"} == found["entrants"].keys()
    sealed = set(found["entrants"]["mine"]["written"]["objectives"])
    assert all(row["tuned"]["objectives"].keys() == sealed for row in found["entrants"].values())
    assert not sealed & {one.name for one in ground.problem.windows().training}
    assert found["own"].keys() == {"baseline", "written", "tuned"}
    assert found["evolved"]["library"] in found["entrants"]


def test_a_scenario_that_is_too_short_says_so_in_its_own_words() -> None:
    short = scenario(traffic={"0.requests": 40})
    plan = Plan(Effort(None, 0.0), (), None, Shelf({}), short.spec)
    found = json.loads(contest_job(plan, {}, pickle.dumps(lay(short, 0, None)), {}))
    assert found.keys() == {"failed"}
    assert "longer trace" in found["failed"]
