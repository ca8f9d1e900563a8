"""`evolver telemetry`: logs into segments, and what they hold."""

import json
import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip("pyarrow", reason="segments need the extra `daemon`")


def lines(numbers, **fields):
    return "".join(
        json.dumps({"arrived_unix_s": 1.7e9 + number, "prompt_tokens": 70, "output_tokens": 5,
                    "session": 3, **fields}) + "\n"
        for number in numbers
    )  # fmt: skip


def test_logs_become_segments_that_say_what_they_hold(evolver, tmp_path):
    log, folder = tmp_path / "requests.jsonl", tmp_path / "segments"
    log.write_text(lines(range(5)) + lines([5], outcome="rejected", output_tokens=0) + "{torn\n")
    done = evolver("telemetry", "collect", "--request-log", log, "--folder", folder, "--once")
    assert (done.code, "6 requests, 1 lines that are none" in done.out) == (0, True)
    said = evolver("telemetry", "show", "--folder", folder, "-o", "json").json
    assert (said["requests"], said["outcomes"]) == (6, {"ok": 5, "rejected": 1})
    assert said["sources"][str(log)]["flaws"] == 1
    table = evolver("telemetry", "show", "--folder", folder, "--trace", tmp_path / "t.npz")
    assert "rejected" in table.out
    assert evolver("trace", "info", tmp_path / "t.npz", "-o", "json").json["format"] == "segments"


def test_a_damaged_segment_is_shown(evolver, tmp_path):
    log, folder = tmp_path / "requests.jsonl", tmp_path / "segments"
    log.write_text(lines(range(5)))
    evolver("telemetry", "collect", "--request-log", log, "--folder", folder, "--once")
    next(folder.glob("*.parquet")).write_bytes(b"PAR1")
    done = evolver("telemetry", "show", "--folder", folder)
    assert (done.code, "was skipped" in done.out) == (0, True)


def test_a_folder_that_is_not_there_is_said(evolver, tmp_path):
    done = evolver("telemetry", "show", "--folder", tmp_path / "none")
    assert (done.code, "no folder" in done.err) == (1, True)


def test_sigterm_keeps_everything(home, tmp_path):
    log, folder = tmp_path / "requests.jsonl", tmp_path / "segments"
    log.write_text(lines(range(5)))
    program = "from evolver.cli import main; raise SystemExit(main())"
    asked = ["telemetry", "collect", "--request-log", str(log), "--folder", str(folder)]
    command = [sys.executable, "-c", program, *asked]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ}) as process:
        while not list(folder.glob("*.open")):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        said = process.stdout.read().decode()
    assert (process.returncode, "5 requests" in said) == (0, True)
    assert len(list(folder.glob("*.parquet"))) == 1
