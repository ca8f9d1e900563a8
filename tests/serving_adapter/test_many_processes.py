"""Several real processes of one host: none goes back, all follow or say so, a latch reaches all."""

import contextlib
import json
import subprocess
import sys
import time

import pytest

from policy_store.keys import TrustedKeys, write_trusted
from policy_store.snapshot import write_snapshot

PROCESSES, SWAPS, EVERY_S, BOUND_S = 3, 20, 0.05, 20.0

CHILD = """
import asyncio, json, sys, threading, time
from datetime import UTC, datetime
from pathlib import Path
from sandbox import contract, frame
from sandbox.errors import PolicyFault
from sandbox.identity import policy_digest
from serving_adapter.activation import Ready
from serving_adapter.admission import Admission
from serving_adapter.facts import RequestFacts
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable

folder, asks, unusable = Path(sys.argv[1]), sys.argv[2] == "asks", sys.argv[2] == "unusable"

class Router:
    def __init__(self, word):
        self.word = word
    def route(self, request, instances, memory, rotation, fuel):
        if self.word == "faulty":
            raise PolicyFault("route", frame.FUEL, "it ran out of fuel")
        return int(instances["id"][0])

def prepare(source, parameters=None):
    if unusable and source.startswith("last"):
        raise RuntimeError("no memory for it")
    return Ready(policy_digest(source, parameters or {}, contract.CONTRACT_VERSION), Router(source))

def prepared(source, parameters=None):
    from serving_adapter.activation import unusable as refused
    with refused():
        return prepare(source, parameters)

async def main():
    table = InstanceTable()
    table.add()
    state = folder / "state"
    clock = lambda: datetime(2026, 1, 1, tzinfo=UTC)
    admission = Admission(folder / "trust.json", state=state, clock=clock)
    host = PolicyHost(table, prepare=prepared, admission=admission, state=state)
    told = asyncio.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(told.set)),
                     daemon=True).start()
    loop, before = asyncio.get_running_loop(), None
    following = asyncio.create_task(host.follow(folder / "active.json"))
    async with host.running(), asyncio.timeout(60):
        while not told.is_set():
            if asks:
                host.route(RequestFacts(arrived_s=host.now_s(), prompt_tokens=9))
            now = host.live.sequence, host.behind, len(host.slot.latched)
            if now != before:
                print(json.dumps([time.monotonic(), *now]), flush=True)
            before = now
            await asyncio.sleep(0.005)
    following.cancel()

asyncio.run(main())
"""


class Child:
    """One process, and each change of what it runs, as it said it."""

    def __init__(self, folder, word):
        self.said = []
        command = [sys.executable, "-c", CHILD, str(folder), word]
        with (folder / word).open("w") as out, (folder / f"{word}.err").open("w") as err:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=err, text=True
            )
        self._path = folder / word

    def look(self):
        lines = self._path.read_text().splitlines(keepends=True)
        self.said = [json.loads(line) for line in lines if line.endswith("\n")]
        return self.said

    def first(self, which):
        """When it first said something of which that is true; None before."""
        return next((said[0] for said in self.look() if which(*said[1:])), None)

    def end(self):
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()


def until(condition):
    deadline_s = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline_s, "it takes too long"
        time.sleep(0.01)


@pytest.fixture
def children(tmp_path, signing_key):
    write_trusted(tmp_path / "trust.json", TrustedKeys((signing_key.public,)))
    found = [Child(tmp_path, word) for word in ("asks", "idle", "unusable")]
    yield found
    for child in found:
        child.end()


def test_swaps_and_an_ejection_reach_every_process_of_a_host(
    children, tmp_path, snapshot_of, signing_key, word_digest
):
    asking, idle, unusable = children
    until(lambda: all(child.look() for child in children))
    written_s = {}

    def write(sequence, word, last_good=None):
        snapshot = snapshot_of(sequence, word, last_good)
        write_snapshot(tmp_path / "active.json", snapshot, signing_key)
        written_s[sequence] = time.monotonic()

    for sequence in range(1, SWAPS + 1):
        write(sequence, f"{'last' if sequence == SWAPS else 'first'}-{sequence}")
        time.sleep(EVERY_S)
    for child in (asking, idle):
        until(lambda child=child: child.first(lambda sequence, *_: sequence == SWAPS))
    # One cannot load what the others run: it is not ready, and is again as soon as it can.
    until(lambda: unusable.look()[-1][2])
    assert unusable.look()[-1][1] < SWAPS
    write(SWAPS + 1, "faulty", "first-1")
    until(lambda: all(child.first(lambda _, __, latched: latched) for child in children))
    until(lambda: not unusable.look()[-1][2])
    for child in children:  # the latch may be there before the sequence that brought it
        until(lambda child=child: child.look()[-1][1] == SWAPS + 1)
    thrown_s = asking.first(lambda _, __, latched: latched)
    late = [child.first(lambda _, __, latched: latched) - thrown_s for child in (idle, unusable)]
    reached = [child.first(lambda sequence, *_: sequence == SWAPS) - written_s[SWAPS]
               for child in (asking, idle)]  # fmt: skip
    print(f"latch seen elsewhere after {[round(one, 3) for one in late]} s, "
          f"last sequence after {[round(one, 3) for one in reached]} s")  # fmt: skip
    for child in children:
        sequences = [said[1] for said in child.look()]
        assert sequences == sorted(sequences)
        assert sequences[-1] == SWAPS + 1
    assert (tmp_path / "state" / "latches" / f"{word_digest('faulty')}.json").exists()
    assert (max(late), max(reached)) < (BOUND_S, BOUND_S)
