"""The loop on a problem without serving: determinism, budgets, worst cases, honest verdicts."""

import itertools
from dataclasses import replace

import pytest

from evolver.budget import Limits
from evolver.errors import BudgetTooSmall, NothingToStartFrom, ProposerFailed, ReplyUnusable
from evolver.journal import EventKind, EventList
from evolver.loop import Search, SearchSettings
from evolver.proposer import Cost, Proposal
from evolver.task import Gate, Human
from evolver.verdict import Outcome


def run(task, proposers, humans, evaluations=150, seed=1, sinks=(), **settings):
    settings = SearchSettings(seed=seed, **settings)
    return Search(task, proposers, humans, Limits(evaluations=evaluations), settings, sinks).run()


def test_a_better_structure_is_found_and_proved(bowls, lines, humans):
    result = run(bowls(), [lines], humans)
    assert result.verdict.outcome is Outcome.IMPROVED
    assert result.verdict.effect.low > 0


def test_a_gain_within_the_simulators_own_error_is_no_gain(bowls, lines, humans):
    gain = run(bowls(), [lines], humans).verdict.effect.gain
    verdict = run(bowls(), [lines], humans, smallest_gain=gain * 1.01).verdict
    assert verdict.outcome is Outcome.NO_CHANGE
    assert "Too small to trust" in verdict.reason


def test_same_seed_same_events_whatever_the_number_of_workers(bowls, lines, humans):
    logs = [EventList(), EventList()]
    for workers, log in zip((1, 4), logs, strict=True):
        run(bowls(workers=workers), [lines], humans, sinks=[log])
    one, four = ([_timeless(event) for event in log.events] for log in logs)
    assert one == four


def test_threads_of_proposers_change_nothing(bowls, lines, humans):
    digests = {run(bowls(), [lines], humans, threads=n).verdict.winner.digest for n in (1, 4)}
    assert len(digests) == 1


def test_another_seed_searches_elsewhere(bowls, lines, humans):
    tasks = [bowls(), bowls()]
    for seed, task in enumerate(tasks):
        run(task, [lines], humans, evaluations=60, seed=seed)
    assert tasks[0].runs != tasks[1].runs


def test_nothing_is_simulated_twice(bowls, lines, humans):
    task = bowls()
    run(task, [lines], humans)
    assert len(task.runs) == len(set(task.runs))


@pytest.mark.parametrize("evaluations", [10, 37, 100])
def test_evaluations_are_never_overdrawn(bowls, lines, humans, evaluations):
    task = bowls()
    result = run(task, [lines], humans, evaluations=evaluations)
    training = [window for _, window in task.runs if window.startswith("training")]
    assert len(training) <= evaluations * 4
    assert result.evaluations == len(training) / 4


def test_too_small_a_budget_is_refused_with_what_would_do(bowls, lines, humans):
    with pytest.raises(BudgetTooSmall, match="allow at least 3"):
        run(bowls(), [lines], humans, evaluations=1)


def test_a_candidate_that_fails_on_held_out_windows_cannot_win(bowls, constantly, humans):
    class CrashingImprovement:
        name = "crashing"
        waits = False

        def propose(self, request):
            text = f"ALPHA = 3\nBETA = 7\nGAMMA = 1\nCRASH = {request.rng_seed % 9}"
            return Proposal(text, self.name, "gamed", (request.parent.digest,))

    result = run(bowls(), [CrashingImprovement()], humans)
    assert result.members[0].origin == "crashing"
    assert result.verdict.outcome is Outcome.NO_CHANGE


@pytest.mark.parametrize("seed", range(4))
def test_noise_alone_is_no_change(bowls, constantly, seed):
    task, perfect = bowls(noise=0.05), Human("perfect", "ALPHA = 3\nBETA = 7")
    result = run(task, [constantly("SHAKE")], [perfect], evaluations=120, seed=seed)
    assert result.verdict.outcome is Outcome.NO_CHANGE


def test_few_sealed_windows_are_not_enough_evidence_and_stay_sealed(bowls, lines, humans):
    task = bowls(sealed=7)
    verdict = run(task, [lines], humans).verdict
    assert verdict.outcome is Outcome.NOT_ENOUGH
    assert not [window for _, window in task.runs if window.startswith("sealed")]


