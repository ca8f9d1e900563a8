"""The real Envoy with the configuration that is shipped, in front of emulated engines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from serving_adapter.activation import Prepare
from serving_adapter.admission import Admission
from serving_adapter.emulation.decision_audit import DecisionLog
from serving_adapter.exposition import Registry
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable
from serving_adapter.request_log import RequestRecord
from serving_adapter.safety.limits import UNWATCHED_ARM
from serving_adapter.web_server import LOOPBACK, bound_port, new_runner

CONFIGURATIONS = Path(__file__).parents[3] / "deploy" / "envoy"
START_S = 20.0


@dataclass
class Engine:
    """An engine that can be killed and brought back at its port."""

    app: Callable[[], web.Application]
    port: int = 0
    runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self) -> Engine:
        self.runner = new_runner(self.app(), shutdown_timeout_s=0.0)
        await self.runner.setup()
        await web.TCPSite(self.runner, LOOPBACK, self.port).start()
        self.port = bound_port(self.runner)
        return self

    async def kill(self) -> None:
        runner, self.runner = self.runner, None
        if runner is not None:
            await runner.cleanup()


@dataclass
class Scene:
    """Clients' side of Envoy, and what the picker behind it reported."""

    url: str
    admin: str
    client: aiohttp.ClientSession
    engines: list[Engine]
    start_picker: Callable[[], Awaitable[object]]
    stop_picker: Callable[[], Awaitable[None]]
    records: list[RequestRecord] = field(default_factory=list)
    log: DecisionLog = field(default_factory=lambda: DecisionLog("picker"))
    picker: object = None

    @property
    def host(self) -> PolicyHost:
        return self.picker.host

    def ask(self, **fields: object) -> aiohttp.client._RequestContextManager:
        headers = fields.pop("headers", {})
        body = {"model": "tiny", "prompt": [1, 2, 3], "max_tokens": 4, **fields}
        return self.client.post(self.url + "/v1/completions", json=body, headers=headers)

    async def recorded(self, count: int) -> list[RequestRecord]:
        async with asyncio.timeout(10):
            while len(self.records) < count:
                await asyncio.sleep(0.005)
        return self.records


def configuration(name: str, picker_port: int, engines: list[Engine], tweak) -> dict:
    """What is shipped, with the ports of this test."""
    import yaml

    text = (CONFIGURATIONS / f"{name}.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    config["admin"] = {"address": {"socket_address": {"address": LOOPBACK, "port_value": 0}}}
    listener = config["static_resources"]["listeners"][0]
    listener["address"]["socket_address"]["port_value"] = 0
    clusters = {one["name"]: one for one in config["static_resources"]["clusters"]}
    place = clusters["picker"]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]
    place["endpoint"]["address"]["socket_address"]["port_value"] = picker_port
    if "load_assignment" in clusters["engines"]:
        clusters["engines"]["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
            {"endpoint": {"address": {"socket_address": address}}}
            for engine in engines
            for address in [{"address": LOOPBACK, "port_value": engine.port}]
        ]
    tweak(config)
    return config


def filters_of(config: dict) -> list[dict]:
    listener = config["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager["http_filters"]


@contextlib.asynccontextmanager
async def envoy(config: dict, folder: Path) -> AsyncIterator[tuple[str, str]]:
    """The program itself, in a session of its own; base URLs of its listener and its admin page."""
    import envoy as package

    program = Path(package.__file__).parent / "_bin" / "envoy"
    file, admin = folder / "envoy.json", folder / "admin"
    file.write_text(json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        program,
        *("--config-path", file, "--admin-address-path", admin, "--log-level", "error"),
        *("--use-dynamic-base-id", "--concurrency", "1"),
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(START_S), aiohttp.ClientSession() as session:
            while not (admin.exists() and admin.read_text()):
                assert process.returncode is None, "Envoy ended: it says why above"
                await asyncio.sleep(0.01)
            pages = f"http://{admin.read_text()}"
            while True:
                async with session.get(pages + "/listeners?format=json") as answer:
                    listening = (await answer.json()).get("listener_statuses")
                if listening and (await session.get(pages + "/ready")).status == 200:
                    break
                await asyncio.sleep(0.01)
        place = listening[0]["local_address"]["socket_address"]
        yield f"http://{LOOPBACK}:{place['port_value']}", pages
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


@pytest.fixture
async def scene(
    tmp_path: Path, new_emulator, prepare_words: Prepare, client: aiohttp.ClientSession
) -> AsyncIterator[Callable[..., Awaitable[Scene]]]:
    """Builds Envoy, a picker and engines."""
    from serving_adapter.picker.exchange import PickerSettings
    from serving_adapter.picker.picker import EndpointPicker

    async with contextlib.AsyncExitStack() as stack:

        async def build(
            name: str = "envoy",
            *,
            apps: list[Callable[[], web.Application]] | None = None,
            tweak=lambda _: None,
            prepare: Prepare = prepare_words,
            admission: Admission | None = None,
            **settings: float,
        ) -> Scene:
            made = apps or [lambda: new_emulator().application()] * 3
            engines = [await Engine(app).start() for app in made]
            for engine in engines:
                stack.push_async_callback(engine.kill)
            serving = contextlib.AsyncExitStack()
            port = 0

            async def start_picker() -> object:
                nonlocal port
                registry = Registry()
                host = PolicyHost(
                    InstanceTable(),
                    registry=registry,
                    prepare=prepare,
                    admission=admission,
                    limits=UNWATCHED_ARM,
                    state=tmp_path / "state",
                )
                built.picker = EndpointPicker(
                    host,
                    {engine.url: None for engine in engines},
                    registry,
                    settings=PickerSettings(**{"scrape_s": 0.1, **settings}),
                    on_request=built.records.append,
                )
                host.on_decision = built.log.add
                port = await serving.enter_async_context(
                    built.picker.running(f"{LOOPBACK}:{port}")
                )
                return built.picker

            built = Scene("", "", client, engines, start_picker, serving.aclose)
            await start_picker()
            stack.push_async_callback(serving.aclose)
            config = configuration(name, port, engines, tweak)
            built.url, built.admin = await stack.enter_async_context(envoy(config, tmp_path))
            return built

        yield build
