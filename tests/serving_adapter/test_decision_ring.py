"""What a policy was asked is kept in bounded bytes, survives a kill, and comes back as it was."""

import os
import struct
import subprocess
import sys
import time
import zlib

import pytest

from serving_adapter.decision import DecisionInput
from serving_adapter.decision_ring import DecisionRing, kept_inputs, newest, segments_in

BOOT, OTHER = "0123456789ab", "ba9876543210"


def given(number: int, engines: int = 4, **fields: object) -> DecisionInput:
    known = {"choice": number % engines, "fault": "", **fields}
    rows = os.urandom(16) + bytes(400 * engines - 16)
    return DecisionInput(number=number, sequence=3, digest="a" * 64, request=bytes(248),
                         rows=rows, memory=bytes(512), rotation=number, fuel=60_000,
                         call_s=1e-5, **known)  # fmt: skip


def test_every_input_comes_back_as_it_was(tmp_path):
    kept = [given(number, 2 + number % 3) for number in range(1, 60)]
    kept += [given(60, choice=None, fault="fuel"), given(60, choice=-1)]
    ring = DecisionRing(tmp_path, BOOT, set)
    with ring.running():
        for one in kept:
            ring.add(one)
    assert [one.given for one in newest(tmp_path, 1000)][::-1] == kept
    assert [one.given for one in kept_inputs(tmp_path, BOOT, 60)] == kept[-2:]
    assert kept_inputs(tmp_path, OTHER, 60) == []
    assert ring.dropped == 0


def test_it_keeps_the_latest_in_bounded_bytes_and_leaves_living_processes_alone(tmp_path):
    room = 64 * 1024
    for boot in (OTHER, "c" * 12):
        (tmp_path / f"{boot}-000001.ring").write_bytes(bytes(2 * room))
    ring = DecisionRing(tmp_path, BOOT, lambda: {OTHER}, room)
    for turn in range(40):
        with ring.running():
            for number in range(turn * 100, turn * 100 + 100):
                ring.add(given(number))
    mine = [path for path, boot in segments_in(tmp_path) if boot == BOOT]
    assert room // 2 < sum(path.stat().st_size for path in mine) <= room + room // 8
    assert kept_inputs(tmp_path, BOOT, 3999)
    assert not kept_inputs(tmp_path, BOOT, 0)
    assert {boot for _, boot in segments_in(tmp_path)} == {BOOT, OTHER}


def test_what_there_is_no_time_for_is_dropped_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("serving_adapter.decision_ring.WAITING_BYTES", 10_000)
    ring = DecisionRing(tmp_path, BOOT, set)
    with ring.running():
        for number in range(1, 101):
            ring.add(given(number))
    assert 0 < ring.dropped < 100
    assert ring.dropped + len(newest(tmp_path, 1000)) == 100


def test_a_disk_that_refuses_costs_inputs_and_nothing_else(tmp_path):
    (tmp_path / "file").write_text("no folder")
    ring = DecisionRing(tmp_path / "file", BOOT, set)
    with ring.running():
        ring.add(given(1))
    assert ring.dropped == 1


KILLED = """
import sys, time
sys.path[:0] = {path!r}
from pathlib import Path
from test_decision_ring import BOOT, given
from serving_adapter.decision_ring import DecisionRing
ring = DecisionRing(Path({folder!r}), BOOT, set)
with ring.running():
    for number in range(1, 10**6):
        ring.add(given(number))
        print(number, flush=True)
        time.sleep(0.005)
"""


def test_a_killed_process_loses_only_the_latest(tmp_path):
    code = KILLED.format(path=[os.path.dirname(__file__), *sys.path], folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        times = {}
        for line in child.stdout:
            times[int(line)] = time.monotonic()
            if len(times) % 50 == 0 and len(newest(tmp_path, 1000)) > 100:
                break
        child.kill()
        killed_s = time.monotonic()
    saved = [one.given.number for one in newest(tmp_path, 10_000)]
    assert saved == list(range(len(saved), 0, -1))
    oldest_lost_s = times.get(saved[0] + 1, killed_s)
    print(f"lost: {len(times) - len(saved)} decisions, up to {killed_s - oldest_lost_s:.3f} s old")


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_torn_end_hides_only_itself(tmp_path, cut):
    ring = DecisionRing(tmp_path, BOOT, set)
    for turn in range(2):
        with ring.running():
            ring.add(given(turn + 1))
    (path,) = (path for path, _ in segments_in(tmp_path))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - cut)
    assert [one.given.number for one in newest(tmp_path, 9)] == [1]


@pytest.mark.parametrize(
    "bad",
    [{"fault": "\x1b[2J"}, {"digest": "\x07" * 64}, {"call_s": float("nan")}],
    ids=["fault", "digest", "time"],
)
def test_what_would_steer_a_terminal_is_not_read(tmp_path, bad):
    ring = DecisionRing(tmp_path, BOOT, set)
    with ring.running():
        ring.add(given(1)._replace(**bad))
    assert newest(tmp_path, 10) == []


@pytest.mark.parametrize("unix_s", [1.7e9, float("nan"), 1e300])
def test_a_frame_that_nobody_compressed_is_no_decision(tmp_path, unix_s):
    frame = struct.pack("<4sIIIQQd", b"EDR3", 7, 9, zlib.crc32(b"garbage"), 1, 9, unix_s)
    (tmp_path / f"{BOOT}-000001.ring").write_bytes(frame + b"garbage")
    assert newest(tmp_path, 10) == []
    assert kept_inputs(tmp_path, BOOT, 5) == []
