"""Cluster events: rows, the live state, the capacity trace of the past, and the file of them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.cluster_events import (
    Change,
    ClusterEvent,
    Node,
    event_of,
    events_of,
    row_of,
)
from telemetry.cluster_events_file import EventFile
from telemetry.cluster_state import LiveCluster
from telemetry.errors import CapacityError, RowError

T = 1_800_000_000.0
ROW = {"unix_s": T, "change": "present", "node": "a", "gpus": 8, "gpu": "H100", "zone": "z1"}


def event(at, change, name="a", until=math.nan, **fields):
    return ClusterEvent(T + at, Change(change), Node(name, **fields), T + until)


def test_a_row_goes_there_and_back():
    leaving = {**ROW, "change": "leaving", "until_unix_s": T + 30}
    assert row_of(event_of(leaving, "x", 1)) == leaving
    body = json.dumps([ROW, leaving]).encode()
    assert events_of(body) == events_of("\n".join(map(json.dumps, (ROW, leaving))).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"unix_s": "now"}, {"unix_s": math.nan}, {"unix_s": 5}, {"unix_s": True},
        {"change": "lost"}, {"change": None}, {"node": ""}, {"node": "a b"}, {"node": 7},
        {"node": "x" * 200}, {"gpus": 0}, {"gpus": 10**9}, {"gpus": 1.5}, {"gpu": "<b>"},
        {"zone": "z\n1"}, {"until_unix_s": "soon"}, {"unti_unix_s": T},
    ],
)  # fmt: skip
def test_a_row_that_is_none_is_refused(change):
    with pytest.raises(RowError, match="line 1"):
        events_of(json.dumps({**ROW, **change}).encode())


@pytest.mark.parametrize("body", [b"[" * 100_000, b"{", b"3", b"[3]", b"x" * 300_000])
def test_a_body_that_is_no_rows_is_refused(body):
    with pytest.raises(RowError):
        events_of(body)


def test_the_live_state_counts_present_leaving_and_arriving():
    cluster = LiveCluster()
    cluster.take([event(0, "present", "a", gpus=8, gpu="H100"), event(0, "present", "b", gpus=8)])
    cluster.take([event(0, "present", "c", gpus=8), event(1, "arriving", "d", gpus=4)])
    cluster.take([event(2, "leaving", "b", 62, gpus=8), event(3, "leaving", "c", gpus=8)])
    h100, other = cluster.pools(T + 12)
    assert (h100.gpu, h100.present, math.isnan(h100.grace_s)) == ("H100", 8, True)
    assert (other.present, other.leaving, other.arriving) == (16, 16, 4)
    assert other.grace_s == pytest.approx(50.0)
    assert cluster.pools(T + 100)[1].present == 8


def test_late_and_repeated_events_say_nothing_new():
    cluster = LiveCluster()
    assert len(cluster.take([event(5, "present")])) == 1
    assert cluster.take([event(6, "present"), event(1, "gone"), event(7, "arriving")]) == ()
    assert len(cluster.take([event(8, "failed"), event(9, "gone")])) == 1


def test_what_a_source_no_longer_sees_is_gone_and_no_other_sources_nodes():
    cluster = LiveCluster()
    cluster.take([event(0, "present", "webhook")], "webhook")
    cluster.see("ray", [Node("a"), Node("b"), Node("c")], T)
    cluster.take([event(1, "leaving", "b")])
    found = cluster.see("ray", [Node("c"), Node("d")], T + 5)
    assert {(e.node.name, e.change) for e in found} == {
        ("a", Change.FAILED), ("b", Change.GONE), ("d", Change.PRESENT)}  # fmt: skip
    assert [e.node.name for e in cluster.nodes(T + 6)] == ["c", "d", "webhook"]


def test_the_past_is_a_capacity_trace_with_and_without_notice():
    cluster = LiveCluster()
    cluster.take([event(-50, "present", "a"), event(0, "present", "b"), event(100, "failed", "b"),
                  event(160, "present", "c"), event(200, "leaving", "a", 230)])  # fmt: skip
    trace = cluster.trace(T, T + 300)
    assert (trace.span_s, trace.kind) == (300.0, "availability")
    # The third machine takes the place of the second: there were never three.
    assert trace.nodes == 2
    assert trace.sampled(50.0).tolist() == [2, 2, 1, 1, 2, 1]
    assert trace.time_s.tolist() == [100.0, 160.0, 230.0]
    assert trace.unannounced.tolist() == [True, False, False]
    assert cluster.trace(T + 120, T + 180).sampled(30.0).tolist() == [1, 1]


def test_a_stretch_without_nodes_is_refused():
    with pytest.raises(CapacityError, match="No node"):
        LiveCluster().trace(T, T + 10)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 60), st.sampled_from(list(Change)), st.sampled_from("abcd"),
            st.integers(1, 2), st.integers(-5, 30),
        ),
        max_size=40,
    )
)  # fmt: skip
def test_the_trace_ends_where_the_live_state_is(rows):
    cluster = LiveCluster()
    cluster.take([event(-1, "present", "always")])
    for at, change, name, gpus, ahead in rows:
        cluster.take([event(at, change, name, at + ahead, gpus=gpus)])
    now = T + 100
    trace = cluster.trace(T, now)
    up = trace.state_at(100.0)
    assert int(trace.gpus[up].sum()) == sum(pool.present for pool in cluster.pools(now))
    assert np.all(np.diff(trace.time_s) >= 0)


def test_a_file_is_followed_through_half_lines_rubbish_and_rotation(tmp_path):
    path = tmp_path / "events.jsonl"
    source = EventFile(path, clock=lambda: T)
    assert source.poll() == ()
    lines = [json.dumps({**ROW, "unix_s": T + n, "node": f"n{n}"}) for n in range(4)]
    path.write_text(lines[0] + "\nrubbish\n" + lines[1][:20])
    assert [e.node.name for e in source.poll()] == ["n0"]
    assert (source.refused, source.poll()) == (1, ())
    with path.open("a") as more:
        more.write(lines[1][20:] + "\n")
    assert [e.node.name for e in source.poll()] == ["n1"]
    path.rename(tmp_path / "events.jsonl.1")
    path.write_text(lines[2] + "\n")
    assert [e.node.name for e in source.poll()] == ["n2"]
    path.write_text(lines[3] + "\n" + "[" * 10_000 + "\n")
    assert [e.node.name for e in source.poll()] == ["n3"] or source.poll() == ()


def test_a_line_dated_ahead_is_refused_and_holds_up_no_later_news(tmp_path):
    path = tmp_path / "events.jsonl"
    source, cluster = EventFile(path, clock=lambda: T), LiveCluster()
    dated = ((T + 9000, "gone"), (T, "present"))
    rows = [{**ROW, "unix_s": unix_s, "change": change} for unix_s, change in dated]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cluster.take(source.poll())
    assert (source.refused, len(cluster.nodes(T))) == (1, 1)
    assert "clock" in source.complaint


def test_a_notice_that_had_run_out_when_it_was_given_takes_the_node():
    cluster = LiveCluster()
    cluster.take([event(0, "present"), event(60, "leaving", until=50)])
    assert cluster.pools(T + 61) == ()
    assert [one.change for one in cluster.nodes(T + 61)] == []
