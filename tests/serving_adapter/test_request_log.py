"""The whole way: requests through a real gateway, its log on disk, and the trace read from it."""

from contextlib import closing

from serving_adapter.gateway.request_file import RequestFile
from telemetry.readers import read_trace


async def test_a_log_reads_back_as_the_requests_that_were_sent(
    serve, stand, new_emulator, tmp_path
):
    gate = await stand(await serve(new_emulator().application()))
    opening = "kanarienvogel " * 40
    sent = [(opening, 4, "s1"), ("short", 2, None), (opening + "and more of it " * 50, 6, "s1"),
            (opening, 3, "s2")]  # fmt: skip
    for prompt, output, session in sent:
        headers = {"X-Session-Id": session} if session else {}
        body = {"model": "tiny", "prompt": prompt, "max_tokens": output}
        async with gate.client.post(
            gate.url + "/v1/completions", json=body, headers=headers
        ) as answer:
            assert answer.status == 200
            await answer.read()
    path = tmp_path / "requests.jsonl"
    with closing(RequestFile(path)) as log:
        for record in await gate.recorded(len(sent)):
            log(record)
    assert "kanarienvogel" not in path.read_text()
    trace = read_trace(path)
    assert trace.output_tokens.tolist() == [output for _, output, _ in sent]
    assert trace.prompt_tokens.tolist() == [-(-len(prompt) // 4) for prompt, _, _ in sent]
    assert trace.session.tolist() == [0, -1, 0, 1]
    assert trace.after.tolist() == [-1, -1, 0, -1]
    first, last = (trace.block_ids[trace.block_offsets[k] :][:2].tolist() for k in (0, 3))
    assert first == last == [0, 1]
