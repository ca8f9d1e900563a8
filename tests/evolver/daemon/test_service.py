"""The process around a daemon: takeover, a clean end, health, metrics, events; and its setup."""

import asyncio
import json
import threading
import time

import aiohttp
import pytest
from fleet import RULE, World

from evolver.daemon.config import read_config
from evolver.daemon.metrics import DaemonMetrics
from evolver.daemon.search_process import reachable
from evolver.daemon.segment_windows import SegmentWindows
from evolver.daemon.service import Service
from evolver.daemon.shift import TrafficShift
from evolver.errors import DaemonSetupWrong
from evolver.model_settings import ModelSettings
from policy_store import PolicyStore
from policy_store.leases import Lease

TOKEN = "a-token-of-many-characters"


@pytest.fixture
def store(tmp_path):
    with PolicyStore.open(tmp_path / "store.db") as opened:
        yield opened


@pytest.fixture
def world(store, tmp_path):
    made = World(store, tmp_path / "daemon", lease={"ttl_s": 1.0})
    made.store.leases.release(made.lease)
    return made


def waits_for(what, seconds=20.0):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.02)


class Running:
    """A service in a thread with a loop of its own, as in its process."""

    def __init__(self, world):
        self.service = Service(world.config, world.store, world.daemon)
        self.stopped = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        waits_for(lambda: self.stopped is not None)

    async def _run(self):
        self._loop, self.stopped = asyncio.get_running_loop(), asyncio.Event()
        await self.service.run(self.stopped)

    def stop(self):
        self._loop.call_soon_threadsafe(self.stopped.set)
        self._thread.join(20)
        assert not self._thread.is_alive()


def test_a_second_daemon_waits_and_takes_over_a_dead_ones_search(world, tmp_path):
    world.store.rules.install(RULE, "ada", "fine")
    first = Running(world)
    waits_for(lambda: world.store.daemons.read("default").step == "trial")
    second = Running(world)
    time.sleep(0.5)
    assert second.service.health()["role"] == "waits"
    # As after a kill: no turn and no renewal any more, and nothing was given back.
    first.service._stop.set()
    world.hosts_say("better")
    waits_for(lambda: world.outcomes() == ["promoted"])
    assert second.service.health()["role"] == "leads"
    assert world.store.leases.state("daemon:default").fencing == 3
    assert len(world.said("daemon_leads")) == 2
    second.stop()
    assert world.store.leases.state("daemon:default").left_s <= 0.0


def test_told_to_stop_it_ends_the_search_and_gives_the_lease_back(world):
    stopped = []
    world.searches.stop = stopped.append
    running = Running(world)
    waits_for(lambda: world.store.daemons.read("default").version > 0)
    running.stop()
    assert stopped
    assert stopped[0] <= world.config.stop_s
    assert world.store.leases.state("daemon:default").left_s <= 0.0


def test_who_loses_the_lead_in_mid_turn_ends_what_it_began_and_waits_on_a_full_disk(world):
    ended, turning, go = [], threading.Event(), threading.Event()

    def full():
        raise OSError(28, "No space left on device")

    def ensure(job, folder):  # as long as another takes to take over
        turning.set()
        assert go.wait(20)
        ended.clear()

    world.searches.ensure, world.searches.stop = ensure, ended.append
    world.traffic.close = full
    running = Running(world)
    assert turning.wait(20)
    held = world.store.leases.state("daemon:default")
    world.store.leases.release(Lease("daemon:default", held.holder, held.fencing))
    assert world.store.leases.hold("daemon:default", "other", 30.0).taken
    go.set()
    waits_for(lambda: running.service.health()["role"] == "waits" and ended)
    world.store.leases.release(Lease("daemon:default", "other", held.fencing + 1))
    waits_for(lambda: running.service.health()["role"] == "leads")
    running.stop()


def test_who_looks_seldom_keeps_the_lead_between_two_looks(world, monkeypatch):
    monkeypatch.setattr("evolver.daemon.service.HANGS_S", 0.2)
    world.config = world.config.model_copy(
        update={"watch": world.config.watch.model_copy(update={"every_s": 60.0})}
    )
    running = Running(world)
    waits_for(lambda: world.store.daemons.read("default").version > 0)
    time.sleep(1.5)
    assert world.store.leases.state("daemon:default").left_s > 0.0
    running.stop()


