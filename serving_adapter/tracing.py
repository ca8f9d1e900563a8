"""Spans and metrics of requests under OpenTelemetry's GenAI conventions; off unless asked for.

Names are those of the conventions' present (Development) state. A span adds which policy decided,
under which sequence, and for which instance, and its context goes to the engine as `traceparent`.
Where it is exported to, how it is sampled and what the service is called is said by the standard
`OTEL_*` environment. Of a request it holds the model's name and numbers, never text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from typing import Any

from serving_adapter.errors import AdapterError
from serving_adapter.openai_api import Body
from serving_adapter.request_log import RequestOutcome, RequestRecord

MAX_MODEL_CHARS = 128
OPERATIONS: Mapping[str, str] = {
    "chat": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
}
PROVIDER = "openai"  # the API that is spoken, by whatever engine
DURATION_S = (
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
)
TOKEN_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_NUMBERS = (
    ("max_tokens", "gen_ai.request.max_tokens"),
    ("max_completion_tokens", "gen_ai.request.max_tokens"),
    ("temperature", "gen_ai.request.temperature"),
    ("top_p", "gen_ai.request.top_p"),
    ("seed", "gen_ai.request.seed"),
)


class Trace:
    """One request; this one notes nothing."""

    def sent(self, headers: MutableMapping[str, str]) -> None:
        """The request goes to an engine with these headers, to which the context is added."""

    def ended(self, record: RequestRecord) -> None:
        """The request has ended."""


class Tracing:
    """Begins a trace for every request; this one traces nothing."""

    def begin(self, endpoint: str, body: Body, headers: Mapping[str, str]) -> Trace:  # noqa: ARG002
        """A request has arrived."""
        return _NO_TRACE

    def close(self) -> None:
        """Export what is left."""


_NO_TRACE = Trace()
NO_TRACING = Tracing()


class OpenTelemetry(Tracing):
    """Exports over OTLP, or to the providers that are handed in.

    Args:
        tracers: a `TracerProvider`; None for one that exports as the environment says.
        meters: a `MeterProvider`; None likewise.

    Raises:
        AdapterError: the extra `otel` is not installed.
    """

    def __init__(self, tracers: Any = None, meters: Any = None) -> None:  # noqa: ANN401 - untyped
        try:
            from opentelemetry import propagate
            from opentelemetry.trace import SpanKind

            self._tracers = tracers or _exporting_tracers()
            self._meters = meters or _exporting_meters()
        except ImportError as error:
            raise AdapterError(
                "OpenTelemetry is not installed: add the extra, pip install 'evolver[otel]'."
            ) from error
        self._propagate, self._kind = propagate, SpanKind.SERVER
        self._tracer = self._tracers.get_tracer("evolver")
        meter = self._meters.get_meter("evolver")
        self._duration = meter.create_histogram(
            "gen_ai.server.request.duration", "s", explicit_bucket_boundaries_advisory=DURATION_S
        )
        self._first_token = meter.create_histogram(
            "gen_ai.server.time_to_first_token", "s", explicit_bucket_boundaries_advisory=DURATION_S
        )
        self._per_token = meter.create_histogram(
            "gen_ai.server.time_per_output_token", "s", explicit_bucket_boundaries_advisory=TOKEN_S
        )

    def begin(self, endpoint: str, body: Body, headers: Mapping[str, str]) -> Trace:
        """A request has arrived; its caller's context is continued."""
        if endpoint not in OPERATIONS:
            return _NO_TRACE
        asked = _asked(endpoint, body)
        carrier = {name.lower(): value for name, value in headers.items()}
        span = self._tracer.start_span(
            " ".join(
                (asked["gen_ai.operation.name"], asked.get("gen_ai.request.model", ""))
            ).strip(),
            context=self._propagate.extract(carrier),
            kind=self._kind,
            attributes=asked,
        )
        return _SpanTrace(self, span, asked)

    def inject(self, span: Any, headers: MutableMapping[str, str]) -> None:  # noqa: ANN401
        """Put the context of a span in the place of whatever the client's was."""
        from opentelemetry import trace

        for name in self._propagate.get_global_textmap().fields:
            headers.pop(name, None)
        self._propagate.inject(headers, context=trace.set_span_in_context(span))

    def measure(self, asked: Mapping[str, Any], record: RequestRecord) -> None:
        """Add a request that has ended to the histograms."""
        error = _error_of(record)
        named = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
        # What no engine has accepted is no model, and anybody could send any number of such names.
        labels = {name: asked[name] for name in named[: 2 if error else 3] if name in asked}
        self._duration.record(record.e2e_s, labels | ({"error.type": error} if error else {}))
        if error or math.isnan(record.ttft_s) or not record.stream:
            return
        self._first_token.record(record.ttft_s, labels)
        if record.output_tokens > 1:
            rest_s = record.e2e_s - record.ttft_s
            self._per_token.record(rest_s / (record.output_tokens - 1), labels)

    def close(self) -> None:
        """Export what is left."""
        self._tracers.shutdown()
        self._meters.shutdown()


class _SpanTrace(Trace):
    """One request as a span."""

    def __init__(self, tracing: OpenTelemetry, span: Any, asked: Mapping[str, Any]) -> None:  # noqa: ANN401
        self._tracing = tracing
        self._span = span
        self._asked = asked

    def sent(self, headers: MutableMapping[str, str]) -> None:
        """Have the engine's spans be children of this one."""
        self._tracing.inject(self._span, headers)

    def ended(self, record: RequestRecord) -> None:
        """Close the span with what became of the request."""
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attributes(_became(record))
        error = _error_of(record)
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR, record.outcome.value))
        self._span.end()
        self._tracing.measure(self._asked, record)


def _asked(endpoint: str, body: Body) -> dict[str, Any]:
    """What a request asks for, as attributes."""
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": OPERATIONS[endpoint],
        "gen_ai.provider.name": PROVIDER,
    }
    model = body.get("model")
    if isinstance(model, str) and model:
        # Half a character pair has no UTF-8, and one such name would cost a whole batch of spans.
        plain = model[:MAX_MODEL_CHARS].encode("utf-8", "replace").decode("utf-8")
        attributes["gen_ai.request.model"] = plain
    for name, attribute in _NUMBERS:
        value = body.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63:
            attributes[attribute] = value
    if endpoint != "embeddings":
        attributes["gen_ai.request.stream"] = body.get("stream") is True
    return attributes


def _became(record: RequestRecord) -> dict[str, Any]:
    """What became of a request, as attributes."""
    attributes: dict[str, Any] = {
        "gen_ai.usage.output_tokens": record.output_tokens,
        "http.response.status_code": record.status,
        "evolver.sequence": record.sequence,
        "evolver.policy": record.digest,
        "evolver.instance": record.instance_id,
        "evolver.attempts": record.attempts,
        "evolver.outcome": record.outcome.value,
    }
    if record.usage:  # an estimate would pass for a count
        attributes["gen_ai.usage.input_tokens"] = record.prompt_tokens
    if record.stream and not math.isnan(record.ttft_s):
        attributes["gen_ai.response.time_to_first_chunk"] = record.ttft_s
    return attributes


def _error_of(record: RequestRecord) -> str:
    if record.outcome is RequestOutcome.OK:
        return ""
    return str(record.status) if record.status >= 400 else record.outcome.value


def _exporting_tracers() -> Any:  # noqa: ANN401 - untyped
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return tracers


def _exporting_meters() -> Any:  # noqa: ANN401 - untyped
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
