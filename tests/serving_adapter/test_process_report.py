"""What processes say of themselves, read back by anybody, and put together as their host."""

import json
import os
from dataclasses import replace

import pytest

from serving_adapter.decision import Author
from serving_adapter.facts import RequestFacts
from serving_adapter.host_sum import host_sum
from serving_adapter.process_report import (
    ProcessReport,
    ShadowReport,
    TrialReport,
    forget_old,
    living_reports,
    read_report,
    report_path,
    write_report,
)
from serving_adapter.safety.ejection import Ejection, EjectionKind

TRIAL = TrialReport("c" * 64, 0.2, 100, 21, 19, 18, 17, "open", 3.0, 40.0, 100.0)
SHADOW = ShadowReport("d" * 64, 90, 9, 1, 5.0, 4.0)
THROWN = Ejection(EjectionKind.ERROR, "index", "e" * 64, 3, 9, 1, 1.7e9)
REPORT = ProcessReport(
    pid=7, boot="0" * 12, started_unix_s=1.7e9, unix_s=1.7e9, sequence=5, digest="a" * 64,
    since_unix_s=1.7e9, behind=False, off="", decided={"active": 60, "canary": 40}, fallbacks=2,
    swaps=3, swap_s=0.002, mean_swap_s=0.001, canary=TRIAL, shadow=SHADOW, ejections=(THROWN,),
)  # fmt: skip


def written(state, report):
    write_report(report_path(state, report.pid, report.boot), report)


def test_a_report_comes_back_as_it_was(tmp_path):
    written(tmp_path, REPORT)
    assert living_reports(tmp_path) == (REPORT,)


def test_a_process_that_has_gone_is_not_counted(tmp_path):
    written(tmp_path, REPORT)
    os.utime(report_path(tmp_path, 7, REPORT.boot), (1e9, 1e9))
    assert living_reports(tmp_path) == ()


@pytest.mark.parametrize(
    "change",
    [{"sequence": -1}, {"sequence": True}, {"digest": 5}, {"boot": "x" * 100}, {"swap_s": 1e999},
     {"decided": {"active": -1}}, {"decided": 3}, {"canary": {"digest": "c"}}, {"schema": 2},
     {"more": 1}, {"ejections": [1]}, {"boot": "a\u001b[2J"}, {"canary": "c" * 20_000}],
)  # fmt: skip
def test_what_no_process_says_is_not_believed(tmp_path, change):
    written(tmp_path, REPORT)
    path = report_path(tmp_path, 7, REPORT.boot)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert read_report(path) is None
    assert living_reports(tmp_path) == ()


def test_a_host_is_the_sum_of_its_processes_and_as_far_as_its_last():
    worse = replace(TRIAL, standing="worse", evidence=120.0, advantage=0.0)
    other = replace(REPORT, boot="1" * 12, sequence=4, digest=None, behind=True, canary=worse)
    total = host_sum([REPORT, other])
    facts = total.facts
    assert (total.sequence, total.digest, total.ejections) == (4, None, (THROWN,))
    assert (facts["processes"], facts["behind"], facts["decisions"]) == (2, 1, 200)
    assert (facts["canary_decisions"], facts["trial_decisions"]) == (42, 200)
    assert (facts["canary_standing"], facts["canary_evidence"]) == ("worse", 120.0)
    assert (facts["shadow_agree"], facts["shadow_live_s"]) == (180, 10.0)
    assert host_sum([]) is None


def test_better_is_claimed_by_the_mean_of_the_bets_and_not_by_the_luckiest():
    lucky = replace(REPORT, canary=replace(TRIAL, standing="better", advantage=110.0))
    assert host_sum([lucky]).facts["canary_standing"] == "better"
    assert host_sum([lucky, REPORT]).facts["canary_standing"] == "open"


async def test_a_host_counts_a_trial_from_its_first_decision(new_host, snapshot_of, word_digest):
    host = new_host()
    await host.apply(snapshot_of(1, "first"))
    for _ in range(10):
        host.route(RequestFacts(arrived_s=0.0, prompt_tokens=9))
    await host.apply(snapshot_of(2, "first", canary=("last", 0.4), shadow="last-2"))
    canaried = 0
    for session in range(200):
        facts = RequestFacts(arrived_s=0.0, prompt_tokens=9, session=session)
        canaried += host.route(facts).author is Author.CANARY
    host.watchdog._present_subjects()
    report = host.report()
    assert (report.sequence, report.digest) == (2, word_digest("first"))
    assert (report.canary.digest, report.canary.decisions) == (word_digest("last"), 200)
    assert report.canary.canary_decisions == canaried > 40
    assert report.shadow.digest == word_digest("last-2")
    assert (sum(report.decided.values()), report.fallbacks) == (210, 0)


def test_a_number_beyond_every_number_takes_nobody_down(tmp_path):
    written(tmp_path, REPORT)
    path = report_path(tmp_path, 7, REPORT.boot)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"swap_s": 10**400}))
    assert living_reports(tmp_path) == ()


def test_a_folder_among_the_reports_is_left_alone(tmp_path):
    folder = tmp_path / "reports" / "1-x.json"
    folder.mkdir(parents=True)
    os.utime(folder, (1e9, 1e9))
    forget_old(tmp_path)
    assert folder.is_dir()
