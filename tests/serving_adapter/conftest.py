"""Servers on loopback, a fast emulated engine, and policies that are one word."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from policy_store.keys import SigningKey, TrustedKeys, new_signing_key
from policy_store.snapshot import (
    Approval,
    Snapshot,
    SnapshotCanary,
    SnapshotPolicy,
    sign_snapshot,
)
from sandbox import contract, frame
from sandbox.errors import PolicyFault
from sandbox.identity import policy_digest
from serving_adapter.activation import Memory, Prepare, Ready, Rows
from serving_adapter.admission import Admission
from serving_adapter.emulation.emulator import Emulator, EmulatorSettings
from serving_adapter.emulation.engine_model import EngineSettings
from serving_adapter.errors import PolicyUnusable
from serving_adapter.exposition import Registry
from serving_adapter.gateway.gateway import Gateway, GatewaySettings
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable
from serving_adapter.request_log import RequestRecord
from serving_adapter.safety.limits import UNWATCHED_ARM, LiveLimits
from serving_adapter.web_server import LOOPBACK, bound_port, new_runner

MODEL = "tiny"
Serve = Callable[[web.Application], Awaitable[str]]


class FlatTimes:
    """1 ms a step and 10 us a prompt token, whatever else."""

    def step_ps(self, chunks: Iterable[tuple[int, int]], batch: int, context_tokens: int) -> int:
        return 1_000_000_000 + 10_000_000 * sum(tokens for tokens, _ in chunks)


def _new_emulator(
    time_scale: float = 10.0, start_s: float = 0.0, old_metric_names: bool = False, **limits: int
) -> Emulator:
    settings = EmulatorSettings(
        MODEL,
        FlatTimes(),
        EngineSettings(**limits),
        time_scale=time_scale,
        start_s=start_s,
        old_metric_names=old_metric_names,
    )
    return Emulator(settings)


@dataclass
class WordRouter:
    """A policy whose source is one word."""

    word: str
    calls: int = 0

    def route(
        self, request: Rows, instances: Rows, memory: Memory, rotation: int, fuel: int
    ) -> int:
        self.calls += 1
        memory[0] += 1
        if self.word.startswith("faulty"):
            raise PolicyFault("route", frame.FUEL, "it ran out of fuel")
        if self.word.startswith("crash"):
            raise ZeroDivisionError("in the engine")
        special = {"hold": contract.HOLD, "reject": contract.REJECT, "invalid": 999_999}
        if self.word in special:
            return special[self.word]
        ids = [int(number) for number in instances["id"]]
        return {"first": min, "last": max}.get(self.word.split("-")[0], min)(ids)


def prepare_word(source: str, parameters: Mapping[str, float] | None = None) -> Ready:
    if source == "unusable":
        raise PolicyUnusable("The policy cannot go live: it is a test.")
    digest = policy_digest(source, parameters or {}, contract.CONTRACT_VERSION)
    return Ready(digest, None if source == "no-route" else WordRouter(source))


@pytest.fixture
def prepare_words() -> Prepare:
    """Makes one-word policies ready."""
    return prepare_word


def _word_digest(word: str) -> str:
    return policy_digest(word, {}, contract.CONTRACT_VERSION)


@pytest.fixture
def new_emulator() -> Callable[..., Emulator]:
    """Makes emulated engines that serve the model `tiny`, fast."""
    return _new_emulator


@pytest.fixture
def word_prepare() -> Prepare:
    """Loads one-word policies."""
    return prepare_word


@pytest.fixture
def word_digest() -> Callable[[str], str]:
    """The digest of a one-word policy."""
    return _word_digest


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    """The key of the store whose snapshots the hosts follow."""
    return new_signing_key(tmp_path_factory.mktemp("keys"), "ada")


NOW = datetime(2026, 1, 1, tzinfo=UTC)
APPROVED = Approval("ada", "a" * 64)


@pytest.fixture
def new_admission(signing_key: SigningKey) -> Callable[..., Admission]:
    """Makes admissions that trust the store's key, on the day the snapshots are made."""
    trusted = TrustedKeys((signing_key.public,))
    return lambda **options: Admission(trusted, **{"clock": lambda: NOW, **options})


