"""The rungs: faults and twins are found on the probe, losers stop early, authors are told."""

from dataclasses import replace

import pytest

from evolver.budget import Limits
from evolver.journal import EventKind, EventList
from evolver.loop import Search, SearchSettings
from evolver.proposer import Cost, Proposal
from evolver.task import Human, Rung, Split
from tests.evolver.conftest import Bowls

HUMANS = [Human("plain", "ALPHA = 9"), Human("better", "ALPHA = 5\nBETA = 2")]


class Probed(Bowls):
    """Bowls with a probe; `FAULT` fails on it, and texts with equal costs decide alike."""

    def cascade(self):
        training = self.windows(Split.TRAINING)
        return (
            Rung("probe", ("probe",), counts=False),
            Rung("first", training[:1]),
            Rung("all", training[1:]),
        )

    def _score(self, job, window):
        result = super()._score(job, window)
        if window == "probe" and "FAULT" in job.parameters:
            result = replace(result, fault="index in route")
        return replace(result, fingerprint=f"{result.metrics.get('cost')}")


class Says:
    """Proposes these texts in turn, and remembers what it was told about them."""

    name, waits = "says", False

    def __init__(self, *texts, tokens=0):
        self.texts, self.told, self.asks = list(texts), [], []
        self.cost = Cost(tokens_out=tokens)

    def propose(self, request):
        self.told.append(request.feedback.attempts)
        self.asks.append(request.ask)
        if not self.texts:
            return None
        text, parents = self.texts.pop(0), (request.parent.digest,)
        return Proposal(text, self.name, "said", parents, cost=self.cost)


def search(says, evaluations=30, batch=1, task=None, humans=HUMANS, **settings):
    log, task = EventList(), task or Probed()
    settings = SearchSettings(batch=batch, barren=1, tuner=False, tuned_humans=0, **settings)
    run = Search(task, [says], humans, Limits(evaluations=evaluations), settings, [log])
    return run.run(), log, task


def test_a_fault_on_the_probe_goes_back_to_its_author_before_anything_is_paid():
    says = Says("FAULT = 1", "ALPHA = 4")
    _, log, task = search(says)
    assert [attempt.fault for attempt in says.told[1]] == ["probe: index in route"]
    (dropped,) = log.of(EventKind.CANDIDATE_DROPPED)
    assert (dropped.data["rung"], dropped.data["reason"]) == ("probe", "fault")
    assert {window for digest, window in task.runs if digest == dropped.candidate} == {"probe"}


def test_a_twin_is_told_whom_it_equals():
    says = Says("BETA = 2\nALPHA = 5\nEXTRA = 1", "ALPHA = 4")
    _, log, _ = search(says)
    assert says.told[1][0].twin == "better"
    (event,) = log.of(EventKind.CANDIDATE_DUPLICATE)
    assert (event.data["twin"], event.data["how"]) == ("better", "behaviour")


def test_the_same_text_is_not_even_probed():
    says = Says("ALPHA = 9", "ALPHA = 4")
    _, _, task = search(says)
    assert says.told[1][0].twin == "plain"
    assert len(task.runs) == len(set(task.runs))


def test_what_is_hopeless_stops_after_the_first_window():
    says = Says("EXTRA = 1")
    _, log, task = search(says, hopeless=1.2)
    (dropped,) = log.of(EventKind.CANDIDATE_DROPPED)
    assert dropped.data["reason"] == "hopeless"
    ran = {window for digest, window in task.runs if digest == dropped.candidate}
    assert ran == {"probe", "training-0"}


def test_tries_have_names_and_end():
    says = Says(*["nonsense"] * 9)
    search(says, tries=3)
    assert says.asks == ["1.0.0", "1.0.1", "1.0.2"]


def test_a_change_that_changes_next_to_nothing_is_not_worth_more_windows():
    says = Says("ALPHA = 5.0001\nBETA = 2")
    _, log, task = search(says, humans=HUMANS[1:])
    (dropped,) = log.of(EventKind.CANDIDATE_DROPPED)
    assert (dropped.data["rung"], dropped.data["reason"]) == ("first", "alike")
    assert {w for digest, w in task.runs if digest == dropped.candidate} == {"probe", "training-0"}


def test_all_of_a_batch_that_are_better_than_their_parent_go_on():
    says = Says(*(f"ALPHA = {alpha}\nBETA = 7" for alpha in (3, 4, 5, 6)))
    _, log, _ = search(says, batch=4)
    assert len(log.of(EventKind.CANDIDATE_SCORED)) == 4


@pytest.mark.parametrize(("tokens", "scored"), [(0, 0), (9, 1)])
def test_what_a_model_was_paid_for_may_be_a_little_behind_on_the_way(tokens, scored):
    says = Says("ALPHA = 5\nBETA = 1.95", tokens=tokens)
    _, log, _ = search(says, humans=HUMANS[1:], behind=0.05)
    assert len(log.of(EventKind.CANDIDATE_SCORED)) == scored


def test_nothing_is_asked_for_that_the_budget_does_not_pay_for():
    says = Says(*(f"ALPHA = {alpha}\nBETA = 7" for alpha in (3, 4, 5, 6)))
    _, log, _ = search(says, batch=4, evaluations=5)
    reasons = [event.data["reason"] for event in log.of(EventKind.CANDIDATE_DROPPED)]
    assert "budget" not in reasons
    assert len(says.asks) < 4


class Late(Probed):
    """`LATE` fails on the last training window only."""

    def _score(self, job, window):
        result = super()._score(job, window)
        late = window == "training-3" and "LATE" in job.parameters
        return replace(result, fault="fuel") if late else result


def test_what_mends_a_late_fault_is_no_twin_of_what_failed():
    says = Says("ALPHA = 4\nBETA = 7\nLATE = 1", "ALPHA = 4\nBETA = 7\nMENDED = 1")
    result, log, _ = search(says, task=Late())
    faults = [event.data["fault"] for event in log.of(EventKind.CANDIDATE_SCORED)]
    assert faults == ["training-3: fuel", None]
    assert result.members[0].parameters["MENDED"] == 1


def test_what_mends_a_faulty_human_is_no_twin_of_it():
    says = Says("ALPHA = 4\nBETA = 7\nMENDED = 1")
    faulty = Human("faulty", "ALPHA = 4\nBETA = 7\nLATE = 1")
    result, _, _ = search(says, task=Late(), humans=[*HUMANS, faulty])
    assert result.tally.scored == 1


def test_what_falls_behind_its_parent_stops_after_the_first_window():
    _, log, _ = search(Says("ALPHA = 5\nBETA = 1"), humans=HUMANS[1:], behind=0.0)
    (dropped,) = log.of(EventKind.CANDIDATE_DROPPED)
    assert (dropped.data["rung"], dropped.data["reason"]) == ("first", "slower")
