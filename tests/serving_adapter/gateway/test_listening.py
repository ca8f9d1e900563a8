"""Listening: TLS that is renewed, a cap on connections, and no patience with slow clients."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from serving_adapter.errors import AdapterError
from serving_adapter.gateway import listening as listening_module
from serving_adapter.gateway.listening import ClientLimits, TlsFiles, listening
from serving_adapter.web_server import LOOPBACK


def application() -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="x" * len(await request.read()))

    app = web.Application()
    app.router.add_route("*", "/", answer)
    return app


def certify(folder, name):
    """A certificate for this machine that vouches for itself, and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = TlsFiles(certificate=folder / "tls.pem", key=folder / "tls.key")
    pem = serialization.Encoding.PEM
    files.certificate.write_bytes(certificate.public_bytes(pem))
    plain = serialization.NoEncryption()
    files.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return files


async def common_name(port, files):
    """Whom the server on a port says it is, checked against what is on disk."""
    context = ssl.create_default_context(cafile=files.certificate)
    _, writer = await asyncio.open_connection(LOOPBACK, port, ssl=context)
    (((_, name),),) = writer.get_extra_info("peercert")["subject"]
    writer.close()
    await writer.wait_closed()
    return name


async def test_https_with_a_certificate_that_is_renewed_while_it_serves(tmp_path, monkeypatch):
    monkeypatch.setattr(listening_module, "TLS_POLL_S", 0.01)
    files = certify(tmp_path, "first")
    async with listening(application(), LOOPBACK, 0, tls=files) as port, asyncio.timeout(20):
        trust = ssl.create_default_context(cafile=files.certificate)
        url = f"https://{LOOPBACK}:{port}/"
        async with aiohttp.ClientSession() as client, client.get(url, ssl=trust) as answer:
            assert answer.status == 200
        certify(tmp_path, "second")
        while True:
            try:
                if await common_name(port, files) == "second":
                    break
            except ssl.SSLError:  # the old one, until the new one is read
                await asyncio.sleep(0.01)


async def test_only_clients_with_a_certificate_where_the_operator_wants_one(tmp_path):
    files = certify(tmp_path, "both")
    strict = TlsFiles(certificate=files.certificate, key=files.key, client_ca=files.certificate)
    async with listening(application(), LOOPBACK, 0, tls=strict) as port:
        url = f"https://{LOOPBACK}:{port}/"
        trust = ssl.create_default_context(cafile=files.certificate)
        async with aiohttp.ClientSession() as client:
            with pytest.raises((aiohttp.ClientError, OSError)):
                await client.get(url, ssl=trust)
            trust.load_cert_chain(files.certificate, files.key)
            async with client.get(url, ssl=trust) as answer:
                assert answer.status == 200


def test_tls_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "tls.pem").write_text("no certificate")
    with pytest.raises(AdapterError, match="TLS"):
        TlsFiles(certificate=tmp_path / "tls.pem", key=tmp_path / "tls.key").context()


async def test_a_connection_above_the_cap_is_told_to_come_back():
    two = ClientLimits(max_connections=2)
    async with listening(application(), LOOPBACK, 0, limits=two) as port:
        held = [await asyncio.open_connection(LOOPBACK, port) for _ in range(2)]
        await asyncio.sleep(0.02)
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        head = await asyncio.wait_for(reader.read(), 5)
        assert head.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 1" in head
        for _, one in [*held, (reader, writer)]:
            one.close()


@pytest.mark.parametrize("trickle", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET / HT"])
async def test_a_head_that_does_not_come_in_time_costs_the_connection(trickle):
    async with listening(application(), LOOPBACK, 0, limits=ClientLimits(head_s=0.05)) as port:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(trickle)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_a_second_head_that_does_not_come_in_time_neither():
    async with listening(application(), LOOPBACK, 0, limits=ClientLimits(idle_s=0.1)) as port:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.write(b"GET / HTTP/1.1\r\nHos")
        await asyncio.wait_for(reader.read(), 5)
        writer.close()


async def test_a_connection_that_waits_for_its_answer_is_not_slow():
    app = web.Application()

    async def late(_: web.Request) -> web.Response:
        await asyncio.sleep(0.3)
        return web.Response()

    app.router.add_get("/", late)
    async with listening(app, LOOPBACK, 0, limits=ClientLimits(head_s=0.05, idle_s=0.1)) as port:
        url = f"http://{LOOPBACK}:{port}/"
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            assert answer.status == 200


async def test_a_port_that_is_taken_is_said(tmp_path):
    async with listening(application(), LOOPBACK, 0) as port:
        with pytest.raises(AdapterError, match="--port"):
            async with listening(application(), LOOPBACK, port):
                pass
