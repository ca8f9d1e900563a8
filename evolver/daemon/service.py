"""The process around a daemon: lease, turns, health, metrics and signals.

Turns run in a thread of their own, the lease is renewed by another: a turn that takes long keeps
the lead, and one that hangs loses it. Who does not lead looks every third of the lease's time.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from evolver.daemon.config import DaemonConfig
from evolver.daemon.core import Daemon, Looked, Step
from evolver.daemon.metrics import DaemonMetrics
from evolver.daemon.pages import Pages, hook_of, serving
from policy_store.errors import Fenced, StoreError
from policy_store.leases import Lease
from policy_store.store import PolicyStore

HANGS_S = 900.0  # a turn that takes longer leads no more
_log = logging.getLogger("evolver.daemon")


class Service:
    """One process; it leads while it holds the lease of its deployment."""

    def __init__(self, config: DaemonConfig, store: PolicyStore, daemon: Daemon) -> None:
        self._config, self._store, self._daemon = config, store, daemon
        self.metrics = DaemonMetrics(config)
        self.holder = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._name = f"daemon:{config.deployment}"[:80]
        self._stop = threading.Event()
        self._lease: Lease | None = None
        self._looked = Looked()
        self._trouble = ""
        self._beat_s = time.monotonic()
        self._turn_began_s = math.inf  # while there is none
        self._thread = threading.Thread(target=self._turns, name="evolver-turns", daemon=True)
        self._renewer = threading.Thread(target=self._renew, name="evolver-lease", daemon=True)

    async def run(self, stop: asyncio.Event) -> None:
        """Lead, or wait to lead, until told to stop; over within the bound of the configuration.

        Raises:
            DaemonSetupWrong: it cannot serve its pages.
        """
        pages = Pages(
            self.health, self.metrics, self._daemon.told, hook_of(self._config.http.token_file)
        )
        async with serving(pages, self._config.http) as port:
            _log.info("listening on %s port %d", self._config.http.host, port)
            self._thread.start()
            self._renewer.start()
            try:
                await stop.wait()
            finally:
                await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """End cleanly: the turn at hand, then the search, which can go on, then the lease."""
        until_s = time.monotonic() + self._config.stop_s
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._config.stop_s / 2)
        self._tried(lambda: self._daemon.stop(max(1.0, until_s - time.monotonic() - 1.0)))
        lease = self._lease
        if lease is not None:
            try:
                self._store.leases.release(lease)
            except StoreError as error:
                _log.warning("the lease could not be given back: %s", error)

    def once(self) -> Looked | None:
        """Turns until there is nothing to do but wait for traffic; None while another one leads.

        Raises:
            Fenced: another daemon took over meanwhile.
            StoreError: the store is not there.
        """
        lease = self._hold()
        if lease is None:
            return None
        self._renewer.start()
        looked = self._turn(lease)
        while looked.step in (Step.EVOLVING, Step.PROPOSED):
            self._stop.wait(min(1.0, self._config.watch.every_s))
            looked = self._turn(replace(lease, taken=False))
        return looked

    def health(self) -> dict[str, Any]:
        """How it is; `alive` while turns come, `ready` while they work."""
        quiet_s = time.monotonic() - self._beat_s
        alive = quiet_s < HANGS_S + self._config.watch.every_s
        looked, trouble = self._looked, self._trouble or self._looked.trouble
        return {
            "alive": alive,
            "ready": alive and not self._trouble,
            "role": "leads" if self._lease is not None else "waits",
            "step": str(looked.step),
            "episode": looked.episode,
            "reason": looked.choice.reason if looked.choice is not None else "",
            "trouble": trouble,
        }

    def _turns(self) -> None:
        while not self._stop.is_set():
            try:
                lease = self._lease or self._hold()
                if lease is None:  # the last turn may have begun what is another's now
                    self._tried(lambda: self._daemon.rest(2.0))
                else:
                    self._turn(lease)
                self._said("")
            except Fenced as fenced:
                self._lose(str(fenced))
            # Whatever is wrong with a store, a log or a window, the next turn tries again.
            except Exception as error:
                self.metrics.failures.inc()
                self._said(f"{type(error).__name__}: {error}")
            self._beat_s = time.monotonic()
            leads = self._lease is not None
            self._stop.wait(self._config.watch.every_s if leads else self._config.lease.ttl_s / 3)

    def _turn(self, lease: Lease) -> Looked:
        self._turn_began_s = began_s = time.monotonic()
        try:
            looked = self._daemon.turn(lease)
        finally:
            self._turn_began_s = math.inf
        if self._lease is not None and lease.taken:
            self._lease = replace(self._lease, taken=False)
        seconds = time.monotonic() - began_s
        if looked.choice is None:  # still so, while a search or a trial goes on
            kept = self._looked
            looked.requests, looked.spent, looked.units = kept.requests, kept.spent, kept.units
        self.metrics.turned(looked, seconds)
        self._looked = looked
        return looked

    def _hold(self) -> Lease | None:
        lease = self._store.leases.hold(self._name, self.holder, self._config.lease.ttl_s)
        self._lease = lease
        self.metrics.leader.set(lease is not None)
        if lease is not None:
            self.metrics.fencing.set(lease.fencing)
        return lease

    def _renew(self) -> None:
        """Keep the lease while turns come to an end."""
        while not self._stop.wait(self._config.lease.ttl_s / 3):
            lease = self._lease
            if lease is None or time.monotonic() - self._turn_began_s > HANGS_S:
                continue
            try:
                kept = self._store.leases.hold(self._name, self.holder, self._config.lease.ttl_s)
            except Exception as error:  # tried again, as turns are
                self._said(f"{type(error).__name__}: {error}")
                continue
            if kept is None or kept.fencing != lease.fencing:
                self._lose("Another daemon leads.")

    def _lose(self, why: str) -> None:
        """Another one goes on with the search, too."""
        self._lease = None
        self.metrics.leader.set(0)
        _log.warning("this daemon does not lead any more: %s", why)
        self._tried(lambda: self._daemon.end_search(2.0))

    def _tried(self, end: Callable[[], None]) -> None:
        """A disk that is full must not end the thread that waits for it to be free again."""
        try:
            end()
        except Exception as error:
            _log.warning("not everything could be ended: %s: %s", type(error).__name__, error)

    def _said(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            _log.warning("%s", trouble)
        self._trouble = trouble


async def until_signalled(service: Service) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await service.run(stop)
