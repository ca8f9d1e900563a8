"""What a proxy and the picker say to each other: requests read, responses built.

Names of headers and metadata are those of the endpoint picker protocol, version 1.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from envoy.type.v3 import http_status_pb2
from google.protobuf import struct_pb2

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
DESTINATION = "x-gateway-destination-endpoint"
SERVED = "x-gateway-destination-endpoint-served"
SUBSET = "x-gateway-destination-endpoint-subset"
NAMESPACE = "envoy.lb"
SUBSET_NAMESPACE = "envoy.lb.subset_hint"
UPSTREAM_ADDRESS = "upstream.address"
PIECE_BYTES = 60 * 1024  # proxies take at most 64 KiB of a body in one response
MAX_SUBSET = 4096

Message: TypeAlias = Any
"""A `ProcessingRequest`; the generated classes have no types."""
Response: TypeAlias = Any
"""A `ProcessingResponse`."""


class BodyMode(Enum):
    """How a body reaches the picker."""

    UNREAD = "unread"  # not at all, or in pieces that cannot wait for a decision
    BUFFERED = "buffered"
    FULL_DUPLEX = "full duplex"


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of one HTTP request.

    Attributes:
        headers: names in lower case; of a repeated one, the first value.
        path: without the query.
        subset: addresses that alone may be picked; None for all.
        ended: there is no body.
        body: how the request's body comes.
        echoed: the answer's body must be sent back piece by piece.
    """

    headers: Mapping[str, str]
    path: str
    subset: frozenset[str] | None
    ended: bool
    body: BodyMode
    echoed: bool


def head_of(message: Message) -> Head:
    """Read the first message of a stream.

    A proxy that does not say how it sends bodies is one that follows the protocol: full duplex.
    """
    headers = headers_of(message.request_headers)
    duplex = ProcessingMode.FULL_DUPLEX_STREAMED
    request_mode = response_mode = duplex
    if message.HasField("protocol_config"):
        request_mode = message.protocol_config.request_body_mode
        response_mode = message.protocol_config.response_body_mode
    modes = {duplex: BodyMode.FULL_DUPLEX, ProcessingMode.BUFFERED: BodyMode.BUFFERED}
    return Head(
        headers=headers,
        path=headers.get(":path", "").split("?")[0],
        subset=_subset_of(message),
        ended=message.request_headers.end_of_stream,
        body=modes.get(request_mode, BodyMode.UNREAD),
        echoed=response_mode == duplex,
    )


def headers_of(headers: Message) -> dict[str, str]:
    """The headers of a request or of an answer."""
    found: dict[str, str] = {}
    for one in headers.headers.headers:
        value = one.raw_value.decode("utf-8", "replace") or one.value
        found.setdefault(one.key.lower(), value)
    return found


def served_of(message: Message) -> str | None:
    """Address of the engine that answered, if the proxy says it."""
    named = _metadata(message, NAMESPACE, SERVED)
    if named is not None and named.string_value:
        return str(named.string_value)
    for attributes in message.attributes.values():
        if UPSTREAM_ADDRESS in attributes.fields:
            return str(attributes.fields[UPSTREAM_ADDRESS].string_value) or None
    return None


def _subset_of(message: Message) -> frozenset[str] | None:
    named = _metadata(message, SUBSET_NAMESPACE, SUBSET)
    if named is None:
        return None
    if named.HasField("list_value"):
        values = named.list_value.values[:MAX_SUBSET]
        return frozenset(value.string_value.strip() for value in values)
    return frozenset(one.strip() for one in named.string_value.split(",", MAX_SUBSET))


def _metadata(message: Message, namespace: str, key: str) -> Message | None:
    """A value of the proxy's metadata; None when it is not there."""
    known = message.metadata_context.filter_metadata
    if namespace not in known or key not in known[namespace].fields:
        return None
    return known[namespace].fields[key]


def on_request_headers(common: Message | None = None) -> Response:
    """Let the request's head pass, changed or not."""
    return ext_proc.ProcessingResponse(request_headers=ext_proc.HeadersResponse(response=common))


def on_request_body(common: Message | None = None) -> Response:
    """Let a request's body pass as it came."""
    return ext_proc.ProcessingResponse(request_body=ext_proc.BodyResponse(response=common))


def on_response_headers(headers: Mapping[str, str]) -> Response:
    """Let an answer's head pass with headers set."""
    common = ext_proc.CommonResponse(header_mutation=_setting(headers))
    return ext_proc.ProcessingResponse(response_headers=ext_proc.HeadersResponse(response=common))


def passed(message: Message, *, echoed: bool) -> Response:
    """Let what the proxy shows pass as it is; `echoed` sends a piece of an answer back."""
    kind = message.WhichOneof("request")
    if kind == "response_headers":
        return on_response_headers({})
    if kind in ("request_trailers", "response_trailers"):
        return ext_proc.ProcessingResponse(**{kind: ext_proc.TrailersResponse()})
    if kind == "request_body":
        return on_request_body()
    piece = message.response_body
    common = _streamed(piece.body, piece.end_of_stream) if echoed else None
    return ext_proc.ProcessingResponse(response_body=ext_proc.BodyResponse(response=common))


def request_body_pieces(body: bytes, *, ended: bool) -> Iterator[Response]:
    """A request's body, sent on in pieces.

    Args:
        body: all of it.
        ended: nothing comes after it, no trailers either.
    """
    starts = range(0, max(1, len(body)), PIECE_BYTES)
    for start in starts:
        last = start + PIECE_BYTES >= len(body)
        yield on_request_body(_streamed(body[start : start + PIECE_BYTES], ended and last))


def routed(addresses: Sequence[str]) -> Message:
    """What sends a request to the first of these addresses that answers."""
    mutation = _setting({DESTINATION: ",".join(addresses)})
    return ext_proc.CommonResponse(header_mutation=mutation, clear_route_cache=True)


def with_destination(response: Response, addresses: Sequence[str]) -> Response:
    """The same response, with the addresses in the proxy's metadata, too."""
    response.dynamic_metadata.CopyFrom(
        struct_pb2.Struct(
            fields={
                NAMESPACE: struct_pb2.Value(
                    struct_value=struct_pb2.Struct(
                        fields={DESTINATION: struct_pb2.Value(string_value=",".join(addresses))}
                    )
                )
            }
        )
    )
    return response


def refused(status: int, body: bytes, headers: Mapping[str, str]) -> Response:
    """Answer the client at once with an OpenAI error object."""
    return ext_proc.ProcessingResponse(
        immediate_response=ext_proc.ImmediateResponse(
            status=http_status_pb2.HttpStatus(code=status),
            headers=_setting({"content-type": "application/json", **headers}),
            body=body,
        )
    )


def _streamed(piece: bytes, ended: bool) -> Message:
    streamed = ext_proc.StreamedBodyResponse(body=piece, end_of_stream=ended)
    return ext_proc.CommonResponse(body_mutation=ext_proc.BodyMutation(streamed_response=streamed))


def _setting(headers: Mapping[str, str]) -> Message:
    """Headers set whatever they were before."""
    return ext_proc.HeaderMutation(set_headers=list(_options(headers.items())))


def _options(headers: Iterable[tuple[str, str]]) -> Iterator[Message]:
    replace = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    for name, value in headers:
        header = base_pb2.HeaderValue(key=name, raw_value=value.encode("utf-8"))
        yield base_pb2.HeaderValueOption(header=header, append_action=replace)
