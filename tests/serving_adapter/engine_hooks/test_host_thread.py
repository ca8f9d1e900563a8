"""Laws 8 and 9 inside an engine: a signed file changes all the time, and the engine steps on."""

import json
import time
import urllib.request
from dataclasses import replace
from datetime import timedelta

import pytest

from policy_store.keys import TrustedKeys, write_trusted
from policy_store.snapshot import Snapshot, wall_clock, write_snapshot
from serving_adapter.decision import BUILT_IN_DIGEST
from serving_adapter.engine_hooks.hook_metrics import HookMetrics
from serving_adapter.engine_hooks.hooks import EngineHooks, Ticks
from serving_adapter.engine_hooks.host_thread import HostThread
from serving_adapter.engine_hooks.settings import HookSettings

from .conftest import Job, ListEngine

NUMBERED = '"""Number {number}."""\n\ndef priority(request, instance, memory):\n' \
           "    return {sign}1.0 * request.prompt_tokens\n"  # fmt: skip
LATER = '"""Number {number}, faulty."""\n\ndef priority(request, instance, memory):\n' \
        "    return 1.0 / (request.prompt_tokens - 13)\n"  # fmt: skip


@pytest.fixture
def settings(tmp_path, signing_key):
    write_trusted(tmp_path / "trust.json", TrustedKeys((signing_key.public,)))
    return HookSettings(
        snapshot=tmp_path / "active.json", trust=tmp_path / "trust.json",
        state=tmp_path / "state", name="engine-0", engine="interpreted",
        decision_log=tmp_path / "decisions.jsonl", metrics_port=0,
    )  # fmt: skip


@pytest.fixture
def thread(settings):
    thread = HostThread(settings)
    thread.start()
    yield thread
    thread.close()


def publish(settings, key, sequence, active, last_good=None):
    now = wall_clock()
    snapshot = Snapshot(
        sequence, active, last_good, issued_at=now, not_before=now,
        expires_at=now + timedelta(days=1), audit_head="b" * 64,
    )  # fmt: skip
    write_snapshot(settings.snapshot, snapshot, key)


def test_laws_8_and_9_swaps_under_load_lose_nothing_and_every_decision_is_named(
    thread, settings, signing_key, signed_policy
):
    """One policy in three is faulty on a prompt that only comes live."""
    engine = ListEngine()
    hooks = EngineHooks(
        thread.host, engine, name="engine-0", decisions=thread.decisions,
        metrics=HookMetrics(thread.registry), ticks=Ticks(rekey_s=0.005),
    )  # fmt: skip
    named, before, finished, steps = {0: {BUILT_IN_DIGEST}}, None, 0, 0
    for sequence in range(1, 13):
        source = LATER if sequence % 3 == 0 else NUMBERED
        policy = signed_policy(source.format(number=sequence, sign="-" * (sequence % 2)))
        named[sequence] = {policy.digest, BUILT_IN_DIGEST} | ({before.digest} if before else set())
        publish(settings, signing_key, sequence, policy, before)
        before = before if sequence % 3 == 0 else policy
        until = time.monotonic() + 0.05
        while time.monotonic() < until:
            engine.waiting.append(Job(f"job-{steps}", 10 + steps % 7, float(steps)))
            hooks.begin_step()
            ordered = hooks.order(engine.waiting, engine.running)
            if ordered is not None:
                assert len(ordered[0]) == len(engine.waiting)
                engine.waiting, engine.running = ordered
            allowed = hooks.admitted(engine.waiting, 4, 0)
            finished += len(engine.waiting[:allowed])
            del engine.waiting[:allowed]
            steps += 1
            time.sleep(0.001)
    thread.close()
    lines = [json.loads(line) for line in settings.decision_log.read_text().splitlines()]
    sequences = [line["sequence"] for line in lines]
    assert finished == steps
    assert all(line["digest"] in named[line["sequence"]] for line in lines)
    assert sequences == sorted(sequences)
    assert len(set(sequences)) > 4
    assert "last_good" in {line["author"] for line in lines}


def test_an_unsigned_file_changes_nothing_and_the_listener_says_what_is_live(
    thread, settings, signing_key, signed_policy
):
    policy = signed_policy(NUMBERED.format(number=1, sign=""))
    publish(settings, signing_key, 1, policy)
    assert until_live(thread, 1).active.digest == policy.digest
    text = json.loads(settings.snapshot.read_text())
    settings.snapshot.unlink()
    settings.snapshot.write_text(json.dumps({**text, "sequence": 2}))
    refused = 'evolver_snapshots_refused_total{reason="'
    page = f"http://127.0.0.1:{thread.port}/metrics"
    deadline = time.monotonic() + 5.0
    while refused not in (shown := urllib.request.urlopen(page).read().decode()):
        assert time.monotonic() < deadline, shown
        time.sleep(0.01)
    assert thread.host.live.sequence == 1
    ready = json.loads(urllib.request.urlopen(page.replace("metrics", "readyz")).read())
    assert ready == {
        "engine": "engine-0", "sequence": 1, "policy": policy.digest, "behind": False
    }  # fmt: skip


def test_what_one_engine_ejects_stays_out_of_its_neighbour(
    thread, settings, signing_key, signed_policy
):
    neighbour = HostThread(replace(settings, decision_log=None, metrics_port=None))
    neighbour.start()
    publish(settings, signing_key, 1, signed_policy(NUMBERED.format(number=1, sign="")))
    until_live(thread, 1)
    until_live(neighbour, 1)
    thread.host.slot.eject(thread.host.live.active, "error", "for a test")
    deadline = time.monotonic() + 5.0
    while neighbour.host.live.active is not None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    neighbour.close()


def until_live(thread, sequence):
    deadline = time.monotonic() + 5.0
    while thread.host.live.sequence < sequence:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return thread.host.live
