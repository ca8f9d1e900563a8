"""The gateway's log reads back as what was asked of it, whatever else is in the file."""

import gzip
import json
import math
from contextlib import closing
from datetime import UTC, datetime

import numpy as np
import pytest

from serving_adapter.gateway.request_file import RequestFile, line_of
from serving_adapter.request_log import RequestOutcome, RequestRecord
from telemetry.errors import ReadError, RowError
from telemetry.readers import gateway_tail as tail
from telemetry.readers import read_trace
from telemetry.readers.gateway_tail import read_last

BEGAN = 1_700_000_000.0


def record(arrived_s, prompt=100, output=10, e2e_s=1.0, **fields):
    usual = {"endpoint": "chat", "outcome": RequestOutcome.OK, "status": 200, "stream": True,
             "usage": True, "tenant": 0, "session": -1, "attempts": 1, "instance_id": 0,
             "sequence": 1, "digest": "d" * 64, "waited_s": 0.1, "ttft_s": 0.2}  # fmt: skip
    return RequestRecord(arrived_unix_s=BEGAN + arrived_s, prompt_tokens=prompt,
                         output_tokens=output, e2e_s=e2e_s, **{**usual, **fields})  # fmt: skip


def lines(*records):
    return "".join(map(line_of, records))


@pytest.fixture
def logged(tmp_path):
    def write(*records, name="requests.jsonl"):
        path = tmp_path / name
        with closing(RequestFile(path)) as log:
            for one in records:
                log(one)
        return path

    return write


def test_what_the_gateway_writes_is_recognised_and_sorted_by_arrival(logged):
    trace = read_trace(logged(record(5.0, 300, 7, tenant=9 << 40), record(2.0, 100, 3),
                              record(3.5, 200, 5, online=False)))  # fmt: skip
    assert trace.meta.format == "gateway"
    assert trace.arrival_s.tolist() == [0.0, 1.5, 3.0]
    assert trace.prompt_tokens.tolist() == [100, 200, 300]
    assert trace.output_tokens.tolist() == [3, 5, 7]
    assert trace.tenant.tolist() == [0, 0, 1]
    assert trace.online.tolist() == [True, False, True]
    assert not any("order of time" in note for note in trace.meta.notes)


def test_a_session_goes_on_a_think_time_after_its_call_before(logged):
    trace = read_trace(logged(
        record(0.0, 640, 64, 2.0, session=77), record(1.0, 640, 64, 2.0),
        record(5.0, 768, 64, 1.0, session=77), record(5.5, 896, 64, 1.0, session=77),
    ))  # fmt: skip
    assert trace.after.tolist() == [-1, -1, 0, -1]
    assert trace.think_s[2] == pytest.approx(3.0)
    assert trace.turn.tolist() == [0, 0, 1, 2]
    assert trace.session.tolist() == [0, -1, 0, 0]
    rows = [trace.block_ids[a:b].tolist() for a, b in
            zip(trace.block_offsets, trace.block_offsets[1:], strict=False)]  # fmt: skip
    assert (len(rows[0]), rows[1], rows[2][:10]) == (10, [], rows[0])
    assert rows[3][:12] == rows[2]


def test_equal_beginnings_share_their_blocks_and_others_none(logged):
    opening = {"prefix": 5 << 50, "prefix_tokens": 128}
    trace = read_trace(logged(record(0.0, 1000, **opening), record(1.0, 1000, **opening),
                              record(2.0, 1000, prefix=3, prefix_tokens=63),
                              record(3.0, 70, prefix=6, prefix_tokens=70)))  # fmt: skip
    assert trace.block_tokens == 64
    assert np.diff(trace.block_offsets).tolist() == [2, 2, 0, 1]
    assert trace.block_ids.tolist() == [0, 1, 0, 1, 2]


def test_what_was_not_served_is_left_out_and_said_or_kept(logged):
    ends = RequestOutcome
    path = logged(
        record(0.0, output=10), record(1.0, output=30),
        record(2.0, output=0, outcome=ends.REJECTED, e2e_s=math.nan),
        record(3.0, output=0, outcome=ends.CLIENT_ERROR), record(4.0, 0, 0, endpoint="models"),
        record(5.0, output=0, endpoint="embeddings"),
    )  # fmt: skip
    trace = read_trace(path)
    assert trace.output_tokens.tolist() == [10, 30, 1]
    assert any("1 requests without a whole answer were left out" in n for n in trace.meta.notes)
    assert any("refused as wrong" in note for note in trace.meta.notes)
    assert read_trace(path, unanswered="keep").output_tokens.tolist() == [10, 30, 10, 1]


