"""Doors 1 and 2 at once: our gateway in front of a vLLM server that runs our scheduler.

Both follow one signed file, which changes every 50 ms; one policy in three is faulty, half of them
in the gateway, half in the engine, on prompts that no smoke test shows.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from policy_store.keys import SigningKey, new_signing_key, write_trusted
from policy_store.snapshot import Snapshot, present_snapshot, sign_snapshot
from serving_adapter.activation import prepare_policy
from serving_adapter.admission import Admission
from serving_adapter.emulation.decision_audit import DecisionLog, LoggedDecision, audit
from serving_adapter.emulation.load import LoadRequest, replay
from serving_adapter.emulation.swap_load import (
    Publisher,
    finished_by,
    swap_under_load,
    to_file,
)
from serving_adapter.exposition import Registry
from serving_adapter.gateway.gateway import Gateway, GatewaySettings
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable
from serving_adapter.safety.limits import UNWATCHED_ARM

ROOT = Path(__file__).resolve().parents[3]
START_S = 240.0
ROUTE = """
def route(request, instances, memory):
    {fault_in_route}
    return instances[int(MARK) % len(instances)].id
"""
PRIORITY = """
def priority(request, instance, memory):
    {fault_in_priority}
    return {sign}request.prompt_tokens - MARK

def admit(request, instance, memory):
    return instance.running_requests < 6

def tune(instance, memory):
    set_token_budget(instance, 64 + int(MARK))
"""


def both_doors(turn: int) -> str:
    """The policy of a turn, from 1 on: every third faults on most prompts, at one of the doors."""
    faulty, at_gateway = turn % 3 == 0, turn % 2 == 0
    fault = "memory[0] = 1.0 / (request.prompt_tokens % 7 - 3)"
    return f'"""Number {turn}."""\nMARK = {turn}.0\n' + ROUTE.format(
        fault_in_route=fault if faulty and at_gateway else "memory[0] = MARK"
    ) + PRIORITY.format(
        fault_in_priority=fault if faulty and not at_gateway else "memory[0] = MARK",
        sign="-" if turn % 2 else "",
    )


@dataclass
class Server:
    """A vLLM server under our scheduler, and where its policies come from."""

    url: str
    folder: Path
    key: SigningKey
    process: subprocess.Popen

    @property
    def snapshot(self) -> Path:
        return self.folder / "active.json"

    @property
    def log(self) -> Path:
        return self.folder / "decisions.jsonl"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def server(tiny, tmp_path_factory):
    """Started once; its log says why when it does not start."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    key = new_signing_key(folder / "keys", "ada")
    write_trusted(folder / "trust.json", Publisher(key).trusted)
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "EVOLVER_SNAPSHOT": str(folder / "active.json"),
        "EVOLVER_TRUST": str(folder / "trust.json"), "EVOLVER_STATE": str(folder / "state"),
        "EVOLVER_ENGINE_NAME": "engine-0", "EVOLVER_ENGINE_MODE": "interpreted",
        "EVOLVER_DECISION_LOG": str(folder / "decisions.jsonl"),
    }  # fmt: skip
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny),
        "--served-model-name", "tiny", "--load-format", "dummy", "--dtype", "bfloat16",
        "--max-model-len", "1024", "--max-num-seqs", "8", "--max-num-batched-tokens", "512",
        "--enforce-eager", "--host", "127.0.0.1", "--port", str(port), "--shutdown-timeout", "10",
        "--scheduler-cls", "serving_adapter.vllm_scheduler.AsyncPolicyScheduler",
    ]  # fmt: skip
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    started = Server(f"http://127.0.0.1:{port}", folder, key, process)
    try:
        wait_until_healthy(started)
        yield started
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_healthy(server: Server) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(server.url + "/health", timeout=5) as answer:
                assert answer.status == 200
                return
        except (urllib.error.URLError, OSError):
            log = (server.folder / "server.log").read_text()[-2000:]
            assert server.process.poll() is None, log
            assert time.monotonic() < deadline, log
            time.sleep(0.2)


