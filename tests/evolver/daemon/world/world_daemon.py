"""The daemon of a world in one process: its turns go by a clock that jumps, its searches are real.

A search takes as many seconds of the clock as it is charged, and is waited for when those are over.
Leases go by the clock of the database, so who comes after a kill waits for that one in earnest.
"""

import asyncio
import os
import time
from dataclasses import replace
from types import SimpleNamespace

from evolver.cli.publishing import publish_changes
from evolver.daemon.config import read_config
from evolver.daemon.core import Daemon
from evolver.daemon.parts import usual_parts
from evolver.daemon.searching import SearchProcess

LOOKS_S = 0.05  # real ones, at a search that has to end
LONGEST_LOOKS = 12_000


class DaemonInside:
    """What `Program` is for a daemon that is a process."""

    def __init__(self, plan, home, key, clock, open_store):
        self._plan, self._home, self._key = plan, home, key
        self._clock, self._open_store = clock, open_store
        self.lives, self.runs, self.process = 0, False, SimpleNamespace(returncode=None)

    async def start(self):
        os.environ["EVOLVER_HOME"] = str(self._home)  # for searches
        self.lives, self.runs = self.lives + 1, True
        self._task = asyncio.create_task(self._turns(f"life {self.lives}"))

    async def kill(self):
        """Between two turns; its lease stays."""
        await self._end(-9)

    async def stop(self):
        if self.runs:
            await self._end(0)
        return self.process.returncode

    async def _end(self, code):
        self._task.cancel()
        (error,) = await asyncio.gather(self._task, return_exceptions=True)
        if isinstance(error, Exception):
            raise error
        self.runs, self.process.returncode = False, code

    async def _turns(self, holder):
        config = read_config(self._home / "daemon.toml")
        folder = self._home / "daemon" / config.deployment
        with self._open_store() as store:
            parts = usual_parts(config, folder, lambda: self._publish(store), self._clock.time)
            charged = Charged(self._plan.search_s, self._clock)
            daemon = Daemon(config, store, folder, replace(parts, searches=charged))
            try:
                while True:
                    lease = store.leases.hold("daemon:default", holder, config.lease.ttl_s)
                    if lease is None:
                        time.sleep(config.lease.ttl_s / 3)
                        continue
                    looked = daemon.turn(lease)
                    if looked.trouble:
                        raise RuntimeError(looked.trouble)
                    await asyncio.sleep(config.watch.every_s)
            finally:
                daemon.stop(1.0)

    def _publish(self, store):
        return publish_changes(store, self._home, self._key) is not None


class Charged:
    """Searches in a process of their own, over when they have taken their time."""

    def __init__(self, search_s, clock):
        self._search, self._search_s, self._clock = SearchProcess(), search_s, clock
        self._folder, self._until_unix_s = None, None

    def ensure(self, job, folder):
        if self._folder != folder:
            self._search.ensure(job, folder)
            self._folder, self._until_unix_s = folder, self._clock.time() + self._search_s

    def ended(self, folder):
        """How it broke off; the run in the store says that it came to its end."""
        if self._until_unix_s is None or self._clock.time() < self._until_unix_s:
            return None
        self._until_unix_s = None
        for _ in range(LONGEST_LOOKS):
            ended = self._search.ended(folder)
            if ended is None:
                time.sleep(LOOKS_S)
                continue
            if not ended.fault:
                return None
            self._folder = None
            return ended
        raise RuntimeError("a search hangs")

    def stop(self, within_s):
        self._folder = self._until_unix_s = None
        self._search.stop(within_s)
