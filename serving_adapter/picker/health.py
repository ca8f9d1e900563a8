"""The gRPC health service: `liveness`, `readiness`, and the picker's own name.

Its two messages have one field each and look on the wire like the wrappers of a string and of a
whole number, so no generated code is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf import wrappers_pb2

from serving_adapter.picker.messages import SERVICE

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
WATCH_S = 0.5


class Health:
    """Answers health checks; `ready` says whether requests are taken."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server is given."""
        ways = {
            "request_deserializer": wrappers_pb2.StringValue.FromString,
            "response_serializer": wrappers_pb2.Int32Value.SerializeToString,
        }
        methods = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check, **ways),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch, **ways),
        }
        return grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods)

    def status(self, service: str) -> int:
        """How a service is."""
        if service == "liveness":
            return SERVING
        if service not in ("", "readiness", SERVICE):
            return SERVICE_UNKNOWN
        return SERVING if self._ready() else NOT_SERVING

    async def _check(self, asked: Any, context: Any) -> Any:  # noqa: ANN401 - untyped library
        status = self.status(asked.value)
        if status == SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such service.")
        return wrappers_pb2.Int32Value(value=status)

    async def _watch(self, asked: Any, _: Any) -> AsyncIterator[Any]:  # noqa: ANN401
        told = None
        while True:
            status = self.status(asked.value)
            if status != told:
                told = status
                yield wrappers_pb2.Int32Value(value=status)
            await asyncio.sleep(WATCH_S)