async def test_health_metrics_and_events_over_http(world, tmp_path):
    from evolver.daemon.pages import Pages, hook_of, serving

    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    heard, health = [], {"alive": True, "ready": False, "trouble": "the store is locked"}
    metrics = DaemonMetrics(world.config)
    metrics.turned(world.turn_under_lease(), 0.1)

    def told(events):
        heard.extend(events)
        return True

    pages = Pages(lambda: health, metrics, told, hook_of(token))
    event = {"unix_s": time.time(), "change": "gone", "node": "n1", "gpus": 2, "gpu": "L40S"}
    async with serving(pages, world.config.http) as port, aiohttp.ClientSession() as session:
        here = f"http://127.0.0.1:{port}"
        async with session.get(f"{here}/healthz") as answer:
            assert answer.status == 200
        async with session.get(f"{here}/readyz") as answer:
            assert (answer.status, (await answer.json())["trouble"]) == (503, health["trouble"])
        async with session.post(f"{here}/cluster-events", json=event) as answer:
            assert answer.status == 401
        allowed = {"Authorization": f"Bearer {TOKEN}"}
        for body, status in ((event, 202), ({**event, "what": 1}, 400)):
            async with session.post(
                f"{here}/cluster-events", data=json.dumps(body), headers=allowed
            ) as answer:
                assert answer.status == status
        async with session.get(f"{here}/metrics") as answer:
            text = await answer.text()
    assert [one.node.name for one in heard] == ["n1"]
    assert 'evolver_daemon_step{step="evolving"} 1.0' in text
    assert "evolver_daemon_events_total 1.0" in text
    assert 'evolver_daemon_budget_today{kind="seconds"} 14400.0' in text


def line(arrived, tokens=100):
    return json.dumps({
        "arrived_unix_s": arrived, "endpoint": "chat", "outcome": "ok", "status": 200,
        "stream": True, "prompt_tokens": tokens, "output_tokens": 20, "usage": True, "tenant": 0,
        "session": -1, "e2e_s": 2.0,
    }) + "\n"  # fmt: skip


def test_windows_are_of_the_log_and_outlive_their_process(tmp_path):
    log, folder = tmp_path / "requests.jsonl", tmp_path / "segments"
    windows = SegmentWindows(folder, (log,), clock_speed=5.0)
    windows.collect(1e9)
    assert windows.last(600.0, 1e9) is None
    log.write_text("".join(line(1e9 + k) for k in range(100)))
    windows.collect(1e9 + 100)
    windows.close()
    again = SegmentWindows(folder, (log,), clock_speed=5.0)
    again.collect(1e9 + 101)
    stretch = again.last(600.0, 1e9 + 120)
    again.close()
    assert (len(stretch.trace), stretch.span_s, stretch.e2e_s) == (100, 99.0, 2.0)
    assert stretch.trace.span_s == 5.0 * 99.0
    assert len(again.last(50.0, 1e9 + 120).trace) == 30


def test_a_change_is_noticed_and_noticed_again_after_a_restart(tmp_path):
    log = tmp_path / "requests.jsonl"
    times = [10.0 * k for k in range(120)] + [1200.0 + 2.0 * k for k in range(300)]
    log.write_text("".join(line(1e9 + at) for at in times))
    windows = SegmentWindows(tmp_path / "segments", (log,))
    windows.collect(1e9 + 1800)
    stretch = windows.last(10_000.0, 1e9 + 1810)
    windows.close()
    for _ in range(2):  # the second as a new process, from what is on disk
        shift = TrafficShift(1e9, point_s=30.0)
        shift.see(stretch)
        found = shift.change({"rate_rps": 0.1}, {"rate_rps": 0.1}, 1e9)
        assert found.changed
        assert "rate_rps 0.1 to 0.5" in found.reason
        assert "In 5 minutes 0.5 requests/s are expected" in found.reason
        assert found.since_unix_s == pytest.approx(1e9 + 1200, abs=90)
        assert not shift.change({"rate_rps": 0.1}, {"rate_rps": 0.1}, 1e9 + 1800).changed


def test_a_dead_model_is_left_out_said_and_the_mutator_writes():
    from evolver.budget import Limits

    dead = ModelSettings("openai/gone", "http://127.0.0.1:9/v1", "key")
    writers, notes = reachable((dead,), Limits(seconds=1.0))
    assert (writers.models, writers.mutator) == ((), True)
    assert "nothing answers at http://127.0.0.1:9" in notes[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("watch = 1", "watch"),
        ("[watch]\nrequest_log = 'r'\ncluster = 'c'\nspan = 2", "watch.span"),
        ("[watch]\nrequest_log = 'r'\ncluster = 'c'\n[day]\nruns = 0", "day.runs"),
        ("[watch]\nrequest_log = 'r'\ncluster = 'c'\n[run]\nseconds = nan", "run.seconds"),
        ("[watch\n", "TOML"),
    ],
)
def test_what_is_wrong_in_a_configuration_is_named(tmp_path, text, said):
    path = tmp_path / "daemon.toml"
    path.write_text(text)
    with pytest.raises(DaemonSetupWrong, match=said):
        read_config(path)


def test_paths_of_a_configuration_lie_beside_it(tmp_path):
    path = tmp_path / "daemon.toml"
    path.write_text('[watch]\nrequest_log = ["a.jsonl", "/b.jsonl"]\ncluster = "edge-8b"\n')
    watch = read_config(path).watch
    assert [str(one) for one in watch.request_log] == [str(tmp_path / "a.jsonl"), "/b.jsonl"]
    assert watch.cluster == "edge-8b"
