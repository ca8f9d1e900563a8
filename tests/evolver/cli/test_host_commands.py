"""`evolver host`: what is kept out, why, and a person's word against it; no store is near."""

import json

import pytest

from serving_adapter.process_report import (
    ProcessReport,
    ShadowReport,
    TrialReport,
    report_path,
    write_report,
)
from serving_adapter.safety.dumps import dump_text, write_dump
from serving_adapter.safety.ejection import Ejection, EjectionKind
from serving_adapter.safety.latches import LatchFolder

DIGEST = "3f2a9c" + "0" * 58
EJECTION = Ejection(EjectionKind.STALL, "a request was held for 5 s", DIGEST, 7, 99, 1, 1.7e9)


@pytest.fixture
def folder(home):
    folder = LatchFolder(home / "hosts" / "default")
    assert folder.write(EJECTION)
    write_dump(home / "hosts" / "default" / "dumps", EJECTION, dump_text(EJECTION, {}, ()))
    return folder


def test_what_is_kept_out_is_shown(evolver, folder):
    assert "a request was held for 5 s" in evolver("host", "status").out
    (latched,) = evolver("host", "status", "-o", "json").json["latched"]
    assert (latched["policy"], latched["kind"], latched["sequence"]) == (DIGEST, "stall", 7)


def test_a_person_lets_it_back_in_and_that_is_on_record(evolver, folder, home):
    done = evolver("host", "enable", "3f2a9c", "--by", "ada", "--note", "the engine was at fault")
    assert (done.code, folder.digests()) == (0, frozenset())
    (entry,) = map(json.loads, (home / "hosts" / "default" / "log.jsonl").read_text().splitlines())
    assert (entry["enabled"], entry["by"], entry["kind"]) == (DIGEST, "ada", "stall")


def test_the_kill_switch_is_lifted_by_name_and_lifts_no_latch(evolver, folder):
    folder.kill("a drill")
    assert "kill switch is thrown" in evolver("host", "status").out
    assert evolver("host", "enable", "everything", "--note", "over").code == 0
    assert (folder.killed, folder.digests()) == (False, {DIGEST})


def test_the_newest_dump_is_printed(evolver, folder):
    assert evolver("host", "dump").json["ejection"]["digest"] == DIGEST
    assert evolver("host", "dump", "ffff").code == 1


@pytest.mark.parametrize(
    "arguments",
    [("3f2a9c", "--note", ""), ("3f2a9c", "--note", "a\nb"), ("ffffff", "--note", "why"),
     ("everything", "--note", "why"), ("3f", "--note", "why")],
)  # fmt: skip
def test_nothing_is_enabled_by_mistake(evolver, folder, arguments):
    assert evolver("host", "enable", *arguments).code in (1, 2)
    assert folder.digests() == {DIGEST}


def test_without_a_host_there_is_nothing_to_say(evolver):
    assert "no host has run there" in evolver("host", "status").err


def test_each_process_says_what_it_runs_and_whether_it_takes_work(evolver, folder):
    runs = ProcessReport(
        pid=7, boot="0" * 12, started_unix_s=1.7e9, unix_s=1.7e9, sequence=5, digest=DIGEST,
        since_unix_s=1.7e9, behind=True, off="", decided={"active": 1200}, fallbacks=2, swaps=3,
        swap_s=0.002, mean_swap_s=0.001,
        canary=TrialReport("c" * 64, 0.2, 100, 21, 19, 18, 17, "open", 3.0, 40.0, 100.0),
        shadow=ShadowReport("d" * 64, 90, 9, 1, 5.0, 4.0),
    )  # fmt: skip
    assert "No process of this host is running" in evolver("host", "status").out
    write_report(report_path(folder.state, 7, runs.boot), runs)
    shown = evolver("host", "status").out
    for words in ("1,200", "NO, it is behind", "made 21 of 100", "agreed with 90 of 100"):
        assert words in shown
    told = evolver("host", "status", "-o", "json").json
    assert (told["processes"][0]["sequence"], told["facts"]["behind"]) == (5, 1)
