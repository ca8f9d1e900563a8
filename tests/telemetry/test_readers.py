"""Each reader refuses what it cannot know and says what it mended."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry.errors import FormatError, ReadError, RowError, TelemetryError
from telemetry.readers import TRACE_FORMATS, read_trace
from telemetry.readers import source as source_module
from telemetry.readers.genai import LORA_HEADER
from telemetry.trace import Trace, TraceMeta

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
LORA = ",".join(LORA_HEADER) + "\n"
LMSYS = "req_id,adapter_dir,prompt_len,output_len,req_time\n"
VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens\n"


def mooncake(*rows) -> str:
    return "".join(json.dumps({"timestamp": t, "input_length": i, "output_length": o,
                               "hash_ids": h}) + "\n" for t, i, o, h in rows)


def weka(**changes) -> str:
    calls = [{"t": 0.0, "type": "n", "in": 128, "out": 5, "hash_ids": [1, 2], "api_time": 2.0},
             {"t": 20.0, "type": "subagent", "duration_ms": 18000, "requests": [
                 {"t": 0.0, "type": "n", "in": 64, "out": 3, "hash_ids": [9], "api_time": 1.0}]},
             {"t": 30.0, "type": "n", "in": 192, "out": 7, "hash_ids": [1, 2, 3], "api_time": 1.0,
              "think_time": 28.0}]
    session = {"id": "x", "block_size": 64, "hash_id_scope": "local", "requests": calls}
    return json.dumps(session | changes)


@pytest.mark.parametrize("stamps", [
    ("2023-11-16 18:17:03.9799600", "2023-11-16 18:17:05.9799600"),
    ("2024-05-10 00:00:00.009930+00:00", "2024-05-10 00:00:02.009930+00:00"),
    ("2024-05-10 00:00:00+00:00", "2024-05-10 00:00:02.000000+00:00"),
])
def test_azure_reads_every_published_time_stamp(write, stamps):
    trace = read_trace(write("a.csv.gz", AZURE + "".join(f"{s},7,3\n" for s in stamps)))
    assert trace.arrival_s.tolist() == [0.0, 2.0]


def test_azure_multimodal_is_told_apart_by_its_header(write):
    path = write("a.csv", "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n"
                          "2024-10-15T12:00:00.269Z,2,770,491\n")
    assert read_trace(path).meta.format == "azure_lmm"


def test_burstgpt_drops_failures_unless_told_to_keep_them(write):
    path = write("b.csv", BURST + "5,ChatGPT,472,18,490,x\n9,ChatGPT,10,0,10,x\n")
    assert len(read_trace(path)) == 1
    kept = read_trace(path, empty_outputs="keep")
    assert kept.output_tokens.tolist() == [18, 1]


def test_burstgpt_3_keeps_sessions_and_turns_but_no_sender_chosen_name(write):
    head = BURST.replace("Timestamp,", "Timestamp,Session ID,Elapsed time,")
    path = write("b.csv", head + "".join(f"{t},{s},4,GPT-4,9,4,13,x\n" for t, s in
                                         ((1, "secret"), (2, "other"), (3, "secret"))))
    trace = read_trace(path)
    assert trace.session.tolist() == [0, 1, 0]
    assert trace.turn.tolist() == [0, 0, 1]


def test_burstgpt_warns_of_rows_that_look_fabricated(write):
    path = write("b.csv", BURST + "".join(f"{t},ChatGPT,9,4,13,x\n" for t in range(20)))
    assert "fabricated" in " ".join(read_trace(path).meta.notes)


def test_mooncake_reads_milliseconds_and_global_blocks(write):
    trace = read_trace(write("m.jsonl", mooncake((0, 600, 5, [7, 8]), (1500, 600, 5, [7, 9]))))
    assert trace.arrival_s.tolist() == [0.0, 1.5]
    assert (trace.block_tokens, trace.block_ids.tolist()) == (512, [0, 1, 0, 2])


def test_qwen_follows_parents_into_sessions(write):
    rows = [(1, -1, 1), (2, 1, 2), (3, -1, 1), (4, 2, 3)]
    text = "".join(json.dumps({
        "chat_id": chat, "parent_chat_id": parent, "timestamp": chat * 1.5, "input_length": 20,
        "output_length": 4, "type": "text", "turn": turn, "hash_ids": [chat]}) + "\n"
        for chat, parent, turn in rows)
    trace = read_trace(write("q.jsonl", text))
    assert trace.session.tolist() == [0, 0, 1, 0]
    assert trace.turn.tolist() == [0, 1, 0, 2]


def test_servegen_requests_are_marked_as_generated(write):
    row = {"request_id": 0, "timestamp": 3.5, "client_id": 9,
           "data": {"input_tokens": 5, "output_tokens": 2}}
    trace = read_trace(write("s.jsonl", json.dumps(row) + "\n"))
    assert trace.meta.generated
    assert trace.tenants == ("t0",)


def test_servegen_statistics_realise_their_rate_and_lengths(pack):
    path = pack("s.tar.gz", {
        "x/chunk-0-trace.csv": "0,2.0,1.0,Gamma,1.0,0.5\n600,0,,0,0\n1200,2.0,1.0,Weibull,1,1\n",
        "x/chunk-0-dataset.json": json.dumps({"0": {
            "input_tokens": "{10: 0.5, 20: 0.5}", "output_tokens": "{3: 1.0}"}})})
    trace = read_trace(path, seed=4)
    assert len(trace) == pytest.approx(2400, rel=0.1)
    assert set(trace.prompt_tokens.tolist()) == {10, 20}
    assert not ((trace.arrival_s > 600) & (trace.arrival_s < 1200)).any()


def test_servegen_statistics_repeat_with_their_seed(pack):
    members = {"chunk-0-trace.csv": "0,2.0,3.0,Gamma,0.1,5\n", "chunk-0-dataset.json": json.dumps(
        {"0": {"input_tokens": "{10: 0.5, 20: 0.5}", "output_tokens": "{3: 1.0}"}})}
    path = pack("s.tar.gz", members)
    assert read_trace(path, seed=1).digest() == read_trace(path, seed=1).digest()
    assert read_trace(path, seed=1).digest() != read_trace(path, seed=2).digest()


def test_weka_sub_agents_start_with_their_parent_and_the_next_call_waits_for_them(pack):
    trace = read_trace(pack("w.tar.gz", {"traces/a.json": weka()}))
    assert trace.arrival_s.tolist() == [0.0, 2.0, 30.0]
    assert trace.after.tolist() == [-1, 0, 1]
    assert trace.think_s.tolist() == [0.0, 0.0, 27.0]


def test_weka_the_call_after_several_sub_agents_joins_on_all_of_them(pack):
    document = json.loads(weka())
    asking, first, after = document["requests"]
    longer = {"t": 25.0, "type": "subagent", "duration_ms": 23000, "requests": [
        {"t": 0.0, "type": "n", "in": 64, "out": 3, "hash_ids": [9], "api_time": 20.0}]}
    requests = [asking, first, longer, after]
    trace = read_trace(pack("w.tar.gz", {"traces/a.json": weka(requests=requests)}))
    assert trace.after.tolist() == [-1, 0, 0, 2]
    assert (trace.join_rows.tolist(), trace.joins.owners.tolist()) == ([1], [3])
    assert trace.think_s.tolist() == [0.0, 0.0, 0.0, 8.0]


def test_weka_hash_ids_are_local_to_a_session(pack):
    trace = read_trace(pack("w.tar.gz", {"traces/a.json": weka(), "traces/b.json": weka()}))
    first = set(trace.block_ids[trace.blocks.offsets[0] : 2].tolist())
    assert int(trace.block_ids.max()) + 1 == 2 * 4
    assert first == {0, 1}


def test_weka_of_another_block_size_is_refused(pack):
    with pytest.raises(FormatError, match="64-token blocks"):
        read_trace(pack("w.tar.gz", {"traces/a.json": weka(block_size=16)}))


def test_lora_declares_its_surrogate_for_tokens(write):
    rows = ("2024-11-15 18:16:14,TXT_2_IMG,SUCCEED,43.0,G1,93.0,,2.0,40.0,M1,0\n"
            "2024-11-15 16:57:50,TXT_2_IMG,SUCCEED,32.0,G0,63.0,26.0,1.0,30.0,M0,0\n"
            "2024-11-15 19:00:00,TXT_2_IMG,FAILED,32.0,G0,63.0,26.0,1.0,30.0,M0,0\n")
    trace = read_trace(write("l.csv", LORA + rows))
    assert trace.prompt_tokens.tolist() == [23, 24]
    assert trace.output_tokens.tolist() == [30, 80]
    assert all(word in " ".join(trace.meta.notes) for word in ("denoising", "dropped", "sorted"))


def test_qps_draws_the_rate_summed_over_containers(pack):
    lines = [f"{57 * at}.0,0.5,{box},Generative Requests" for at in range(200) for box in "ab"]
    path = pack("q.tar.gz", {
        "qps.csv": "timestamp_anon,value,container_ip,request_type\n" + "\n".join(lines) + "\n"})
    trace = read_trace(path, seed=1)
    assert trace.rate_rps == pytest.approx(1.0, rel=0.05)
    assert trace.meta.generated


def test_lmsys_tenants_get_opaque_names(write):
    trace = read_trace(write("l.csv", LMSYS + "0,lora-13,13,199,0.0\n1,lora-2,36,137,0.2\n"))
    assert trace.tenants == ("t0", "t1")


def test_vidur_and_our_own_saves_are_read(write, tmp_path):
    trace = read_trace(write("v.csv", VIDUR + "0.0,10,3\n1.5,20,4\n"))
    trace.save(tmp_path / "again.npz")
    assert read_trace(tmp_path / "again.npz").digest() == trace.digest()


def test_rows_out_of_order_are_sorted_and_said(write):
    trace = read_trace(write("v.csv", VIDUR + "2.0,10,3\n1.5,20,4\n"))
    assert trace.prompt_tokens.tolist() == [20, 10]
    assert "sorted" in trace.meta.notes[0]


@pytest.mark.parametrize(("name", "text", "line", "problem"), [
    ("a.csv", AZURE + "2023-11-16 18:17:03.97,7,3\n2023-11-16 18:17:04,x,3\n", 3, "ContextTokens"),
    ("a.csv", AZURE + "2023-11-16 18:17:03.97,7\n", 2, "2 columns"),
    ("a.csv", AZURE + "yesterday,7,3\n", 2, "time stamp"),
    ("a.csv", AZURE + "2024-05-10 00:00:00+02:00,7,3\n", 2, "time stamp"),
    ("a.csv", AZURE + "2023-11-16 18:17:03.97,-7,3\n", 2, "prompt tokens"),
    ("a.csv", AZURE + "2023-11-16 18:17:03.97,7,3.5\n", 2, "output tokens"),
    ("v.csv", VIDUR + "nan,10,3\n", 2, "time"),
    ("v.csv", VIDUR + "0,10,3\n1,99999999999,3\n", 3, "prompt tokens"),
    ("m.jsonl", mooncake((0, 1, 1, [1])) + '{"timestamp": 1}\n', 2, "missing"),
    ("m.jsonl", mooncake((0, 1, 1, [1])) + "{nonsense\n", 2, "JSON"),
    ("m.jsonl", mooncake((0, 1, 1, [1]), (1, 1, 1, [-4])), 2, "hash_ids"),
    ("m.jsonl", mooncake((0, 1, 1, [1]), ("1", 1, 1, [4])), 2, "timestamp"),
    ("m.jsonl", mooncake((0, 1, 1, [1])) + "[" * 100_000 + "\n", 2, "JSON"),
    ("s.jsonl", '{"timestamp":1,"data":{"input_tokens":1,"output_tokens":1}}\n{"data":{}}\n', 2,
     "missing"),
])
def test_a_malformed_row_is_refused_with_its_line_and_a_remedy(write, name, text, line, problem):
    with pytest.raises(RowError, match=problem) as caught:
        read_trace(write(name, text))
    assert caught.value.line == line
    assert f"line {line}" in str(caught.value)
    assert any(remedy in str(caught.value) for remedy in ("drop", "mend", "convert"))


@pytest.mark.parametrize(("members", "problem"), [
    ({"chunk-0-trace.csv": "0,2.0,1.0,Pareto,1.0,0.5\n", "chunk-0-dataset.json": "{}"}, "Gamma"),
    ({"chunk-0-trace.csv": "0,2.0,1.0,Gamma,1.0,0.5\n"}, "chunk-N-dataset"),
    ({"chunk-0-trace.csv": "0,1.0,1.0,Gamma,1,1\n", "chunk-0-dataset.json": json.dumps(
        {"0": {"input_tokens": "__import__('os')", "output_tokens": "{-1: 1}"}})},
     "no table of lengths"),
    ({"a.json": weka(requests=[{"type": "n"}])}, "lacks or garbles"),
    ({"qps.csv": "timestamp_anon,value,container_ip,request_type\n1,-4,,x\n"}, "time, rate"),
])
def test_a_malformed_archive_is_refused(pack, members, problem):
    with pytest.raises(TelemetryError, match=problem):
        read_trace(pack("x.tar.gz", members))


def test_an_unknown_format_names_the_flag(write):
    with pytest.raises(FormatError, match="--format"):
        read_trace(write("x.csv", "what,is,this\n1,2,3\n"))
    with pytest.raises(FormatError, match="--format one of"):
        read_trace(write("x.csv", AZURE), format="nonsense")


def test_an_ambiguous_file_is_never_guessed(write, monkeypatch):
    monkeypatch.setattr("telemetry.readers.TRACE_FORMATS", {
        "one": TRACE_FORMATS["vidur"], "two": TRACE_FORMATS["vidur"]})
    with pytest.raises(FormatError, match="say which with --format"):
        read_trace(write("v.csv", VIDUR + "0,1,1\n"))


def test_an_unknown_option_names_those_there_are(write):
    with pytest.raises(FormatError, match="it has empty_outputs"):
        read_trace(write("v.csv", VIDUR + "0,1,1\n"), speed=3)


@pytest.mark.parametrize("damage", [b"\x1f\x8b\x08broken", b"\xff\xfe\x00"])
def test_a_damaged_file_says_so(tmp_path, damage):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(damage)
    with pytest.raises(ReadError, match=r"a\.csv\.gz"):
        read_trace(path, format="azure")


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(ReadError, match="check the path"):
        read_trace(tmp_path / "none.csv")


def test_an_oversized_member_is_refused_before_it_is_read(pack, monkeypatch):
    monkeypatch.setattr(source_module, "MEMBER_LIMIT_BYTES", 100)
    with pytest.raises(ReadError, match="split it first"):
        read_trace(pack("w.tar.gz", {"traces/a.json": weka()}))


def test_a_compressed_bomb_is_refused(write, monkeypatch):
    monkeypatch.setattr(source_module, "TOTAL_LIMIT_BYTES", 10_000)
    with pytest.raises(ReadError, match="split it first"):
        read_trace(write("v.csv.gz", VIDUR + "0,1,1\n" * 10_000))


def test_links_and_paths_in_an_archive_touch_nothing(tmp_path):
    path, outside = tmp_path / "w.tar.gz", tmp_path / "outside.json"
    with tarfile.open(path, "w:gz") as archive:
        data = weka().encode()
        for name, kind in (("a.json", tarfile.REGTYPE), ("../outside.json", tarfile.REGTYPE),
                           ("link.json", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(data))
    assert len(read_trace(path)) == 6
    assert not outside.exists()


@given(st.text(max_size=80), st.sampled_from([AZURE, VIDUR, LMSYS, BURST, LORA, mooncake(
    (0, 1, 1, [1])), '{"timestamp":1,"data":{"input_tokens":1,"output_tokens":1}}\n']))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_any_text_gives_a_trace_or_one_of_our_errors(tmp_path, tail, head):
    path = tmp_path / "x.txt"
    path.write_text(head + tail, encoding="utf-8", errors="replace")
    said = "."
    try:
        rows = len(read_trace(path))
    except TelemetryError as error:
        rows, said = 1, str(error)
    assert rows > 0
    assert said.endswith(".")


def test_every_format_declares_its_clock_scope_and_title():
    for form in TRACE_FORMATS.values():
        assert form.clock
        assert form.title
        assert (form.block_tokens > 0) == (form.scope != "none")


def test_saving_and_reading_a_trace_with_sessions(tmp_path):
    trace = Trace.of(TraceMeta(), arrival_s=np.arange(3.0), prompt_tokens=[1, 2, 3],
                     output_tokens=[1, 2, 3], session=[0, 0, 0], after=[-1, 0, 1])
    trace.save(tmp_path / "x.npz")
    assert read_trace(tmp_path / "x.npz").after.tolist() == [-1, 0, 1]