def test_sealed_windows_are_opened_once_for_one_candidate(bowls, lines, humans):
    log, task = EventList(), bowls()
    result = run(task, [lines], humans, sinks=[log])
    opened = {digest for digest, window in task.runs if window.startswith("sealed")}
    humans_known = {event.candidate for event in log.of(EventKind.HUMAN_SCORED)}
    humans_tuned = {event.candidate for event in log.of(EventKind.TUNED)}
    assert len(log.of(EventKind.SEALED_OPENED)) == 1
    assert opened - humans_known - humans_tuned == {result.verdict.winner.digest}


def test_humans_are_tuned_before_the_search(bowls, lines, humans):
    log = EventList()
    run(bowls(), [lines], humans, sinks=[log])
    tuned = [event for event in log.of(EventKind.TUNED) if event.generation == 0]
    assert {event.data["of"] for event in tuned} == {"plain", "better"}
    assert all(event.data["score"] < event.data["score_before"] for event in tuned)


def test_humans_are_tuned_by_the_tuner_alone_where_it_takes_no_part_in_the_search(
    bowls, lines, humans
):
    log = EventList()
    result = run(bowls(), [lines], humans, sinks=[log], tuner=False)
    texts = {human.text for human in humans}
    assert {e.data["text"].strip() for e in log.of(EventKind.TUNED)} == texts
    assert set(result.arms) == {"lines", "tuner"}
    assert result.arms["tuner"].asked == sum(e.data["tried"] for e in log.of(EventKind.TUNED))


def test_constants_are_tuned_in_the_last_part_of_the_search(bowls, lines, humans):
    arms = [run(bowls(), [lines], humans, human_share=0.0, polish=p).arms for p in (0.0, 0.4, 1.0)]
    asked = [accounts["tuner"].asked if "tuner" in accounts else 0 for accounts in arms]
    assert asked[0] == 0 < asked[1] < asked[2]


def test_a_gain_that_breaks_a_guardrail_does_not_lead_the_search_astray(bowls, lines, humans):
    class Tempting(bowls):
        def _score(self, job, window):
            result = super()._score(job, window)
            tempted = "GAMMA" in job.parameters
            better = result.objective / 4 if tempted else result.objective
            return replace(result, objective=better, metrics={"tempted": float(tempted)})

        def gates(self, candidate, human):
            tempted = any(result.metrics["tempted"] for result in candidate.values())
            return (Gate("kept", not tempted, "Tempted."),)

    result = run(Tempting(), [lines], humans)
    assert any(member.breaks == "Tempted." for member in result.members)
    assert result.verdict.outcome is Outcome.IMPROVED
    assert "GAMMA" not in result.verdict.winner.text


def test_only_constants_left_to_gain_is_no_change(bowls, humans):
    class Silent:
        name = "silent"
        waits = False

        def propose(self, request):
            return None

    result = run(bowls(), [Silent()], humans)
    assert result.verdict.outcome is Outcome.NO_CHANGE
    assert {member.origin for member in result.members} == {"human", "tuner"}


def test_a_dead_proposer_is_left_out_and_the_others_go_on(bowls, lines, humans):
    class Dead:
        name = "dead"
        waits = False

        def propose(self, request):
            raise ProposerFailed("The endpoint does not answer: check its address.")

    log = EventList()
    result = run(bowls(), [Dead(), lines], humans, sinks=[log])
    failures = log.of(EventKind.PROPOSER_FAILED)
    assert failures[-1].data["left_out"]
    assert result.verdict.outcome is Outcome.IMPROVED


@pytest.mark.parametrize("reply", ["ALPHA = 3.0", None])
def test_a_model_with_nothing_new_to_say_is_asked_so_often_and_no_more(bowls, lines, humans, reply):
    class Parrot:
        name, waits, asked = "parrot", True, 0

        def propose(self, request):
            self.asked += 1
            if reply is None:
                raise ReplyUnusable("No policy in the answer.", "Hello.", "no program is in it")
            return Proposal(reply, self.name, "the same again", (request.parent.digest,))

    log, parrot = EventList(), Parrot()
    result = run(bowls(), [parrot, lines], humans, evaluations=600, sinks=[log])
    (said,) = log.of(EventKind.PROPOSER_FAILED)
    assert said.data["left_out"]
    assert said.data["reason"] == "Nothing in its last 16 answers was new."
    assert 16 <= parrot.asked <= 16 + 1 + 4  # a first one that was new; a wave that was under way
    assert result.verdict.outcome is Outcome.IMPROVED


