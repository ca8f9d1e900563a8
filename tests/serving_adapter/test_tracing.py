"""Spans of requests: the conventions' names, the caller's context continued, and never text."""

import math
import sys

import pytest
from aiohttp import web

from serving_adapter import tracing
from serving_adapter.errors import AdapterError
from serving_adapter.facts import RequestFacts
from serving_adapter.request_log import RequestOutcome, Visit

SECRET = "the quick brown fox"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def exported():
    """Tracing into memory: what traces, its spans, and what was measured."""
    reason = "OpenTelemetry is an extra: install evolver[otel]"
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason=reason)
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, reader, tracers = InMemorySpanExporter(), InMemoryMetricReader(), sdk.TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    yield tracing.OpenTelemetry(tracers, MeterProvider([reader])), spans, reader
    tracers.shutdown()


def engine(seen) -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        seen.append(dict(request.headers))
        usage = {"prompt_tokens": 5, "completion_tokens": 3}
        return web.json_response({"choices": [{"text": SECRET}], "usage": usage})

    app = web.Application()
    app.router.add_post("/v1/{rest:.*}", answer)
    return app


async def test_a_span_says_what_was_asked_who_decided_and_what_came_of_it(
    serve, stand, exported, word_digest
):
    otel, spans, reader = exported
    seen = []
    gate = await stand(await serve(engine(seen)), parts={"tracing": otel})
    await gate.host.swap("first", 4)
    body = {"model": "tiny", "max_tokens": 3, "temperature": 0.5,
            "messages": [{"role": "user", "content": SECRET}], "user": SECRET}  # fmt: skip
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "theirs=1"}
    url = gate.url + "/v1/chat/completions"
    async with gate.client.post(url, json=body, headers=headers) as answer:
        assert answer.status == 200
    await gate.recorded(1)
    (span,) = spans.get_finished_spans()
    assert (span.name, span.kind.name) == ("chat tiny", "SERVER")
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "tiny",
        "gen_ai.request.max_tokens": 3,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.stream": False,
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 3,
        "http.response.status_code": 200,
        "evolver.sequence": 4,
        "evolver.policy": word_digest("first"),
        "evolver.instance": 0,
        "evolver.attempts": 1,
        "evolver.outcome": "ok",
    }
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert seen[0]["traceparent"] == f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert SECRET not in span.to_json() + reader.get_metrics_data().to_json()


async def test_a_request_that_fails_is_an_error_and_no_models_series(stand, exported):
    otel, spans, reader = exported
    gate = await stand(parts={"tracing": otel})
    async with gate.ask(model="anything a client likes") as answer:
        assert answer.status == 503
    (span,) = spans.get_finished_spans()
    assert (span.status.status_code.name, span.attributes["error.type"]) == ("ERROR", "503")
    assert "anything" not in reader.get_metrics_data().to_json()


def test_streams_are_measured_by_first_token_and_per_token(exported, word_digest):
    otel, spans, reader = exported
    visit = Visit("chat", 0.0, RequestFacts(arrived_s=1.0, prompt_tokens=1, stream=True))
    visit.first_token_s, visit.output_tokens = 1.5, 11
    visit.ended(RequestOutcome.OK, 200)
    trace = otel.begin("chat", {"model": "tiny", "stream": True}, {})
    trace.ended(visit.record(3.5))
    (scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
    sums = {metric.name: metric.data.data_points[0].sum for metric in scope.metrics}
    assert sums == {
        "gen_ai.server.request.duration": 2.5,
        "gen_ai.server.time_to_first_token": 0.5,
        "gen_ai.server.time_per_output_token": pytest.approx(0.2),
    }
    (span,) = spans.get_finished_spans()
    assert span.attributes["gen_ai.response.time_to_first_chunk"] == 0.5


def test_numbers_that_no_exporter_can_carry_are_left_out(exported):
    otel, spans, _ = exported
    body = {"model": 3, "seed": 2**70, "top_p": "x", "max_tokens": True, "temperature": math.inf}
    visit = Visit("embeddings", 0.0, RequestFacts(arrived_s=0.0, prompt_tokens=1))
    otel.begin("embeddings", body, {}).ended(visit.record(1.0))
    (span,) = spans.get_finished_spans()
    assert span.name == "embeddings"
    assert not [name for name in span.attributes if name.startswith("gen_ai.request")]


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(AdapterError, match="otel"):
        tracing.OpenTelemetry()


def test_a_name_that_has_no_utf8_does_not_cost_a_batch_of_spans(exported):
    otel, spans, _ = exported
    visit = Visit("chat", 0.0, RequestFacts(arrived_s=0.0, prompt_tokens=1))
    otel.begin("chat", {"model": "a\ud800"}, {}).ended(visit.record(1.0))
    (span,) = spans.get_finished_spans()
    assert (span.name, span.attributes["gen_ai.request.model"]) == ("chat a?", "a?")