def _policy_of(word: str | SnapshotPolicy | None) -> SnapshotPolicy | None:
    if not isinstance(word, str):
        return word
    return SnapshotPolicy(_word_digest(word), word, {}, contract.CONTRACT_VERSION, APPROVED)


@pytest.fixture
def snapshot_of(signing_key: SigningKey) -> Callable[..., Snapshot]:
    """Makes signed snapshots of one-word policies: sequence, active, last good, trials, others."""

    def build(
        sequence: int,
        active: str | SnapshotPolicy | None,
        last_good: str | None = None,
        canary: tuple[str, float] | None = None,
        shadow: str | None = None,
        **fields: object,
    ) -> Snapshot:
        policies = _policy_of(active), _policy_of(last_good)
        if canary is not None:
            fields["canary"] = SnapshotCanary(_policy_of(canary[0]), canary[1])
        fields["shadow"] = _policy_of(shadow)
        until = NOW + timedelta(days=30)
        times = {"issued_at": NOW, "not_before": NOW, "expires_at": until, "audit_head": "b" * 64}
        return sign_snapshot(Snapshot(sequence, *policies, **{**times, **fields}), signing_key)

    return build


@pytest.fixture
def new_host(new_admission: Callable[..., Admission]) -> Callable[..., PolicyHost]:
    """Makes hosts of one-word policies over some engines that nobody runs."""

    def build(engines: int = 3, **options: object) -> PolicyHost:
        table: InstanceTable = options.pop("table", InstanceTable())
        for _ in range(engines):
            table.add()
        admission = new_admission()
        return PolicyHost(table, **{"prepare": prepare_word, "admission": admission, **options})

    return build


@dataclass
class Stand:
    """A gateway in front of engines, and what it reported."""

    gateway: Gateway
    url: str
    client: aiohttp.ClientSession
    records: list[RequestRecord] = field(default_factory=list)

    @property
    def host(self) -> PolicyHost:
        return self.gateway.host

    def ask(self, **fields: object) -> aiohttp.client._RequestContextManager:
        body = {"model": MODEL, "prompt": [1, 2, 3], "max_tokens": 4, **fields}
        return self.client.post(self.url + "/v1/completions", json=body)

    async def recorded(self, count: int) -> list[RequestRecord]:
        """A record is written just after its last byte left."""
        while len(self.records) < count:
            await asyncio.sleep(0.001)
        return self.records


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves applications on loopback ports; gives their base URLs."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(app: web.Application) -> str:
            runner = new_runner(app, shutdown_timeout_s=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, LOOPBACK, 0).start()
            return f"http://{LOOPBACK}:{bound_port(runner)}"

        yield start


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def stand(serve: Serve, client: aiohttp.ClientSession) -> Callable[..., Awaitable[Stand]]:
    """Builds a gateway in front of engine URLs."""

    async def build(
        *engines: str,
        prepare: Prepare = prepare_word,
        limits: LiveLimits = UNWATCHED_ARM,
        state: Path | None = None,
        admission: Admission | None = None,
        parts: Mapping[str, object] = {},
        **settings: float,
    ) -> Stand:
        registry, records = Registry(), []
        host = PolicyHost(
            InstanceTable(),
            registry=registry,
            prepare=prepare,
            admission=admission,
            limits=limits,
            state=state,
        )
        gateway = Gateway(
            host,
            dict.fromkeys(engines),
            registry,
            settings=GatewaySettings(**{"scrape_s": 0.05, **settings}),
            on_request=records.append,
            **parts,
        )
        return Stand(gateway, await serve(gateway.application()), client, records)

    return build