def test_what_a_failure_cost_is_counted(bowls, lines, humans):
    class Babbling:
        name = "babbling"
        waits = False

        def propose(self, request):
            failure = ProposerFailed("No policy in the answer: try another model.")
            failure.cost = Cost(tokens_in=70, tokens_out=30)
            raise failure

    result = run(bowls(), [Babbling()], humans)
    assert result.tokens == 100 * result.tally.failed > 0


def test_refusals_come_back_to_the_proposer(bowls, humans):
    seen = []

    class Stubborn:
        name = "stubborn"
        waits = False

        def propose(self, request):
            seen.append([refusal.code for refusal in request.feedback.refusals])
            return Proposal("nonsense", self.name, "", (request.parent.digest,))

    run(bowls(), [Stubborn()], humans, batch=1, tries=3, barren=1)
    assert seen == [[], ["syntax"], ["syntax"]]


def test_seconds_end_a_run(bowls, lines, humans):
    settings, clock = SearchSettings(barren=10**9), itertools.count()
    ticks = Limits(seconds=400.0)
    result = Search(bowls(), [lines], humans, ticks, settings, clock=lambda: next(clock)).run()
    assert result.generations >= 1
    assert result.seconds < 500.0


def test_the_same_human_counts_once_and_refused_ones_are_reported(bowls, lines, humans):
    log = EventList()
    run(bowls(), [lines], [*humans, Human("again", "ALPHA = 9"), Human("bad", "?")], sinks=[log])
    assert len(log.of(EventKind.HUMAN_SCORED)) == 2
    assert log.of(EventKind.CANDIDATE_REFUSED)[0].data["idea"] == "bad"


def test_without_a_working_human_there_is_nothing_to_start_from(bowls, lines):
    with pytest.raises(NothingToStartFrom, match="at least one that works"):
        run(bowls(), [lines], [Human("bad", "?")])


def _timeless(event):
    data = {key: value for key, value in event.data.items() if key != "seconds"}
    return (event.sequence, event.kind, event.generation, event.candidate, data)


def test_a_token_budget_ends_within_a_batch(bowls, humans):
    class Dear:
        name = "dear"
        waits = True

        def propose(self, request):
            text = f"ALPHA = {request.rng_seed % 9}"
            return Proposal(text, self.name, "dear", (), cost=Cost(tokens_in=100))

    settings = SearchSettings(tuned_humans=0)
    result = Search(bowls(), [Dear()], humans, Limits(tokens=250), settings).run()
    assert result.tokens == 300


def test_a_model_that_answers_at_length_after_a_short_answer_overruns_no_limit(bowls, humans):
    class Lulls:
        name, waits, asked = "lulls", True, 0

        def propose(self, request):
            self.asked += 1
            tokens = 10 if self.asked == 1 else request.tokens_left
            text = f"ALPHA = {request.rng_seed % 9}"
            return Proposal(text, self.name, "", (), cost=Cost(tokens_out=tokens))

    settings = SearchSettings(tuned_humans=0)
    result = Search(bowls(), [Lulls()], humans, Limits(tokens=1000), settings).run()
    assert 900 < result.tokens <= 1000


def test_a_limit_in_tokens_ends_a_run_whose_model_is_gone(bowls, lines, humans):
    class Gone:
        name, waits = "gone", True

        def propose(self, request):
            raise ProposerFailed("The endpoint does not answer: check its address.")

    settings = SearchSettings(tuned_humans=0)
    proposers = [Gone(), lines]
    result = Search(bowls(), proposers, humans, Limits(tokens=1000), settings).run()
    assert (result.tokens, result.tally.failed) == (0, 4)
    with pytest.raises(BudgetTooSmall, match="limit evaluations or seconds"):
        Search(bowls(), [lines], humans, Limits(tokens=1000)).run()
