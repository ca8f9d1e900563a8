"""The gRPC health service, spoken by bytes as any client does."""

import asyncio

import pytest

grpc = pytest.importorskip("grpc", reason="needs the envoy extra")

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


def asked_for(service: str) -> bytes:
    return bytes([10, len(service)]) + service.encode() if service else b""


@pytest.mark.parametrize(
    "service", ["", "readiness", "envoy.service.ext_proc.v3.ExternalProcessor"]
)
async def test_readiness_follows_the_engines_and_the_drain(stand_of, service):
    stand = await stand_of()
    check = stand.channel.unary_unary(CHECK)
    assert await check(asked_for(service)) == SERVING
    stand.picker.visits.draining = True
    assert await check(asked_for(service)) == NOT_SERVING
    stand.picker.visits.draining = False
    for number in range(3):
        stand.host.table.set_open(number, False)
    assert await check(asked_for(service)) == NOT_SERVING
    assert await check(asked_for("liveness")) == SERVING


async def test_an_unknown_service_is_not_found(stand_of):
    stand = await stand_of()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stand.channel.unary_unary(CHECK)(asked_for("other"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_watch_tells_changes(stand_of, monkeypatch):
    monkeypatch.setattr("serving_adapter.picker.health.WATCH_S", 0.005)
    stand = await stand_of()
    watched = stand.channel.unary_stream(WATCH)(asked_for(""))
    assert await watched.read() == SERVING
    stand.picker.visits.draining = True
    async with asyncio.timeout(5):
        assert await watched.read() == NOT_SERVING
    watched.cancel()
