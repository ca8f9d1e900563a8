"""The gateway as a program: follows its snapshot, serves until it is told to stop, then drains."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.signal_profiles import signal_profile
from serving_adapter.activation import Prepare
from serving_adapter.admission import Admission
from serving_adapter.background import in_background
from serving_adapter.control_plane import ControlPlane, dealing
from serving_adapter.errors import AdapterError
from serving_adapter.exposition import Registry
from serving_adapter.facts import FactReader
from serving_adapter.gateway.access import ClientKeys
from serving_adapter.gateway.gateway import Gateway
from serving_adapter.gateway.headers import EngineHeaders
from serving_adapter.gateway.listening import ClientLimits, TlsFiles, listening
from serving_adapter.gateway.request_file import RequestFile
from serving_adapter.gateway.upstream import Upstream
from serving_adapter.hash_key import NAME as HASH_KEY
from serving_adapter.hash_key import hash_key
from serving_adapter.host import PolicyHost
from serving_adapter.inbox import SnapshotInbox
from serving_adapter.instances import InstanceTable
from serving_adapter.learned_lengths import learned_lengths
from serving_adapter.preparing import load_modules
from serving_adapter.request_log import RequestRecord
from serving_adapter.safety.kill_switch import admin_application, admin_token, killed_by_signal
from serving_adapter.safety.limits import LiveLimits
from serving_adapter.tracing import NO_TRACING, Tracing
from serving_adapter.web_server import LOOPBACK

UNTRUSTED_SEQUENCE = 1

_log = logging.getLogger("evolver.gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """What one gateway process serves, and from where it takes what decides.

    Attributes:
        engines: base URLs.
        snapshot: the file to follow; it need not be there yet.
        untrusted: the source of a policy that nobody approved, to run instead.
        state: the folder of what outlives a restart: highest sequence, latches, dumps, what was
            learned of answers' lengths.
        hash_key: the deployment's key, for what is remembered and logged of names and prompts;
            in `state` without one.
        drain_s: how long a request that has begun may take after the signal to stop.
        admin_port: of the loopback listener with the kill switch; None for none.
        control: where the store's page is; None where files are all there is.
        bounds: of the watchdog.
    """

    engines: tuple[str, ...]
    host: str = LOOPBACK
    port: int = 8080
    snapshot: Path
    trust: Path
    deployment: str = "default"
    untrusted: str | None = None
    state: Path
    request_log: Path | None = None
    hash_key: Path | None = None
    drain_s: float = 60.0
    admin_port: int | None = None
    control: ControlPlane | None = None
    bounds: LiveLimits = field(default_factory=LiveLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What only the gateway has: who may come in and how, and what goes on to engines.

    Attributes:
        tls: HTTPS instead of HTTP.
        client_keys: the file with the hashes of API keys; anybody may ask without one.
        upstream: what moves the bytes in header-only mode; engines are its workers then.
    """

    tls: TlsFiles | None = None
    limits: ClientLimits = field(default_factory=ClientLimits)
    client_keys: Path | None = None
    headers: EngineHeaders = field(default_factory=EngineHeaders)
    upstream: Upstream | None = None
    tracing: Tracing = NO_TRACING


