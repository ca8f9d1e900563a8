"""A picker over engines that nobody runs, and a proxy that speaks to it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from serving_adapter.exposition import Registry
from serving_adapter.host import PolicyHost
from serving_adapter.request_log import RequestRecord
from serving_adapter.safety.limits import UNWATCHED_ARM

BODY = {"model": "tiny", "prompt": [1, 2, 3], "max_tokens": 4}
ENGINES = ("http://127.0.0.1:9", "http://127.0.0.2:9", "http://127.0.0.3:9")


@dataclass
class Asked:
    """One stream of a proxy, from its side."""

    call: object
    mode: str

    async def send(self, **fields: object) -> None:
        from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc

        await self.call.write(ext_proc.ProcessingRequest(**fields))

    async def answer(self) -> object:
        return await self.call.read()

    async def head(
        self,
        path: str = "/v1/completions",
        ended: bool = False,
        subset: object = None,
        method: str = "POST",
        says_mode: bool = True,
        **headers: str,
    ) -> None:
        from envoy.config.core.v3 import base_pb2
        from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
        from google.protobuf import struct_pb2

        shown = {":method": method, ":path": path}
        shown.update({name.replace("_", "-"): value for name, value in headers.items()})
        pairs = [base_pb2.HeaderValue(key=k, raw_value=v.encode()) for k, v in shown.items()]
        message = ext_proc.ProcessingRequest(
            request_headers=ext_proc.HttpHeaders(
                headers=base_pb2.HeaderMap(headers=pairs), end_of_stream=ended
            )
        )
        if says_mode:
            message.protocol_config.request_body_mode = self.mode
            message.protocol_config.response_body_mode = self.mode
        if subset is not None:
            hint = struct_pb2.Struct()
            hint.update({"x-gateway-destination-endpoint-subset": subset})
            message.metadata_context.filter_metadata["envoy.lb.subset_hint"].CopyFrom(hint)
        await self.call.write(message)

    async def body(self, *pieces: bytes, ended: bool = True) -> None:
        for number, piece in enumerate(pieces, 1):
            last = ended and number == len(pieces)
            await self.send(request_body={"body": piece, "end_of_stream": last})

    async def answers(self, status: str = "200", served: str = "", kind: str = "") -> object:
        """Tell the picker how the answer begins."""
        from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
        from google.protobuf import struct_pb2

        message = ext_proc.ProcessingRequest()
        for name, value in ((":status", status), ("content-type", kind)):
            message.response_headers.headers.headers.add(key=name, raw_value=value.encode())
        if served:
            named = struct_pb2.Struct()
            named.update({"x-gateway-destination-endpoint-served": served})
            message.metadata_context.filter_metadata["envoy.lb"].CopyFrom(named)
        await self.call.write(message)
        return await self.answer()


@dataclass
class PickerStand:
    """A picker, what it reported, and a channel to it."""

    picker: object
    channel: object
    records: list[RequestRecord] = field(default_factory=list)

    @property
    def host(self) -> PolicyHost:
        return self.picker.host

    def stream(self, mode: str = "BUFFERED") -> Asked:
        from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as stubs

        return Asked(stubs.ExternalProcessorStub(self.channel).Process(timeout=10.0), mode)

    async def ask(self, **head: object) -> object:
        """The final response to one buffered request."""
        asked = self.stream()
        await asked.head(**head)
        await asked.answer()
        await asked.body(json.dumps(BODY).encode())
        response = await asked.answer()
        await asked.call.done_writing()
        return response


@pytest.fixture
async def stand_of(new_host) -> AsyncIterator[Callable[..., Awaitable[PickerStand]]]:
    """Builds pickers over engine URLs."""
    import grpc

    from serving_adapter.picker.exchange import PickerSettings
    from serving_adapter.picker.picker import EndpointPicker

    async with contextlib.AsyncExitStack() as stack:

        async def build(*engines: str, limits=UNWATCHED_ARM, **settings: float) -> PickerStand:
            registry, records = Registry(), []
            host = new_host(0, registry=registry, limits=limits)
            picker = EndpointPicker(
                host,
                dict.fromkeys(engines or ENGINES),
                registry,
                settings=PickerSettings(**{"scrape_s": 60.0, **settings}),
                on_request=records.append,
            )
            port = await stack.enter_async_context(picker.running("127.0.0.1:0"))
            for number in picker.engines.ids():  # nobody runs them: as if they answered scrapes
                host.table.set_open(number, True)
            channel = await stack.enter_async_context(
                grpc.aio.insecure_channel(f"127.0.0.1:{port}")
            )
            return PickerStand(picker, channel, records)

        yield build
