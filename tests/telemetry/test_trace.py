"""Laws of the columnar trace: cuts conserve, chains hold, digests tell traces apart."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.blocks import Blocks, roots
from telemetry.errors import TraceError
from telemetry.joins import Joins
from telemetry.trace import Trace, TraceMeta, concat


@st.composite
def traces(draw) -> Trace:
    rows = draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    after = np.where(rng.random(rows) < 0.4, rng.integers(-1, np.arange(rows) + 1) - 1, -1)
    after = np.maximum(after, -1)
    root = roots(after)
    parents = [[int(p) for p in range(row) if root[p] == root[row] and rng.random() < 0.3]
               for row in range(rows)]
    lists = [rng.integers(0, 9, rng.integers(0, 4)).tolist() for _ in range(rows)]
    return Trace.of(
        TraceMeta(name="t"), arrival_s=np.sort(rng.integers(0, 20, rows) / 2.0),
        prompt_tokens=rng.integers(1, 99, rows), output_tokens=rng.integers(1, 99, rows),
        tenant=rng.integers(0, 3, rows), tenants=["t0", "t1", "t2"],
        session=rng.integers(-1, 4, rows), after=after, think_s=(after >= 0) * 1.5,
        joins=Joins.of_lists(parents), blocks=Blocks.of_lists(lists, 16), span_s=12.0)


@given(traces(), st.floats(0.1, 11.9))
def test_slices_conserve_requests(trace, cut):
    left, right = trace.slice(0, cut), trace.slice(cut, trace.span_s)
    assert len(left) + len(right) == len(trace)
    assert left.span_s + right.span_s == pytest.approx(trace.span_s)


@given(traces(), st.floats(0.1, 11.9))
def test_a_slice_opens_exactly_the_chains_it_cuts(trace, cut):
    part = trace.slice(cut, trace.span_s)
    first = len(trace) - len(part)
    assert ((part.after >= 0) == (trace.after[first:] >= first)).all()


@given(traces(), st.floats(0.1, 11.9))
def test_cutting_and_joining_keeps_every_length_and_time(trace, cut):
    joined = trace.slice(0, cut).extend(trace.slice(cut, trace.span_s))
    assert joined.arrival_s == pytest.approx(trace.arrival_s)
    assert (joined.prompt_tokens == trace.prompt_tokens).all()


@given(traces(), st.floats(0.2, 5.0))
def test_scaling_the_rate_moves_starts_and_keeps_think_times(trace, factor):
    scaled = trace.scale_rate(factor)
    assert np.sort(scaled.arrival_s[scaled.after < 0]) == pytest.approx(
        np.sort(trace.arrival_s[trace.after < 0] / factor))
    assert sorted(scaled.think_s) == sorted(trace.think_s)
    assert factor == 1 or any("scaled" in note for note in scaled.meta.notes)


@given(traces())
@settings(max_examples=20)
def test_a_saved_trace_comes_back_bit_for_bit(tmp_path_factory, trace):
    path = tmp_path_factory.mktemp("saved") / "trace.npz"
    trace.save(path)
    loaded = Trace.load(path)
    assert loaded.digest() == trace.digest()
    assert loaded.meta == trace.meta


@given(traces())
def test_block_ids_are_compact_in_the_order_of_their_first_use(trace):
    seen = list(dict.fromkeys(trace.block_ids.tolist()))
    assert seen == list(range(len(seen)))


@given(traces(), traces())
def test_joined_traces_share_no_session_and_no_block(one, other):
    both = concat([one, other])
    blocks = len(set(one.block_ids.tolist())) + len(set(other.block_ids.tolist()))
    assert int(both.block_ids.max(initial=-1)) + 1 == blocks
    assert not set(both.session[: len(one)]) & set(both.session[len(one) :]) - {-1}


def test_rows_in_any_order_are_sorted_with_their_parents():
    trace = Trace.of(TraceMeta(), arrival_s=[5.0, 0.0, 2.0], prompt_tokens=[3, 1, 2],
                     output_tokens=[1, 1, 1], after=[1, -1, 1])
    assert trace.prompt_tokens.tolist() == [1, 2, 3]
    assert trace.after.tolist() == [-1, 0, 0]


def test_columns_cannot_be_written():
    trace = Trace.of(TraceMeta(), arrival_s=[0.0], prompt_tokens=[1], output_tokens=[1])
    with pytest.raises(ValueError, match="read-only"):
        trace.prompt_tokens[0] = 7


@pytest.mark.parametrize(("column", "values", "message"), [
    ("arrival_s", [0.0, float("nan")], "not a finite number"),
    ("arrival_s", [-1.0, 0.0], "before 0"),
    ("prompt_tokens", [1, 0], "prompt has no token"),
    ("output_tokens", [1, 0], "output has no token"),
    ("prompt_tokens", [1.5, 2], "whole numbers"),
    ("output_tokens", [1, 2**40], "beyond"),
    ("after", [-1, 1], "order parents first"),
    ("think_s", [0.0, -1.0], "think time is negative"),
    ("session", [-2, 0], "session is below -1"),
    ("span_s", 0.5, "before the last arrival"),
    ("tenants", ["a", "b"], "tenant code"),
])
def test_a_column_that_breaks_a_law_is_named(column, values, message):
    columns = {"arrival_s": [0.0, 1.0], "prompt_tokens": [1, 2], "output_tokens": [1, 2],
               "tenant": [0, 2] if column == "tenants" else [0, 0], column: values}
    with pytest.raises(TraceError, match=message):
        Trace.of(TraceMeta(), **columns)


def test_a_generated_tail_stays_marked_through_cuts():
    def part(name: str, **meta) -> Trace:
        return Trace.of(TraceMeta(name=name, **meta), arrival_s=[0.0, 1.0], prompt_tokens=[1, 1],
                        output_tokens=[1, 1], span_s=2.0)

    joined = part("real").extend(part("drawn", generated_from=0))
    assert joined.meta.generated_from == 2
    assert joined.slice(1.0, 4.0).meta.generated_from == 1
    assert not joined.slice(0.0, 2.0).meta.generated


def test_a_damaged_save_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(TraceError, match="read the original file again"):
        Trace.load(path)


def test_a_pickled_save_is_never_unpickled(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, head=np.array([{"schema": 1}], dtype=object))
    with pytest.raises(TraceError, match="not a saved trace"):
        Trace.load(path)


@given(traces(), st.floats(0.1, 11.9))
def test_a_slice_keeps_exactly_the_joins_within_its_workflows(trace, cut):
    part = trace.slice(cut, trace.span_s)
    first = len(trace) - len(part)
    root = roots(part.after)
    pairs = zip(trace.joins.owners - first, trace.join_rows - first, strict=True)
    kept = [(o, p) for o, p in pairs if p >= 0 and root[o] == root[p]]
    assert list(zip(part.joins.owners, part.join_rows, strict=True)) == kept


@given(traces(), st.floats(0.2, 5.0), traces())
def test_joins_follow_their_rows_through_scaling_and_joining_traces(trace, factor, other):
    def named(t, rows):
        return sorted(zip(t.prompt_tokens[rows].tolist(), t.output_tokens[rows], strict=True))

    moved = concat([other, trace.scale_rate(factor)])
    own = len(other.join_rows)
    assert named(moved, moved.join_rows[own:]) == named(trace, trace.join_rows)
    assert named(moved, moved.joins.owners[own:]) == named(trace, trace.joins.owners)


def test_a_join_on_another_workflow_or_a_later_call_is_refused():
    columns = {"arrival_s": [0.0, 1.0, 2.0], "prompt_tokens": [1] * 3, "output_tokens": [1] * 3}
    for after, parents in (([-1, -1, 1], [0]), ([-1, 0, 0], [2])):
        with pytest.raises(TraceError, match="joins on"):
            Trace.of(TraceMeta(), **columns, after=after, joins=Joins.of_lists([[], [], parents]))


def test_a_trace_saved_without_joins_is_read_and_keeps_its_digest(tmp_path):
    plain = Trace.of(TraceMeta(name="t"), arrival_s=[0.0, 1.0], prompt_tokens=[5, 6],
                     output_tokens=[7, 8])
    plain.save(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as stored:
        columns = {name: stored[name] for name in stored.files if not name.startswith("join_")}
    head = json.loads(str(columns.pop("head")))
    with (tmp_path / "old.npz").open("wb") as out:
        np.savez(out, head=np.array(json.dumps(head | {"schema": 1})), **columns)
    assert Trace.load(tmp_path / "old.npz").digest() == plain.digest()
    assert plain.digest().startswith("f760cad4c322")