async def serve(
    settings: ServiceSettings,
    prepare: Prepare,
    announce: Callable[[str], None],
    front: Front | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then end when the requests inside have; main thread only.

    Args:
        settings: what and where.
        prepare: how a policy is loaded.
        announce: told once, in one sentence, where requests are taken and what decides.
        front: who may come in, and what passes.

    Raises:
        AdapterError: it cannot start.
    """
    front = front or Front()
    stop, hurry = told_to_stop()
    async with hosting(settings, prepare) as hosted, _tracing(front.tracing):
        gateway = _gateway(settings, front, hosted)
        async with listening(
            gateway.application(),
            settings.host,
            settings.port,
            tls=front.tls,
            limits=front.limits,
            registry=hosted.registry,
        ) as port:
            where = f"{'https' if front.tls else 'http'}://{settings.host}:{port}"
            announce(sentence_of(hosted.host, settings, where))
            await stop.wait()
            _log.info("draining: no new requests")
            await drained(gateway.drain(), hurry, settings.drain_s)


def _gateway(settings: ServiceSettings, front: Front, hosted: Hosted) -> Gateway:
    keys = front.client_keys
    return Gateway(
        hosted.host,
        {} if front.upstream else dict.fromkeys(settings.engines),
        hosted.registry,
        upstream=front.upstream,
        keys=ClientKeys(keys) if keys is not None else None,
        headers=front.headers,
        tracing=front.tracing,
        on_request=hosted.on_request,
        facts=hosted.facts,
    )


@asynccontextmanager
async def _tracing(tracing: Tracing) -> AsyncIterator[None]:
    try:
        yield
    finally:  # which waits for the collector of traces
        await asyncio.to_thread(tracing.close)


@dataclass(frozen=True, slots=True)
class Hosted:
    """A policy host that follows what it should, with its metrics and its request log."""

    host: PolicyHost
    registry: Registry
    on_request: Callable[[RequestRecord], None]
    facts: FactReader


@asynccontextmanager
async def hosting(
    settings: ServiceSettings, prepare: Prepare, door: str = "gateway"
) -> AsyncIterator[Hosted]:
    """What every program around a policy host does, whatever its door; main thread only.

    Args:
        settings: what and where.
        prepare: how a policy is loaded.
        door: name of its signal profile.

    Raises:
        AdapterError: it cannot start.
    """
    registry = Registry()
    admission = Admission(settings.trust, deployment=settings.deployment, state=settings.state)
    host = PolicyHost(
        InstanceTable(),
        registry=registry,
        prepare=prepare,
        admission=admission,
        state=settings.state,
        limits=settings.bounds,
        signals=signal_profile(door),
    )
    if settings.untrusted is not None:
        await host.swap(settings.untrusted, UNTRUSTED_SEQUENCE)
    log = settings.request_log
    key = _key(settings)
    async with AsyncExitStack() as stack:
        stack.enter_context(killed_by_signal(host))
        record = stack.enter_context(closing(RequestFile(log))) if log else _forget
        lengths = stack.enter_context(learned_lengths(settings.state))
        facts = FactReader(key, lengths, hash_prompts=log is not None)
        inbox = SnapshotInbox(settings.state, admission)
        await stack.enter_async_context(_admin(host, settings, inbox))
        await stack.enter_async_context(in_background(host.load_shadow()))
        if settings.untrusted is None:
            await stack.enter_async_context(in_background(host.follow(settings.snapshot)))
        if settings.control is not None:
            dealings = dealing(settings.control, inbox, settings.state, settings.deployment)
            await stack.enter_async_context(dealings)
        await asyncio.to_thread(load_modules)
        # What was loaded so far stays: a collection that walked it would hold up every request.
        gc.collect()
        gc.freeze()
        yield Hosted(host, registry, record, facts)


def _key(settings: ServiceSettings) -> bytes | None:
    """The deployment's key; lengths are learned by tenant, whose numbers outlive a restart by it.

    Raises:
        AdapterError: there is none, and a log or an operator asks for it.
    """
    try:
        return hash_key(settings.hash_key or settings.state / HASH_KEY)
    except AdapterError as error:
        if settings.request_log is not None or settings.hash_key is not None:
            raise
        _log.warning("%s", error)
        return None


def told_to_stop() -> tuple[asyncio.Event, asyncio.Event]:
    """Set by the first signal, and by the second."""
    first, second = asyncio.Event(), asyncio.Event()

    def told() -> None:
        (second if first.is_set() else first).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)
    return first, second


async def drained(
    draining: Coroutine[None, None, None], hurry: asyncio.Event, most_s: float
) -> None:
    """Wait for the requests inside, until they take too long or somebody insists."""
    tasks = [asyncio.create_task(draining), asyncio.create_task(hurry.wait())]
    await asyncio.wait(tasks, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
    if not tasks[0].done():
        _log.warning("stopped with requests inside")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _admin(
    host: PolicyHost, settings: ServiceSettings, inbox: SnapshotInbox
) -> AsyncIterator[None]:
    """The listener of the kill switch, where one is asked for."""
    if settings.admin_port is None:
        yield
        return
    token_file = settings.state / "admin.token"
    application = admin_application(host, admin_token(token_file), inbox)
    async with listening(application, LOOPBACK, settings.admin_port) as port:
        _log.info("kill switch on http://%s:%d, token in %s", LOOPBACK, port, token_file)
        yield


def _forget(_: RequestRecord) -> None:
    """No request log is kept."""


def sentence_of(host: PolicyHost, settings: ServiceSettings, where: str) -> str:
    """Where requests are taken and what decides, for people."""
    if settings.untrusted is not None:
        decides = f"policy {host.live.digest[:12]} decides, which nobody approved"
    elif settings.snapshot.exists():
        decides = f"the built-in default decides until {settings.snapshot} is accepted"
    else:
        decides = f"the built-in default decides, there is no {settings.snapshot} yet"
    engines = "1 engine" if len(settings.engines) == 1 else f"{len(settings.engines)} engines"
    return f"serving {engines if settings.engines else 'workers'} on {where}: {decides}"