def test_rotated_files_come_first_oldest_first(logged, tmp_path):
    logged(record(20.0))
    (tmp_path / "requests.jsonl.1").write_text(lines(record(10.0)))
    (tmp_path / "requests.jsonl.2.gz").write_bytes(gzip.compress(lines(record(0.0)).encode()))
    (tmp_path / "requests.jsonl.bak").write_text("not ours")
    path = tmp_path / "requests.jsonl"
    assert read_trace(path).arrival_s.tolist() == [0.0, 10.0, 20.0]
    assert read_trace(path, rotated=False).arrival_s.tolist() == [0.0]


def test_one_torn_line_is_left_out_and_said_and_many_are_refused(write):
    whole, torn = lines(*map(record, range(5))), line_of(record(9.0))[:40]
    trace = read_trace(write("a.jsonl", whole + torn))
    assert len(trace) == 5
    assert any("1 torn lines" in note for note in trace.meta.notes)
    with pytest.raises(RowError):
        read_trace(write("b.jsonl", whole + "\n".join([torn] * 3)))


@pytest.mark.parametrize("wrong", [
    {"prompt_tokens": -1}, {"prompt_tokens": 2**40}, {"prompt_tokens": True},
    {"output_tokens": "ten"}, {"arrived_unix_s": -1.0}, {"arrived_unix_s": None},
    {"arrived_unix_s": float("nan")}, {"arrived_unix_s": 1e300}, {"e2e_s": "long"},
    {"session": 1.5}, {"session": -2}, {"tenant": 2**70}, {"prefix": [1]}, {"prefix_tokens": -3},
])  # fmt: skip
def test_a_hostile_line_is_refused_with_its_number_and_never_quoted(write, wrong):
    item = json.loads(line_of(record(1.0))) | wrong | {"secret": "kanarienvogel"}
    path = write("a.jsonl", lines(record(0.0)) + json.dumps(item) + "\n")
    with pytest.raises(RowError, match="line 2") as refused:
        read_trace(path)
    assert "kanarienvogel" not in str(refused.value)


def test_prompts_without_end_take_no_memory(write):
    huge = [record(k, 2**31 - 1, session=5) for k in range(3)]
    trace = read_trace(write("a.jsonl", lines(*huge)))
    assert (len(trace), len(trace.block_ids)) == (3, 0)
    assert any("too many" in note for note in trace.meta.notes)


def test_a_log_of_an_older_version_reads_too(write):
    item = json.loads(line_of(record(0.0)))
    for name in ("online", "prefix", "prefix_tokens", "arm", "compared"):
        del item[name]
    assert len(read_trace(write("a.jsonl", json.dumps(item) + "\n"))) == 1


def test_the_last_hour_is_read_from_behind(logged, monkeypatch):
    monkeypatch.setattr(tail, "CHUNK_BYTES", 1000)
    path = logged(*(record(60.0 * k, prompt=k + 1) for k in range(300)))
    seen = []
    ends = tail._end_s
    monkeypatch.setattr(tail, "_end_s", lambda line: seen.append(line) or ends(line))
    last = read_last(path)
    assert last.trace.prompt_tokens.tolist() == list(range(241, 301))
    assert last.began_at == datetime.fromtimestamp(BEGAN + 60.0 * 299 + 1.0 - 3600.0, UTC)
    assert last.trace.arrival_s[0] == pytest.approx(59.0)
    assert len(seen) < 200


def test_the_last_hour_goes_on_in_what_was_rotated(logged, tmp_path):
    logged(record(7200.0, 3))
    (tmp_path / "requests.jsonl.1").write_text(lines(record(0.0, 1), record(7100.0, 2)) + '{"to')
    (tmp_path / "requests.jsonl.2").write_text("this is not even a log")
    assert read_last(tmp_path / "requests.jsonl").trace.prompt_tokens.tolist() == [2, 3]


def test_a_short_log_is_its_own_last_hour(logged):
    last = read_last(logged(record(0.0), record(1.0)))
    assert (len(last.trace), last.began_at) == (2, datetime.fromtimestamp(BEGAN, UTC))


def test_without_a_request_there_is_no_last_hour(tmp_path, logged):
    for path in (tmp_path / "none.jsonl", logged(), logged(record(0.0, output=0), name="b.jsonl")):
        with pytest.raises(ReadError):
            read_last(path)
