"""Machine code and numpy bring rows up to a decision to the same bits."""

import math
import random

import pytest

from sandbox import contract
from sandbox.records import new_rows
from serving_adapter import refreshing
from serving_adapter.instance_rows import columns_of
from serving_adapter.refreshing import LEAST_CHANGES, Refresher
from serving_adapter.row_code import row_code
from serving_adapter.seen_rows import CHANGE_BYTES, NO_AGES

COUNTS = ("running_requests", "context_tokens", "kv_used_tokens")
FLOATS = ("predicted_remaining_tokens", "step_base_s", "step_per_seq_s", "step_per_context_s")


def refreshers(size: int, monkeypatch: pytest.MonkeyPatch, *, counted: bool):
    """Rows, since when, and a refresher of each: by machine code, and by numpy."""
    made = []
    for code in (row_code(), None):
        monkeypatch.setattr(refreshing, "row_code", lambda code=code: code)
        rows, since_s = new_rows(contract.Instance, size), NO_AGES.repeat(size, axis=0)
        made.append((rows, since_s, Refresher(rows, columns_of(rows), since_s, counted=counted)))
    return made


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("size", [0, 1, 16, 41])
def test_both_ways_are_one(size, counted, monkeypatch):
    pytest.importorskip("llvmlite")
    both, draw = refreshers(size, monkeypatch, counted=counted), random.Random(size)
    for turn in range(50):
        for position in draw.sample(range(size), draw.randint(0, size)):
            values = {name: draw.choice((-1, 0, 1, 17, 10**12)) for name in COUNTS}
            values |= {name: draw.choice((0.0, 1e-9, 0.3, math.nan)) for name in FLOATS}
            since = [draw.choice((math.nan, math.inf, turn - 0.3, turn + 9.0)) for _ in range(2)]
            for rows, since_s, refresher in both:
                for name, value in values.items():
                    rows[name][position] = value
                since_s[position] = since
                refresher.changed[position] = 1
        found = set()
        for _, _, refresher in both:
            refresher.write(float(turn))
            log, n_changes, own_bytes = refresher.seen()
            found.add((bytes(refresher.changed), n_changes, own_bytes))
            rows, since_s = log.after(n_changes)
            found.add((rows.tobytes(), since_s.tobytes()))
        assert both[0][0].tobytes() == both[1][0].tobytes()
        assert len(found) == 2


def test_only_a_row_that_changed_is_noted_once(monkeypatch):
    for rows, _, refresher in refreshers(24, monkeypatch, counted=True):
        refresher.write(1.0)
        log, n_changes, own_bytes = refresher.seen()
        assert (n_changes, own_bytes) == (0, 24 * (rows.itemsize + 16))
        for _ in range(2):
            refresher.changed[8] = 1
            refresher.write(2.0)
        refresher.write(3.0)
        assert refresher.seen() == (log, 2, 2 * CHANGE_BYTES)
        assert not any(refresher.changed)


def test_a_full_log_is_followed_by_another_and_stays_as_it_was(monkeypatch):
    for rows, _, refresher in refreshers(3, monkeypatch, counted=True):
        seen, logs = [], set()
        for turn in range(2 * LEAST_CHANGES):
            rows["context_tokens"][turn % 3] = turn
            refresher.changed[turn % 3] = 1
            refresher.write(0.0)
            log, n_changes, _ = refresher.seen()
            seen.append((log, n_changes, rows.tobytes()))
            logs.add(id(log))
        assert len(logs) > 1
        assert all(log.after(count)[0].tobytes() == was for log, count, was in seen)


def test_where_memory_may_not_become_code_rows_are_refreshed_without(monkeypatch, caplog):
    binding = pytest.importorskip("llvmlite.binding")

    def forbidden():
        raise OSError("cannot allocate executable memory")

    monkeypatch.setattr(binding, "check_jit_execution", forbidden)
    assert row_code.__wrapped__() is None
    assert "executable memory" in caplog.text
