"""A policy host in a thread beside an engine: it follows snapshots, watches, writes and shows.

The engine's thread reads `host.slot.live` and waits for nothing here; when this thread dies, the
engine goes on with what was live.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator
from functools import partial

from aiohttp import web

from sandbox.signal_profiles import signal_profile
from serving_adapter.admission import Admission
from serving_adapter.engine_hooks.decision_file import DecisionFile
from serving_adapter.engine_hooks.preparing import prepare_engine_policy
from serving_adapter.engine_hooks.settings import HookSettings
from serving_adapter.errors import AdapterError
from serving_adapter.exposition import CONTENT_TYPE, Registry
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable
from serving_adapter.web_server import LOOPBACK, bound_port, new_runner

FLUSH_S = 0.05
FOLLOW_S = 0.02
START_S, CLOSE_S = 10.0, 5.0

_log = logging.getLogger("evolver.engine")


class HostThread:
    """The host of one engine, and its thread once it is started.

    Args:
        settings: where policies come from.
        registry: what is shown on the loopback listener, where one is asked for.

    Attributes:
        host: made here, so that the engine can ask it before the thread has started.
        decisions: the engine writes, the thread brings it to the disk.
        port: of the listener; None without one.

    Raises:
        AdapterError: state folder or decision log cannot be used.
    """

    def __init__(self, settings: HookSettings, registry: Registry | None = None) -> None:
        self.registry = registry or Registry()
        self.decisions = DecisionFile(settings.decision_log, settings.name)
        self.port: int | None = None
        self._settings = settings
        self.host = PolicyHost(
            InstanceTable(),
            registry=self.registry,
            prepare=partial(prepare_engine_policy, engine=settings.engine),
            admission=Admission(
                settings.trust, deployment=settings.deployment, state=settings.state
            ),
            state=settings.state,
            signals=signal_profile("vllm-scheduler"),
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="evolver-host", daemon=True)

    def start(self) -> None:
        """Follow from now on.

        Raises:
            AdapterError: the listener's port is taken.
        """
        self._thread.start()
        self._started.wait(START_S)
        if self._error is not None:
            raise AdapterError(
                f"The policy host does not start ({type(self._error).__name__}): "
                "give another EVOLVER_METRICS_PORT."
            ) from self._error

    def close(self) -> None:
        """Stop following and write what is left; the engine keeps what is live."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self.decisions.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            self._error = error
            if threading.main_thread().is_alive():  # else the program itself is ending
                _log.error("the policy host has ended: %s", type(error).__name__)
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self._listening(), self.host.running():
            following = asyncio.create_task(self.host.follow(self._settings.snapshot, FOLLOW_S))
            self._started.set()
            _log.info("%s follows %s", self._settings.name, self._settings.snapshot)
            while not self._stop.is_set():
                self.decisions.flush()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), FLUSH_S)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        if self._settings.metrics_port is None:
            yield
            return
        application = web.Application()
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/readyz", self._ready)
        runner = new_runner(application, shutdown_timeout_s=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, self._settings.metrics_port).start()
            self.port = bound_port(runner)
            _log.info("metrics on http://%s:%d/metrics", LOOPBACK, self.port)
            yield
        finally:
            await runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        text = self.registry.render()
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _ready(self, _: web.Request) -> web.Response:
        live, behind = self.host.live, self.host.behind
        said = {"engine": self._settings.name, "sequence": live.sequence, "policy": live.digest}
        return web.json_response({**said, "behind": behind}, status=503 if behind else 200)
