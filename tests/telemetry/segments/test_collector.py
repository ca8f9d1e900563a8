"""Every line of a log becomes one row, whatever happens to its file or to who reads it."""

import contextlib
import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from telemetry.errors import SegmentError
from telemetry.segments import Collector, SegmentLimits, SegmentWriter, log_tail, read

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def no_grace(monkeypatch):
    monkeypatch.setattr(log_tail, "GRACE_S", 0.0)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "requests.jsonl"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "segments"


@contextlib.contextmanager
def collecting(folder, *logs, **limits):
    """A collector that starts where the one before it ended."""
    with SegmentWriter(folder, SegmentLimits(flush_s=0.0, **limits)) as writer:
        collector = Collector(writer, logs)
        yield collector
        collector.close()


def append(path, text):
    with path.open("a") as file:
        file.write(text)


def numbers(folder):
    return [tokens - 1 for tokens in read(folder).prompt_tokens.tolist()]


def test_lines_are_taken_as_they_come_and_whole(log, folder, lines):
    with collecting(folder, log) as collector:
        assert collector.poll() == 0
        text = lines(range(3))
        append(log, text[:-30])
        assert collector.poll() == 2
        assert collector.poll() == 0
        append(log, text[-30:] + lines([3]))
        assert collector.poll() == 2
    assert numbers(folder) == [0, 1, 2, 3]


def test_a_restart_neither_loses_nor_doubles(log, folder, lines):
    for first in (0, 10, 20):
        append(log, lines(range(first, first + 10)))
        with collecting(folder, log) as collector:
            collector.poll()
    assert numbers(folder) == list(range(30))


def renamed(log):
    shutil.move(log, log.with_name(log.name + ".1"))


def copied(log):
    shutil.copy(log, log.with_name(log.name + ".1"))
    os.truncate(log, 0)


