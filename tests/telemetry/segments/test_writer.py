"""What a writer was told stays, in bounds, whoever kills it."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from telemetry.errors import SegmentError
from telemetry.segments import SegmentLimits, SegmentWriter, open_file, read
from telemetry.segments.manifest import load

ROOT = Path(__file__).resolve().parents[3]


def files(folder, kind):
    return sorted(path.name for path in folder.glob(f"*.{kind}"))


def test_rows_are_durable_after_a_second_and_closed_by_size_and_time(tmp_path, made):
    limits = SegmentLimits(segment_rows=100, segment_s=60.0)
    with SegmentWriter(tmp_path, limits) as writer:
        writer.append(made(range(10)))
        writer.tick(time.time() + 0.1)
        assert len(read(tmp_path)) == 0
        writer.tick(time.time() + 1.1)
        assert read(tmp_path).prompt_tokens.tolist() == list(range(1, 11))
        writer.append(made(range(10, 110)))
        writer.tick(time.time() + 3.0)
        assert (len(files(tmp_path, "open")), len(files(tmp_path, "parquet"))) == (0, 1)
        writer.append(made(range(110, 115)))
        writer.tick(time.time() + 5.0)
        writer.tick(time.time() + 70.0)
        assert len(files(tmp_path, "parquet")) == 2
    assert read(tmp_path).prompt_tokens.tolist() == list(range(1, 116))


def test_the_manifest_names_every_segment(tmp_path, made):
    with SegmentWriter(tmp_path) as writer:
        writer.append(made([5, 3, 4]), {"log": {"offset": 9}})
    (one,) = json.loads((tmp_path / "manifest.json").read_text())["segments"]
    assert (one["rows"], one["since_unix_s"], one["until_unix_s"]) == (3, 1.7e9 + 3, 1.7e9 + 5)
    assert one["bytes"] == (tmp_path / one["name"]).stat().st_size
    assert len(one["sha256"]) == 64
    assert load(tmp_path).positions == {"log": {"offset": 9}}


def test_the_oldest_go_first_when_the_folder_is_full_or_they_are_old(tmp_path, made):
    limits = SegmentLimits(segment_rows=500, segment_bytes=64 * 1024, most_bytes=300 * 1024)
    noise = random.Random(1)
    with SegmentWriter(tmp_path, limits) as writer:
        for first in range(0, 8000, 250):
            salted = {"session": noise.getrandbits(60), "tenant": noise.getrandbits(60)}
            writer.append(made(range(first, first + 250), **salted))
            writer.tick(1.8e9 + first)
            assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= limits.most_bytes
    numbers = read(tmp_path).prompt_tokens
    assert 0 < len(numbers) < 8000
    assert numbers.tolist() == list(range(8001 - len(numbers), 8001))
    writer = SegmentWriter(tmp_path, SegmentLimits(most_age_s=60.0))
    writer.close(time.time() + 1e9)
    assert len(read(tmp_path)) == 0


def test_a_writer_that_is_killed_at_any_moment_loses_the_open_second_at_most(tmp_path):
    script = str(Path(__file__).with_name("killed_writer.py"))
    began, noise = 0, random.Random(3)
    for _ in range(2):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, script, str(tmp_path), str(began)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            told = [process.stdout.readline() for _ in range(noise.randrange(20, 80))]
            process.send_signal(signal.SIGKILL)
            told += process.stdout.readlines()
        durable = int(told[-1])
        found = read(tmp_path)
        assert found.prompt_tokens[: durable].tolist() == list(range(1, durable + 1))
        assert len(found) in (durable, durable + 50)
        began = len(found)
        writer = SegmentWriter(tmp_path, SegmentLimits(segment_rows=2000))
        assert writer.positions == {"source": {"next": began}}
        writer.close()
        assert len(read(tmp_path)) == began
    assert read(tmp_path).skipped_segments == 0


@pytest.mark.parametrize("step", ["save", "unlink", "replace"])
def test_killed_while_it_closes_a_segment_nothing_is_lost_or_doubled(tmp_path, made, step):
    pid = os.fork()
    if pid == 0:
        def die(*_, **__):
            os.kill(os.getpid(), signal.SIGKILL)

        writer = SegmentWriter(tmp_path, SegmentLimits(flush_s=0.0))
        writer.append(made(range(100)), {"log": {"offset": 100}})
        writer.tick()
        if step == "save":
            import telemetry.segments.writer as module

            module.save = die
        else:
            setattr(Path, step, die)
        writer.close()
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert read(tmp_path).prompt_tokens.tolist() == list(range(1, 101))
    with SegmentWriter(tmp_path) as writer:
        assert writer.positions == {"log": {"offset": 100}}
        assert len(read(tmp_path)) == 100
        assert not files(tmp_path, "open")
        assert not files(tmp_path, "tmp")
    assert read(tmp_path).prompt_tokens.tolist() == list(range(1, 101))


def test_a_torn_tail_is_counted_and_what_is_before_it_stays(tmp_path, made):
    writer = SegmentWriter(tmp_path, SegmentLimits(flush_s=0.0))
    for first in (0, 10):
        writer.append(made(range(first, first + 10)), {"log": {"offset": first}})
        writer.tick()
    (path,) = tmp_path.glob("*.open")
    os.close(writer._lock)  # as when its process is killed
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    found = read(tmp_path)
    assert found.prompt_tokens.tolist() == list(range(1, 11))
    assert any("torn" in note for note in found.notes)
    flipped = bytearray(whole)
    flipped[-40] ^= 1
    path.write_bytes(flipped)
    assert len(read(tmp_path)) == 10
    with SegmentWriter(tmp_path) as after:
        assert after.torn_bytes > 0
        assert after.positions == {"log": {"offset": 0}}
    assert len(read(tmp_path)) == 10


def test_a_disk_that_takes_nothing_keeps_rows_waiting_and_says_so(tmp_path, made, monkeypatch):
    writer = SegmentWriter(tmp_path, SegmentLimits(flush_s=0.0))
    writer.append(made(range(10)))
    writer.tick()
    written = os.pwrite

    left = [3]

    def full(file, data, at):
        left[0] -= 1
        if left[0] > 0:
            return written(file, data[:100], at)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(open_file.os, "pwrite", full)
    writer.append(made(range(10, 20)))
    with pytest.raises(SegmentError, match="make room"):
        writer.tick()
    monkeypatch.undo()
    assert read(tmp_path).notes == ()
    writer.tick()
    writer.close()
    assert read(tmp_path).prompt_tokens.tolist() == list(range(1, 21))


def test_rows_that_wait_for_a_disk_are_bounded(tmp_path, made, monkeypatch):
    monkeypatch.setattr("telemetry.segments.writer.MOST_WAITING_ROWS", 15)
    with SegmentWriter(tmp_path) as writer:
        writer.append(made(range(10)))
        with pytest.raises(SegmentError, match="wait for the disk"):
            writer.append(made(range(10)))


def test_a_folder_has_one_writer(tmp_path):
    with SegmentWriter(tmp_path), pytest.raises(SegmentError, match="folder of its own"):
        SegmentWriter(tmp_path)
    SegmentWriter(tmp_path).close()


def test_large_batches_become_frames_of_bounded_size(tmp_path, made):
    limits = SegmentLimits(segment_bytes=64 * 1024)
    with SegmentWriter(tmp_path, limits) as writer:
        writer.append(made(range(2000)))
        writer.tick(time.time() + 2.0)
        assert len(files(tmp_path, "parquet")) > 1
    assert np.array_equal(read(tmp_path).prompt_tokens, np.arange(1, 2001))


@pytest.mark.parametrize(
    "wrong", [{"segment_bytes": 1}, {"segment_rows": 0}, {"most_bytes": 2**20}, {"segment_s": 0.0}]
)
def test_bounds_that_cannot_be_kept_are_refused(wrong):
    with pytest.raises(SegmentError):
        SegmentLimits(**wrong)


def test_a_writer_that_could_not_begin_leaves_the_folder_to_the_next(tmp_path):
    blocked = tmp_path / "requests-00000001.open"
    blocked.mkdir()
    with pytest.raises(SegmentError, match="cannot be written"):
        SegmentWriter(tmp_path)
    blocked.rmdir()
    SegmentWriter(tmp_path).close()
