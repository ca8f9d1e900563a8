"""Per-request timings: what is read, and which rows are refused with their line."""

import json
from pathlib import Path

import numpy as np
import pytest

from telemetry.engine_timings import FEWEST_ROWS, MOST_LINE, read_timings
from telemetry.errors import ReadError, RowError

ROW = {"input_toks": 10, "output_toks": 3, "queued_ts": 5.0, "first_token_ts": 5.5,
       "last_token_ts": 6.5}  # fmt: skip
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "fidelity"


def written(tmp_path, *changed):
    rows = [json.dumps({**ROW, "queued_ts": 5.0 - k * 0.01}) for k in range(FEWEST_ROWS)]
    rows[: len(changed)] = changed
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_times_count_from_the_queue_in_order_of_arrival(tmp_path):
    found = read_timings(written(tmp_path))
    assert len(found) == FEWEST_ROWS
    assert found.trace.arrival_s[0] == 0.0
    assert found.ttft_s[-1] == pytest.approx(0.5)
    assert found.tpot_s[-1] == pytest.approx(0.5)


def test_text_is_not_kept(tmp_path):
    line = json.dumps(ROW | {"prompt": "a secret", "request_id": "who"})
    assert "secret" not in repr(read_timings(written(tmp_path, line)))


@pytest.mark.parametrize(
    "line",
    [
        "{", "[1]", "NaN", json.dumps(ROW | {"input_toks": 0}),
        json.dumps(ROW | {"input_toks": 1.5}), json.dumps(ROW | {"output_toks": True}),
        json.dumps(ROW | {"output_toks": 2**40}), json.dumps(ROW | {"first_token_ts": 4.0}),
        json.dumps(ROW | {"last_token_ts": 5.1}), json.dumps(ROW | {"queued_ts": "5"}),
        json.dumps(ROW).replace("6.5", "Infinity"), json.dumps(ROW).replace("6.5", "1e300"),
        '{"input_toks": ' + "[" * 50_000, " " * (MOST_LINE + 1),
    ],
)  # fmt: skip
def test_a_malformed_row_is_refused_with_its_line(tmp_path, line):
    good = json.dumps(ROW)
    with pytest.raises(RowError, match="line 2"):
        read_timings(written(tmp_path, good, line))


def test_too_few_rows_and_missing_files_are_refused(tmp_path):
    (tmp_path / "short.jsonl").write_text(json.dumps(ROW))
    with pytest.raises(ReadError, match="at least"):
        read_timings(tmp_path / "short.jsonl")
    with pytest.raises(ReadError, match="cannot be read"):
        read_timings(tmp_path / "none.jsonl")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the reference runs are not here")
def test_the_reference_runs_are_read():
    for path in SHARED.glob("*/*/requests.jsonl"):
        found = read_timings(path)
        assert len(found) == 300
        assert np.isfinite(found.tpot_s).all()
