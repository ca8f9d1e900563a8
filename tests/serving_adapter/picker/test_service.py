"""The picker as a program: over TLS, with its pages, until a signal ends it."""

import asyncio
import os
import re
import signal
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import aiohttp
import pytest

pytest.importorskip("grpc", reason="needs the envoy extra")

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from serving_adapter.errors import AdapterError
from serving_adapter.gateway.listening import TlsFiles
from serving_adapter.gateway.service import ServiceSettings
from serving_adapter.picker.service import PickerFront, serve

CHECK = "/grpc.health.v1.Health/Check"


def certified(folder) -> TlsFiles:
    """A certificate for this machine that vouches for itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "picker")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    signed = made.add_extension(address, critical=False).sign(key, hashes.SHA256())
    files = TlsFiles(certificate=folder / "tls.pem", key=folder / "tls.key")
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    files.certificate.write_bytes(signed.public_bytes(pem))
    files.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return files


@pytest.fixture
def settings(tmp_path):
    return ServiceSettings(
        engines=("http://127.0.0.1:9",),
        port=0,
        snapshot=tmp_path / "active.json",
        trust=tmp_path / "trust.json",
        state=tmp_path / "state",
        request_log=tmp_path / "log.jsonl",
        drain_s=5.0,
    )


@pytest.fixture
def unprepared():
    def prepare(*_):
        raise AdapterError("nothing is loaded here")

    return prepare


async def test_it_serves_over_tls_and_ends_when_told(settings, tmp_path, unprepared):
    said = asyncio.get_running_loop().create_future()
    files = certified(tmp_path)
    front = PickerFront(pages_port=0, tls=files, notice_s=0.05)
    serving = asyncio.create_task(serve(settings, unprepared, said.set_result, front))
    async with asyncio.timeout(10):
        sentence = await said
        port, pages = re.findall(r"127\.0\.0\.1:(\d+)", sentence)
        trusted = grpc.ssl_channel_credentials(files.certificate.read_bytes())
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", trusted) as channel:
            check = channel.unary_unary(CHECK)
            assert await check(b"") == b"\x08\x01"
            async with aiohttp.ClientSession(f"http://127.0.0.1:{pages}") as client:
                assert (await client.get("/healthz")).status == 200
                assert (await client.get("/readyz")).status == 200
                page = await (await client.get("/metrics")).text()
                assert "evolver_engines_open 1" in page
            os.kill(os.getpid(), signal.SIGTERM)
            while await check(b"") != b"\x08\x02":  # it says so before it goes
                await asyncio.sleep(0.001)
        await serving


async def test_a_port_that_is_taken_is_said_in_a_sentence(settings, unprepared):
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    taken = server.sockets[0].getsockname()[1]
    settings = type(settings)(**{**{name: getattr(settings, name) for name in settings.__slots__},
                                 "port": taken})  # fmt: skip
    with pytest.raises(AdapterError, match="give another"):
        await serve(settings, unprepared, lambda _: None, PickerFront(pages_port=0))
    server.close()
    await server.wait_closed()