async def gateway_of(server: Server, serve, log: DecisionLog) -> tuple[str, asyncio.Task]:
    """Our gateway in front of it, on the same file and the same state; its URL, and a task."""
    registry, state = Registry(), server.folder / "state"
    host = PolicyHost(
        InstanceTable(), registry=registry, state=state, limits=UNWATCHED_ARM,
        admission=Admission(server.folder / "trust.json", state=state),
        prepare=partial(prepare_policy, engine="interpreted"),
    )  # fmt: skip
    host.on_decision = log.add
    gateway = Gateway(host, {server.url: None}, registry, settings=GatewaySettings(scrape_s=0.1))
    url = await serve(gateway.application())
    return url, asyncio.create_task(host.follow(server.snapshot))


def engine_decisions(server: Server) -> list[LoggedDecision]:
    """The engine's decisions; each is about all its requests, so each is a request of its own."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    return [
        LoggedDecision(line["engine"], number, line["sequence"], line["digest"],
                       line["author"], line["reason"])
        for number, line in enumerate(lines)
    ]  # fmt: skip


# A session's number is the token that its prompts are made of, so it must be one of the model's.
REQUESTS = [
    LoadRequest(number / 20, 10 + number % 23, 8 if number % 2 else 32, session=number)
    for number in range(300)
]


async def test_law_9_over_real_vllm_300_requests_survive_a_swap_every_50_ms(server, serve):
    publisher = Publisher(server.key, policy=both_doors)
    gateway_log = DecisionLog("gateway")
    url, following = await gateway_of(server, serve, gateway_log)
    before = await finished_by([server.url])
    load = replay(REQUESTS, url, model="tiny", max_wall_s=120.0)
    report = await swap_under_load(load, publisher, to_file(server.snapshot, server.key))
    finished = await finished_by([server.url]) - before
    await asyncio.sleep(0.2)  # the engine's log is written behind its decisions
    following.cancel()
    engine_log = engine_decisions(server)
    gate = audit(gateway_log.decisions, report.snapshots, report.served, finished)
    engine = audit(engine_log, report.snapshots)
    print(f"\n{len(report.snapshots)} snapshots in {report.wall_s:.1f} s, {report.failed} of "
          f"{len(REQUESTS)} requests failed\ngateway: {gate.decisions} decisions under "
          f"{gate.sequences} sequences, {dict(gate.authors)}\nengine: {engine.decisions} decisions "
          f"under {engine.sequences} sequences, {dict(engine.authors)}")  # fmt: skip
    assert report.failed == 0
    assert gate.violations == ()
    assert engine.violations == ()
    assert min(gate.sequences, engine.sequences) > 5
    assert gate.authors["last_good"] + gate.authors["built_in"] > 0
    assert engine.authors["last_good"] + engine.authors["built_in"] > 0


ENGINE_ORDER = '''"""Leaves the order to the engine."""


def route(request, instances, memory):
    return instances[0].id
'''
SHORTEST = '''"""Shortest predicted answer first."""


def priority(request, instance, memory):
    predicted = request.predicted_output_tokens
    return request.age_s if is_missing(predicted) else predicted
'''
BURST = [
    LoadRequest(0.0, 20, 8 if number % 2 else 64, session=number) for number in range(64)
]


async def test_shortest_first_shows_through_both_doors(server, serve):
    """After all that swapping the same server serves on, and a burst says who is first."""
    url, following = await gateway_of(server, serve, DecisionLog("gateway"))
    publish, p50_s = to_file(server.snapshot, server.key), {}
    for name, source in (("first come", ENGINE_ORDER), ("shortest first", SHORTEST)):
        await publish(newer_snapshot(server, source))
        await asyncio.sleep(1.0)  # both doors follow within this
        served = await replay(BURST, url, model="tiny")
        assert all(one.ok for one in served)
        p50_s[name] = statistics.median(
            one.e2e_s for one in served if one.request.output_tokens == 8
        )
    following.cancel()
    print("\nshort answers p50: " + ", ".join(f"{n} {s * 1e3:.0f} ms" for n, s in p50_s.items()))
    assert p50_s["shortest first"] < p50_s["first come"]


def newer_snapshot(server: Server, source: str) -> Snapshot:
    """One policy alone, after whatever is in the file."""
    snapshot = Publisher(server.key, policy=lambda _: source, canary_every=0).next()
    present = present_snapshot(server.snapshot, server.key.public)
    newest = present.sequence if present else 0
    return sign_snapshot(replace(snapshot, sequence=newest + 1), server.key)
