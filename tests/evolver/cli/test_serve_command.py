"""`evolver serve` as a process: real engines' emulators, real HTTP, real signals, signed swaps."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from datetime import UTC, datetime, timedelta

import pytest

from policy_store.keys import TrustedKeys, new_signing_key, write_trusted
from policy_store.snapshot import Approval, Snapshot, SnapshotPolicy, write_snapshot
from sandbox.verifier import verify
from serving_adapter.decision import BUILT_IN_DIGEST
from serving_adapter.emulation.fleet import EngineSpec, Fleet

POLICY = '''
"""Always the engine that is {which}."""


def route(request, instances, memory):
    best = instances[0].id
    for inst in instances:
        best = {pick}(best, inst.id)
    return best
'''
FIRST = verify(POLICY.format(which="first", pick="min"))
LAST = verify(POLICY.format(which="last", pick="max"))


class Serving:
    """One `evolver serve` and the files it follows."""

    def __init__(self, home, engines):
        self.home, self.engines = home, engines
        self.key = new_signing_key(home / "keys")
        write_trusted(home / "trusted_keys.json", TrustedKeys((self.key.public,)))

    async def start(self, *arguments):
        urls = [word for url in self.engines for word in ("--engine", url)]
        command = [sys.executable, "-m", "evolver.cli.app", "serve", *urls, "--port", "0",
                   "--engine-mode", "interpreted", "--request-log", self.home / "log.jsonl",
                   *arguments]  # fmt: skip
        # as under a supervisor, whatever the tests are run with
        buffered = {name: os.environ[name] for name in os.environ if name != "PYTHONUNBUFFERED"}
        self.process = await asyncio.create_subprocess_exec(
            *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**buffered, "EVOLVER_HOME": str(self.home)},
        )  # fmt: skip
        async with asyncio.timeout(60):
            self.sentence = (await self.process.stdout.readline()).decode()
        found = re.search(r"http://[\d.:]+\d", self.sentence)
        self.url = found[0] if found else ""

    def publish(self, sequence, source, key=None, **fields):
        now = datetime.now(UTC) - timedelta(seconds=1)
        approved = Approval("ada", "a" * 64)
        policy = SnapshotPolicy(source.digest(), source.canonical, {}, 1, approved)
        times = {"issued_at": now, "not_before": now, "expires_at": now + timedelta(days=1)}
        snapshot = Snapshot(sequence, policy, None, **{**times, "audit_head": "b" * 64, **fields})
        write_snapshot(self.home / "active.json", snapshot, key or self.key)

    async def ask(self, client, tokens=4):
        body = {"model": "llama-3.1-8b", "prompt": [1, 2, 3], "max_tokens": tokens}
        async with client.post(self.url + "/v1/completions", json=body) as answer:
            await answer.read()
            return answer.status, answer.headers.get("X-Evolver-Policy")

    async def until_live(self, client, digest):
        async with asyncio.timeout(20):
            while (await self.ask(client))[1] != digest:
                await asyncio.sleep(0.05)

    async def stop(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            _, log = await self.process.communicate()
        return self.process.returncode, log.decode()


@pytest.fixture
async def serving(tmp_path):
    async with Fleet.of(2, EngineSpec(time_scale=20.0)) as fleet:
        service = Serving(tmp_path, fleet.urls)
        yield service
        if service.process.returncode is None:
            service.process.kill()
            await service.process.communicate()


async def test_it_serves_swaps_refuses_and_drains(serving, client, tmp_path):
    await serving.start()
    assert "there is no" in serving.sentence
    assert "2 engines" in serving.sentence
    assert await serving.ask(client) == (200, BUILT_IN_DIGEST)
    serving.publish(1, FIRST)
    await serving.until_live(client, FIRST.digest())
    stranger = new_signing_key(tmp_path / "stranger")
    serving.publish(9, LAST, stranger)
    serving.publish(2, LAST)
    await serving.until_live(client, LAST.digest())
    inside = [asyncio.create_task(serving.ask(client, 800)) for _ in range(8)]
    await asyncio.sleep(0.3)
    code, log = await serving.stop()
    assert [(await one)[0] for one in inside] == [200] * 8
    assert (code, "requests inside" in log) == (0, False)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {line["outcome"] for line in lines} == {"ok"}
    assert {line["sequence"] for line in lines} == {0, 1, 2}


async def test_a_restart_does_not_go_back(serving, client, tmp_path):
    await serving.start()
    serving.publish(5, LAST)
    await serving.until_live(client, LAST.digest())
    assert (await serving.stop())[0] == 0
    (tmp_path / "active.json").unlink()
    serving.publish(4, FIRST)
    await serving.start()
    for _ in range(10):
        assert await serving.ask(client) == (200, BUILT_IN_DIGEST)
        await asyncio.sleep(0.05)
    assert "below 5 already seen" in (await serving.stop())[1]


async def test_what_nobody_approved_runs_apart_or_not_at_all(serving, client, tmp_path):
    (tmp_path / "mine.py").write_text(LAST.annotated())
    untrusted = ("--untrusted", "--policy", tmp_path / "mine.py")
    await serving.start(*untrusted)
    code, log = 0, ""
    if not serving.url:
        code, log = await serving.stop()
        accepted = re.findall(r"--accept-missing|(?<=--accept-missing )[a-z]+", log)
        await serving.start(*untrusted, *accepted)
    assert (code, bool(log)) in ((0, False), (1, True))
    assert "nobody approved" in serving.sentence
    await serving.until_live(client, LAST.digest())
    assert (await serving.stop())[0] == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("--engine", "nonsense"), "no engine's address"),
     (("--engine", "http://127.0.0.1:9", "--untrusted"), "go together"),
     (("--engine", "http://127.0.0.1:9", "--policy", "x.py"), "go together"),
     (("--engine", "http://127.0.0.1:9", "--accept-missing", "x"), "for --untrusted"),
     (("--engine", "http://127.0.0.1:9", "--deployment", "../x"), "no name"),
     ((), "--engine")],
)  # fmt: skip
def test_what_cannot_be_meant_is_said(capsys, monkeypatch, tmp_path, arguments, word):
    from evolver.cli import main

    monkeypatch.setenv("EVOLVER_HOME", str(tmp_path))
    assert main(["serve", *arguments]) == 2
    assert word in capsys.readouterr().err