def packed(log):
    log.with_name(log.name + ".1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()


@pytest.mark.parametrize("rotate", [renamed, copied, packed])
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("known", [True, False])
def test_a_rotated_log_is_read_to_its_end_first(log, folder, lines, rotate, restart, known):
    append(log, lines(range(10)))
    with contextlib.ExitStack() as stack:
        collector = stack.enter_context(collecting(folder, log))
        if known:
            collector.poll()
        append(log, lines(range(10, 20)))
        rotate(log)
        if restart:
            stack.close()
            collector = stack.enter_context(collecting(folder, log))
        collector.poll()
        append(log, lines(range(20, 23)))
        for _ in range(3):
            collector.poll()
        (position,) = collector.positions.values()
    assert numbers(folder) == list(range(23))
    assert (position.rows, position.flaws, position.gaps) == (23, 0, 0)


def test_a_rotated_log_gets_late_lines_from_who_still_has_it_open(log, folder, lines, monkeypatch):
    append(log, lines(range(3)))
    with collecting(folder, log) as collector:
        collector.poll()
        monkeypatch.setattr(log_tail, "GRACE_S", 3600.0)
        renamed(log)
        append(log, lines(range(10, 13)))
        assert collector.poll() == 0
        older = log.with_name(log.name + ".1")
        append(older, lines(range(3, 5)))
        assert collector.poll() == 2
        os.utime(older, (0, 0))
        assert collector.poll() == 3
    assert numbers(folder) == [0, 1, 2, 3, 4, 10, 11, 12]


def test_several_rotations_while_nobody_reads(log, folder, lines):
    append(log, lines(range(5)))
    with collecting(folder, log) as collector:
        collector.poll()
    append(log, lines(range(5, 7)))
    shutil.move(log, log.with_name("requests.jsonl.3"))
    append(log.with_name("requests.jsonl.2"), lines(range(7, 9)))
    append(log.with_name("requests.jsonl.1"), lines(range(9, 11)))
    append(log, lines(range(11, 13)))
    with collecting(folder, log) as collector:
        collector.poll()
    assert numbers(folder) == list(range(13))


def test_a_log_that_vanishes_or_is_emptied_is_a_gap_and_older_ones_are_not_read_again(
    log, folder, lines
):
    append(log.with_name("requests.jsonl.1"), lines(range(5)))
    append(log, lines(range(5, 10)))
    with collecting(folder, log) as collector:
        collector.poll()
        os.truncate(log, 0)
        append(log, lines(range(20, 40)))  # longer than before
        for _ in range(3):
            collector.poll()
        (position,) = collector.positions.values()
    assert numbers(folder) == [*range(10), *range(20, 40)]
    assert position.gaps == 1


def test_what_is_no_request_is_counted_and_never_kept(log, folder, lines):
    secret = "kanarienvogel"
    append(log, lines([0]) + '{"arrived_unix_s": 1, "pro\n' + f"{secret}\n" + "[1]\n\n")
    append(log, lines([1], endpoint="models") + lines([2], digest=secret))
    append(log, "x" * 200_000 + "\n" + lines([3], user=secret))
    with collecting(folder, log) as collector:
        while collector.poll():
            pass
        (position,) = collector.positions.values()
    assert numbers(folder) == [0, 3]
    assert (position.rows, position.flaws, position.other) == (2, 5, 1)
    kept = b"".join(path.read_bytes() for path in folder.iterdir())
    assert secret.encode() not in kept


def test_many_logs_at_once(tmp_path, folder, lines):
    logs = [tmp_path / f"{name}.jsonl" for name in "abc"]
    for place, one in enumerate(logs):
        append(one, lines(range(place, 30, 3)))
    with collecting(folder, *logs) as collector:
        collector.poll()
    assert numbers(folder) == list(range(30))


def test_a_collector_that_is_killed_goes_on_where_durable_rows_end(tmp_path, folder, log, lines):
    script = str(Path(__file__).with_name("killed_collector.py"))
    environment, noise = {**os.environ, "PYTHONPATH": str(ROOT)}, random.Random(5)
    written = 0
    for turn in range(2):
        command = [sys.executable, script, str(folder), str(log)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            for _ in range(noise.randrange(2, 8)):
                append(log, lines(range(written, written + 200)))
                written += 200
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            process.stdout.read()
        if turn == 0:
            renamed(log)
    append(log, lines([written]))
    with collecting(folder, log) as collector:
        while collector.poll():
            pass
    assert numbers(folder) == list(range(written + 1))


def test_a_full_disk_is_waited_for_and_costs_no_line(log, folder, lines, monkeypatch):
    append(log, lines(range(5)))
    with collecting(folder, log) as collector:
        monkeypatch.setattr("telemetry.segments.writer.MOST_WAITING_ROWS", 3)
        with pytest.raises(SegmentError):
            collector.poll()
        monkeypatch.undo()
        stop = threading.Event()
        thread = threading.Thread(target=collector.run, args=(stop, 0.01))
        thread.start()
        while not len(read(folder)):
            stop.wait(0.01)
        stop.set()
        thread.join(10)
    assert numbers(folder) == list(range(5))


@pytest.mark.parametrize("stored", [
    None, 3, {}, {"mark": "x"}, {"mark": 1, "offset": -1, "done": 3, "rows": 0, "flaws": 0,
                                "other": 0, "gaps": 0},
])  # fmt: skip
def test_a_position_that_is_none_begins_anew(stored):
    assert log_tail.Position.of(stored) == log_tail.Position()


def test_a_position_comes_back_as_it_was():
    position = log_tail.Position("ab", 7, ("cd", "ef"), 1, 2, 3, 4)
    assert log_tail.Position.of(position.document()) == position


def test_a_packed_log_that_breaks_off_is_read_that_far_and_holds_nothing_up(log, folder, lines):
    text = "".join(lines([k], tenant=k * k * 7919) for k in range(5000)).encode()
    whole = gzip.compress(text)
    log.with_name(log.name + ".1.gz").write_bytes(whole[: len(whole) * 3 // 4])
    append(log, lines(range(9000, 9003)))
    with collecting(folder, log) as collector:
        for _ in range(3):
            collector.poll()
        (position,) = collector.positions.values()
    found = numbers(folder)
    assert found[-3:] == [9000, 9001, 9002]
    assert found[:-3] == list(range(len(found) - 3))
    assert len(found) > 1000
    assert (position.gaps, position.flaws) == (1, 0)
