"""Latches and the kill switch on disk: one truth for every process of a host, before and after."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from serving_adapter.activation import Ready
from serving_adapter.exposition import Registry
from serving_adapter.host_metrics import HostMetrics
from serving_adapter.live import Live
from serving_adapter.live_slot import LiveSlot
from serving_adapter.safety.ejection import Ejection, EjectionKind
from serving_adapter.safety.latches import EVERYTHING, LatchFolder

DIGEST, OTHER = "a" * 64, "b" * 64
EJECTION = Ejection(EjectionKind.STALL, "a request was held", DIGEST, 7, 99, 1, 1.7e9)
READY, GOOD = Ready(DIGEST, None), Ready(OTHER, None)


@pytest.fixture
def folder(tmp_path):
    return LatchFolder(tmp_path / "host")


@pytest.fixture
def new_slot(folder):
    """Makes slots as processes of one host have them, two policies in place."""

    def build(noted=(), latches=folder) -> LiveSlot:
        noted = [] if noted == () else noted
        slot = LiveSlot(HostMetrics(Registry()), noted.append, latches)
        slot.assign(Live(7, READY, GOOD))
        return slot

    return build


def test_a_latch_is_read_as_it_was_written_and_the_first_one_stays(folder):
    assert folder.write(EJECTION)
    assert folder.write(replace(EJECTION, kind=EjectionKind.SLOW))
    assert (folder.digests(), folder.read(DIGEST)) == ({DIGEST}, EJECTION)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"kind": "other"}', "\x00" * 9000, '{"kind":' * 900]
)
def test_a_latch_that_does_not_parse_still_keeps_out(folder, new_slot, text):
    (folder.state / "latches" / f"{DIGEST}.json").write_text(text)
    slot = new_slot()
    assert (slot.live.active, slot.live.last_good) == (None, GOOD)
    assert slot.latched[0].kind is EjectionKind.OPERATOR


def test_a_pipe_is_a_latch_and_a_kill_file_that_nobody_waits_for(folder):
    for path in (folder.state / "latches" / f"{DIGEST}.json", folder.kill_file):
        os.mkfifo(path)
    folder.sync()
    assert folder.read(DIGEST).kind is EjectionKind.OPERATOR
    assert folder.killed


def test_what_would_steer_a_terminal_is_not_read_from_a_latch(folder):
    folder.write(replace(EJECTION, reason="\x1b[2J \ud800 held"))
    assert folder.read(DIGEST).reason == "?[2J ? held"


def test_enabling_is_on_record_before_it_happens(folder):
    folder.write(EJECTION)
    (folder.state / "log.jsonl").mkdir()
    with pytest.raises(OSError):  # noqa: PT011 - whatever the system says
        folder.enable(DIGEST, "ada", "why")
    assert folder.digests() == {DIGEST}


def test_what_one_process_ejects_is_out_in_all_and_after_a_restart(new_slot):
    here, there = new_slot(), new_slot()
    assert here.eject(READY, EjectionKind.ERROR, "index")
    there.look()
    assert [slot.live.active for slot in (here, there, new_slot())] == [None, None, None]
    assert there.live.last_good is GOOD


def test_another_process_sees_the_latch_at_once(folder, new_slot):
    slot = new_slot()
    script = "import sys; sys.stdin.read(); open(sys.argv[1], 'w').close()"
    name = folder.state / "latches" / f"{DIGEST}.json"
    subprocess.run([sys.executable, "-c", script, name], input=b"", check=True)
    slot.look()
    assert slot.is_latched(DIGEST)


def test_a_person_lets_it_back_in_and_every_process_hears_of_it(folder, new_slot):
    here, there = new_slot(), new_slot()
    here.eject(READY, EjectionKind.ERROR, "index")
    there.look()
    folder.enable(DIGEST, "ada", "the engine was at fault")
    assert (here.look(), there.look(), here.look()) == (True, True, False)
    assert here.assign(Live(7, READY, GOOD)).active is READY
    (entry,) = map(json.loads, (folder.state / "log.jsonl").read_text().splitlines())
    assert (entry["enabled"], entry["by"], entry["reason"]) == (DIGEST, "ada", "index")


def test_an_ejection_means_one_policy_and_never_its_successor(new_slot):
    slot = new_slot()
    successor = Ready(DIGEST, None)
    slot.assign(Live(8, successor, GOOD))
    assert not slot.eject(READY, EjectionKind.SLOW, "late")
    assert slot.live.active is successor


def test_a_disk_that_fails_keeps_nothing_from_being_ejected(tmp_path, new_slot):
    (tmp_path / "file").touch()
    noted, latches = [], LatchFolder(tmp_path / "file" / "host")
    slot = new_slot(noted, latches)
    slot.eject(READY, EjectionKind.ERROR, "index")
    slot.kill("a drill")
    slot.look()
    slot.look()
    assert slot.assign(Live(9, READY, GOOD)).active is None
    assert [one.kind for one in noted] == [EjectionKind.ERROR, EjectionKind.OPERATOR]
    assert slot.off is EjectionKind.OPERATOR


def test_a_latch_is_written_once_the_disk_is_back(folder, new_slot, monkeypatch):
    monkeypatch.setattr("serving_adapter.live_slot.RETRY_S", 0.0)
    slot, away = new_slot(), folder.state.with_name("away")
    folder.state.rename(away)
    slot.eject(READY, EjectionKind.ERROR, "index")
    away.rename(folder.state)
    slot.look()
    assert folder.digests() == {DIGEST}


def test_the_kill_switch_stops_all_and_gives_all_back(folder, new_slot):
    here, there = new_slot(), new_slot(noted := [])
    here.kill("signal SIGUSR1")
    here.look()
    there.look()
    assert (here.off, there.off, new_slot().off) == (EjectionKind.OPERATOR,) * 3
    folder.enable(EVERYTHING, "ada", "over")
    assert (here.look(), there.look()) == (True, True)
    assert (here.off, there.off, here.live.active) == (None, None, READY)
    assert [one.kind for one in noted] == [EjectionKind.OPERATOR]


def test_stale_signals_are_noted_once_and_latch_nothing(folder, new_slot):
    slot = new_slot(noted := [])
    for stale in (True, True, False):
        slot.set_stale(stale, "old")
    assert ([one.kind for one in noted], slot.off) == ([EjectionKind.STALE], None)
    assert (folder.digests(), slot.live.active) == (frozenset(), READY)


def test_only_stale_is_not_latched():
    assert {kind for kind in EjectionKind if not kind.latched} == {EjectionKind.STALE}
