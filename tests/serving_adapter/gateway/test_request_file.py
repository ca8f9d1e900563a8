"""The request log on disk: every record once, numbers only, and no request waits for it."""

import json
import math
import threading
import time
from pathlib import Path

import pytest

from serving_adapter.errors import AdapterError
from serving_adapter.gateway import request_file
from serving_adapter.gateway.request_file import RequestFile, line_of
from serving_adapter.request_log import RequestOutcome, RequestRecord

RECORD = RequestRecord(
    arrived_unix_s=1.5, endpoint="chat", outcome=RequestOutcome.OK, status=200, stream=True,
    prompt_tokens=3, output_tokens=4, usage=False, tenant=0, session=-1, attempts=1, instance_id=0,
    sequence=7, digest="d" * 64, waited_s=0.1, ttft_s=math.nan, e2e_s=0.5,
)  # fmt: skip


def test_records_are_appended_in_order_and_survive_a_restart(tmp_path):
    for start in (0, 100):
        log = RequestFile(tmp_path / "requests.jsonl")
        for _ in range(start, start + 100):
            log(RECORD)
        log.close()
    lines = (tmp_path / "requests.jsonl").read_text().splitlines()
    assert len(lines) == 200
    assert json.loads(lines[0])["sequence"] == 7


def test_a_rotated_file_is_followed_by_a_new_one(tmp_path):
    path, older = tmp_path / "requests.jsonl", tmp_path / "requests.jsonl.1"
    log = RequestFile(path)
    log(RECORD)
    while not path.stat().st_size:
        time.sleep(0.01)
    path.rename(older)
    log(RECORD)
    log.close()
    assert [len(one.read_text().splitlines()) for one in (older, path)] == [1, 1]


def test_what_is_not_a_number_becomes_null():
    line = json.loads(line_of(RECORD))
    assert (line["ttft_s"], line["outcome"], line["e2e_s"]) == (None, "ok", 0.5)


def test_a_log_that_falls_behind_drops_and_counts(tmp_path, monkeypatch):
    written = threading.Event()
    monkeypatch.setattr(request_file, "MAX_WAITING", 1)
    monkeypatch.setattr(request_file, "line_of", lambda _: written.wait(5) and "x")
    log = RequestFile(tmp_path / "requests.jsonl")
    for _ in range(5):
        log(RECORD)
    written.set()
    log.close()
    assert log.dropped >= 3


def test_a_full_disk_stops_nothing():
    log = RequestFile(Path("/dev/full"))
    for _ in range(3):
        log(RECORD)
    log.close()
    assert log.dropped == 3


def test_a_file_that_cannot_be_opened_is_said_at_once(tmp_path):
    with pytest.raises(AdapterError, match="name another file"):
        RequestFile(tmp_path / "none" / "requests.jsonl")
