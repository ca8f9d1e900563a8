"""`evolver picker` as a process behind a real Envoy: a signed snapshot, and an end by a signal."""

import asyncio
import json
import os
import re
import signal
import sys

import pytest

pytest.importorskip("grpc", reason="needs the envoy extra")
pytest.importorskip("envoy._bin", reason="needs the real Envoy: run make test-envoy")

from policy_store.keys import TrustedKeys, write_trusted
from policy_store.snapshot import write_snapshot
from serving_adapter.emulation.swap_load import Publisher

from .conftest import Engine, configuration, envoy


async def test_it_follows_its_snapshot_and_finishes_what_is_inside(
    tmp_path, new_emulator, client, signing_key
):
    write_trusted(tmp_path / "trusted_keys.json", TrustedKeys((signing_key.public,)))
    snapshot = Publisher(signing_key).next()
    write_snapshot(tmp_path / "active.json", snapshot, signing_key)
    engine = await Engine(lambda: new_emulator().application()).start()
    log = tmp_path / "log.jsonl"
    command = [sys.executable, "-m", "evolver.cli.app", "picker", "--engine", engine.url,
               "--port", "0", "--pages-port", "0", "--notice-s", "0.2", "--request-log", str(log),
               "--engine-mode", "interpreted"]  # fmt: skip
    environment = {**os.environ, "EVOLVER_HOME": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env=environment
    )
    body = {"model": "tiny", "prompt": [1, 2, 3], "max_tokens": 5}
    try:
        async with asyncio.timeout(60):
            sentence = (await process.stdout.readline()).decode()
            port = int(re.search(r"grpc://127\.0\.0\.1:(\d+)", sentence)[1])
            config = configuration("envoy", port, [engine], lambda _: None)
            async with envoy(config, tmp_path) as (url, _):
                policy = ""
                while policy != snapshot.active.digest:
                    async with client.post(url + "/v1/completions", json=body) as answer:
                        assert answer.status == 200
                        policy = answer.headers["X-Evolver-Policy"]
                        await answer.read()  # or it was left in the middle
                long = {**body, "stream": True, "max_tokens": 2000}
                async with client.post(url + "/v1/completions", json=long) as answer:
                    process.send_signal(signal.SIGTERM)
                    async with client.post(url + "/v1/completions", json=body) as other:
                        assert other.status == 200
                        await other.read()
                    assert "[DONE]" in await answer.text()
                assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await engine.kill()
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert {one["outcome"] for one in records} == {"ok"}
    assert 2000 in [one["output_tokens"] for one in records]
