"""A metrics page that is late closes an engine, unless its answers pass by meanwhile."""

import json

import pytest

pytest.importorskip("grpc", reason="needs the envoy extra")

from serving_adapter.gateway import engines

from .conftest import BODY

SSE = b'data: {"choices":[{"text":"a"}]}\n\n'


@pytest.mark.parametrize(
    ("path", "shown", "is_open"),
    [
        ("/v1/completions", "head", True),
        ("/v1/completions", "body", True),
        ("/v1/completions", "nothing", False),
        ("/v1/models", "head", False),  # for which it need not compute
    ],
)
async def test_a_late_page_closes_an_engine_only_if_it_shows_no_answer_meanwhile(
    stand_of, monkeypatch, path, shown, is_open
):
    stand = await stand_of()
    asked, models = stand.stream(), path == "/v1/models"
    await asked.head(path, ended=models, method="GET" if models else "POST")
    await asked.answer()
    if not models:
        await asked.body(json.dumps(BODY).encode())
        await asked.answer()
    if shown == "body":
        await asked.answers(kind="text/event-stream")

    async def late(*_):
        if shown == "head":
            await asked.answers(kind="text/event-stream")
        if shown == "body":
            await asked.send(response_body={"body": SSE})
            await asked.answer()
        raise TimeoutError

    monkeypatch.setattr(engines, "read_signals", late)
    table = stand.host.table
    (chosen,) = (number for number in range(3) if table.outstanding(table.row(number)))
    monkeypatch.setattr(engines, "FAILED_SCRAPES", 1)
    await stand.picker.engines.scrape(chosen)
    assert table.is_open(chosen) == is_open
    asked.call.cancel()
