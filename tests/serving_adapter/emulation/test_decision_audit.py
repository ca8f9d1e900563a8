"""The audit of decisions: whatever breaks a law is seen, in memory and read back from a file."""

from dataclasses import replace

import pytest

from serving_adapter.decision import BUILT_IN_DIGEST
from serving_adapter.emulation.decision_audit import DecisionLog, LoggedDecision, audit, read_log
from serving_adapter.emulation.load import LoadRequest, Served
from serving_adapter.facts import RequestFacts


@pytest.fixture
def snapshots(snapshot_of):
    return [snapshot_of(1, "first"), snapshot_of(2, "last", "first", canary=("hold", 0.2))]


@pytest.fixture
def good(word_digest):
    """Three requests: the first is held over a swap, the last is decided by nobody's policy."""
    first, last = word_digest("first"), word_digest("last")
    return [
        LoggedDecision("a", 0, 1, first, "active"),
        LoggedDecision("a", 1, 2, last, "active"),
        LoggedDecision("a", 0, 1, first, "active"),
        LoggedDecision("a", 2, 2, first, "last_good"),
        LoggedDecision("a", 3, 2, word_digest("hold"), "canary"),
        LoggedDecision("a", 4, 2, BUILT_IN_DIGEST, "built_in", "fuel,fuel"),
    ]


def served(count, **fields):
    base = Served(LoadRequest(0.0, 10, 4), 200, True, 0.1, 0.2, 4, 2, BUILT_IN_DIGEST)
    return [replace(base, **fields) for _ in range(count)]


def test_what_keeps_the_laws_passes(good, snapshots):
    verdict = audit(good, snapshots, served(5), finished=5)
    assert verdict.violations == ()
    assert (verdict.decisions, verdict.requests, verdict.sequences, verdict.faults) == (6, 5, 2, 1)


@pytest.mark.parametrize(
    ("place", "changed", "says"),
    [
        (1, {"digest": "0" * 64}, "sequence 2 names no active 0000"),
        (1, {"author": "last_good"}, "names no last_good"),
        (5, {"sequence": 3}, "sequence 3 names no built_in"),
        (3, {"author": "active", "sequence": 1}, "went back from sequence 2 to 1"),
        (2, {"sequence": 2, "author": "last_good"}, "began under sequence 1 and was decided"),
    ],
)
def test_law_9_is_broken_by(good, snapshots, place, changed, says):
    good[place] = replace(good[place], **changed)
    (violation,) = audit(good, snapshots).violations
    assert says in violation


@pytest.mark.parametrize(
    ("seen", "finished", "says"),
    [
        ([*served(4), *served(1, ok=False, status=502)], 5, "1 of 5 requests failed"),
        (served(6), 6, "5 requests were decided, 6 were sent"),
        (served(5), 6, "the engines finished 6 requests"),
        ([*served(4), *served(1, policy="0" * 64)], 5, "a client was told"),
    ],
)
def test_law_8_is_broken_by(good, snapshots, seen, finished, says):
    (violation,) = audit(good, snapshots, seen, finished).violations
    assert says in violation


def test_each_process_goes_forward_by_itself(good, snapshots):
    other = [replace(one, process="b") for one in good]
    assert audit(good + other, snapshots).violations == ()


def test_many_violations_are_counted(good, snapshots):
    bad = [replace(good[1], request=number, digest="0" * 64) for number in range(50)]
    assert audit(bad, snapshots).violations[-1] == "and 30 more"


def test_a_log_in_a_file_is_the_one_in_memory(new_host, tmp_path):
    host, log = new_host(), DecisionLog("a", tmp_path / "decisions.jsonl")
    host.on_decision = log.add
    one, other = (RequestFacts(arrived_s=0.0, prompt_tokens=8) for _ in range(2))
    for facts in (one, other, one):
        host.route(facts)
    assert [logged.request for logged in log.decisions] == [0, 1, 0]
    assert read_log(tmp_path / "decisions.jsonl") == log.decisions
    assert read_log(tmp_path / "none") == []
