"""Capacity formats: polarity is declared, segments are chosen aloud, the manifest's counts hold."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.capacity import as_availability
from telemetry.capacity_readers import read_capacity
from telemetry.capacity_readers.cluster_tables import DLRM_HEADER
from telemetry.capacity_readers.form import lives
from telemetry.errors import FormatError, RowError, TelemetryError
from telemetry.readers import read_trace


def spot(*data, **extra) -> str:
    return json.dumps({"metadata": {"gap_seconds": 60}, "data": list(data)} | extra)


@pytest.mark.parametrize(("options", "counts"), [
    ({"polarity": "available"}, [1, 0, 0]), ({"polarity": "preempted"}, [0, 1, 1]),
    ({"format": "adrs"}, [0, 1, 1]),
])
def test_a_single_spot_series_means_what_is_declared(write, options, counts):
    trace = read_capacity(write("x.json", spot(1, 0, 0)), **options)
    assert trace.sampled(60.0).tolist() == counts


def test_an_undeclared_polarity_is_refused_with_the_flags_to_pass(write):
    with pytest.raises(FormatError, match=r"--polarity available.*--format adrs"):
        read_capacity(write("x.json", spot(1, 0, 0)))


def test_an_archive_of_adrs_copies_is_not_taken_for_skypilots(pack):
    path = pack("x.tar.gz", {"us-west-2a_v100_8.json": spot(1, 0, generator="random")})
    with pytest.raises(FormatError, match="--polarity"):
        read_capacity(path)
    assert read_capacity(path, polarity="preempted").sampled(60.0).tolist() == [0, 1]


def test_skypilot_zones_shapes_and_counts(pack):
    trace = read_capacity(pack("x.tar.gz", {"us-a_v100_8.json": spot(0, 2, 1),
                                            "us-b_k80_1.json": spot(1, 1, 0, 0)}))
    assert trace.sampled(60.0).tolist() == [1, 3, 1]
    assert sorted(trace.gpus.tolist()) == [1, 8, 8]
    assert (trace.models, trace.zones) == (("k80", "v100"), ("z0", "z1"))
    assert any("cut to the shortest" in note for note in trace.meta.notes)


def test_a_count_above_one_cannot_mean_preempted(write):
    with pytest.raises(TelemetryError, match="polarity=available"):
        read_capacity(write("x.json", spot(1, 2)), polarity="preempted")


def test_bamboo_lays_machines_into_slots(write):
    text = "0,add,a\n0,add,b\n5000,remove,a\n6000,add,c\n9000,remove,b\n"
    trace = read_capacity(write("x.csv", text))
    assert (trace.nodes, trace.span_s) == (2, 9.0)
    assert trace.sampled(1.0).tolist() == [2, 2, 2, 2, 2, 1, 2, 2, 2]


def test_bamboo_out_of_order_is_sorted_and_said(write):
    trace = read_capacity(write("x.csv", "0,add,a\n9000,remove,a\n4000,add,b\n"))
    assert any("sorted" in note for note in trace.meta.notes)


def test_parcae_takes_the_first_segment_aloud_or_the_one_named(pack):
    def segment(count: int) -> str:
        nodes = [f"n{at}" for at in range(count)]
        return (json.dumps([0, "add", {"nodes": nodes}]) + "\n"
                + json.dumps([60000, "no-op", {"nodes": []}]) + "\n")

    path = pack("x.tar.gz", {"trace_ll.txt": segment(2), "trace_hh.txt": segment(5)})
    first, named = read_capacity(path), read_capacity(path, segment="ll")
    assert (first.nodes, named.nodes, first.span_s) == (5, 2, 120.0)
    assert "trace_ll.txt" in first.meta.notes[0]
    with pytest.raises(FormatError, match="give segment="):
        read_capacity(path, segment="zz")


def test_toad_nodes_are_up_while_probes_find_them(write):
    def line(minute: int, text: str) -> str:
        return f"[2020-03-01T10:{minute:02}:00.000Z] {text}\n"

    text = (line(0, "Created instance i0 with 8 GPU(s) of type nvidia-tesla-v100 in zone us-w1-b")
            + line(1, "Instance i1 creation failed") + line(10, "Instance i0 running in zone us-w1")
            + line(20, "Instance i0 not running in zone us-w1-b")
            + line(30, "Successfully deleted instance i0"))
    trace = read_capacity(write("x.out.gz", text))
    assert trace.sampled(600.0).tolist() == [1, 1, 0]
    assert trace.gpus.tolist() == [8, 1]


def test_infinitehbd_counts_days_and_starts_down_where_a_fault_only_ends(write):
    events = [{"node_id": "a", "event_time": 1.0, "event_type": "fault_end"},
              {"node_id": "b", "event_time": 2.0, "event_type": "fault_start"}]
    trace = read_capacity(write("x.json", json.dumps(events)))
    assert trace.kind == "faults"
    assert trace.initial_up.tolist() == [False, True]
    assert trace.time_s.tolist() == [86_400.0, 172_800.0]


def test_helios_idle_gpus_are_floored_to_nodes(write):
    head = "time,total_job_num,running_job_num,pending_job_num,idle_gpu_num\n"
    rows = "".join(f"2020-05-01 00:0{at}:00,1,1,0,{idle}\n" for at, idle in enumerate((17, 7, 8)))
    trace = read_capacity(write("h.csv", head + rows))
    assert trace.sampled(60.0, gpus=True).tolist() == [16, 0, 8]


def test_hourly_demand_is_demand_until_it_is_converted(write):
    trace = read_capacity(write("d.csv", "hour,A10,H800\n0,9.5,16\n1,1,0\n"))
    assert (trace.kind, trace.sampled(3600.0).tolist()) == ("demand", [4, 1])
    assert as_availability(trace).sampled(3600.0).tolist() == [0, 3]
    assert read_capacity(write("d.csv", "hour,A10,H800\n0,9.5,16\n1,1,0\n"),
                         gpu_model="A10").models == ("A10",)


def test_dlrm_blank_times_lie_outside_the_log(write):
    header = ",".join(DLRM_HEADER)
    rows = "".join(f"i,HN,a,1,1,{gpu},1,1,1,1,1,1,1,8,{born},,{dead}\n" for gpu, born, dead in (
        (1, "", ""), (1, "", "10"), (1, "20", "30"), (0, "5", "6")))
    trace = read_capacity(write("d.csv", header + "\n" + rows))
    assert trace.kind == "demand"
    assert trace.sampled(5.0).tolist() == [2, 2, 1, 1, 2, 2]


@pytest.mark.parametrize(("name", "text", "problem"), [
    ("x.csv", "0,add,a\n5,explode,a\n", "line 2"),
    ("x.json", '{"metadata": {"gap_seconds": 60}, "data": [1, -1]}', "list of counts"),
    ("x.json", '[{"node_id": "a", "event_time": "soon"}]', "event 1"),
    ("x.txt", '[0, "add", {"nodes": ["a"]}]\n[true, "add", {"nodes": [1]}]\n', "line 2"),
])
def test_a_malformed_row_is_refused_with_a_remedy(write, name, text, problem):
    options = {"polarity": "available"} if "gap_seconds" in text else {}
    with pytest.raises(RowError, match=problem) as caught:
        read_capacity(write(name, text), **options)
    assert "drop" in str(caught.value) or "download" in str(caught.value)


def test_request_and_capacity_files_are_not_taken_for_each_other(write):
    with pytest.raises(FormatError, match="--capacity"):
        read_trace(write("x.csv", "0,add,a\n"))
    with pytest.raises(FormatError, match="no capacity format"):
        read_capacity(write("x.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n0,1,1\n"))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 20)), min_size=1, max_size=20))
def test_slots_hold_every_life_and_no_more_than_there_were_at_once(spans):
    births, deaths = [float(b) for b, _ in spans], [float(b + d) for b, d in spans]
    born = lives(births, deaths)
    at = np.arange(0.25, 60.0)
    alive = [sum(b <= t < d for b, d in zip(births, deaths, strict=True)) for t in at]
    assert born.slots == max(alive)


@pytest.mark.parametrize("name", [
    "skypilot_aws_v100_9zones_2023-02", "skypilot_aws_v100_4node_2023-08",
    "skypilot_aws_v100_k80_2zones_2022-10", "bamboo_p3", "helios_earth_vcvlY"])
def test_counts_equal_the_manifest(reference, manifest, name):
    entry, stats = manifest[name], manifest[name]["stats"]
    trace = read_capacity(reference / entry["file"])
    level = trace.sampled(stats["gap_s"], gpus="helios" in name)
    assert level.max() == stats["max"]
    assert level.mean() == pytest.approx(stats["mean"], rel=0.01)
    assert trace.span_s == pytest.approx(entry["span_s"])


@pytest.mark.parametrize(("name", "kind"), [
    ("parcae_p3_segments", "availability"), ("infinitehbd_fault_trace", "faults"),
    ("alibaba_dlrm_2025", "demand"), ("alibaba_spot2026_hourly_gpus_requested", "demand"),
    ("toad_gcp_2020-03-01", "availability"), ("helios_earth_vchbv", "availability")])
def test_every_other_capacity_file_is_recognised_as_its_kind(reference, manifest, name, kind):
    trace = read_capacity(reference / manifest[name]["file"])
    assert trace.kind == kind
    assert as_availability(trace).counts()[1].max() > 0


def test_the_adrs_sample_needs_its_declaration(reference, manifest):
    path = reference / manifest["adrs_inverse_polarity_sample"]["file"]
    with pytest.raises(FormatError, match="--polarity"):
        read_capacity(path)
    flipped = read_capacity(path, polarity="available").sampled(600.0)
    assert (read_capacity(path, format="adrs").sampled(600.0) + flipped == 1).all()
