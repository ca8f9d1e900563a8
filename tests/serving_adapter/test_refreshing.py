"""Machine code and numpy bring rows up to a decision to the same bits."""

import math
import random

import pytest

from sandbox import contract
from sandbox.records import new_rows
from serving_adapter import refreshing
from serving_adapter.instance_rows import PIECE_ROWS, columns_of
from serving_adapter.refreshing import Refresher
from serving_adapter.row_code import refresh_code
from serving_adapter.seen_rows import NO_AGES

COUNTS = ("running_requests", "context_tokens", "kv_used_tokens")
FLOATS = ("predicted_remaining_tokens", "step_base_s", "step_per_seq_s", "step_per_context_s")


def refreshers(size: int, monkeypatch: pytest.MonkeyPatch, *, counted: bool):
    """Rows, since when, and a refresher of each: by machine code, and by numpy."""
    made = []
    for code in (refresh_code(), None):
        monkeypatch.setattr(refreshing, "refresh_code", lambda code=code: code)
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
        flags = set()
        for _, _, refresher in both:
            refresher.write(float(turn))
            flags.add((bytes(refresher.changed), bytes(refresher.stale)))
            refresher.stale[:] = bytes(len(refresher.stale))
        assert both[0][0].tobytes() == both[1][0].tobytes()
        assert len(flags) == 1


def test_only_pieces_with_a_changed_row_are_stale(monkeypatch):
    for _, _, refresher in refreshers(3 * PIECE_ROWS, monkeypatch, counted=True):
        refresher.write(1.0)
        refresher.stale[:] = bytes(3)
        refresher.changed[PIECE_ROWS] = 1
        refresher.write(2.0)
        assert refresher.stale == b"\0\1\0"
        assert not any(refresher.changed)


def test_where_memory_may_not_become_code_rows_are_refreshed_without(monkeypatch, caplog):
    binding = pytest.importorskip("llvmlite.binding")

    def forbidden():
        raise OSError("cannot allocate executable memory")

    monkeypatch.setattr(binding, "check_jit_execution", forbidden)
    assert refresh_code.__wrapped__() is None
    assert "executable memory" in caplog.text
