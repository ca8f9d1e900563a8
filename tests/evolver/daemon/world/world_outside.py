"""The data plane of a world in earnest: engines and a gateway, each a process, over HTTP."""

import contextlib
from dataclasses import replace
from functools import partial

from world_programs import Program

from serving_adapter.emulation.faults import Fault, FaultKind
from serving_adapter.emulation.fleet import Fleet, start_engine
from serving_adapter.emulation.load import replay


class Outside:
    """Gateway and engines; `replay` is what clients do."""

    def __init__(self, plan, home):
        self._plan, self._home = plan, home

    @contextlib.asynccontextmanager
    async def running(self):
        async with Fleet(self._plan.specs()) as self._fleet:
            urls = [word for url in self._fleet.urls for word in ("--engine", url)]
            log = str(self._home / "requests.jsonl")
            arguments = ("serve", *urls, "--port", "0", "--request-log", log, "--report-to-store")
            gateway = Program("gateway", arguments, self._home)
            await gateway.start()
            try:
                self.replay = partial(
                    replay, url=await gateway.url(), model=self._fleet.engines[0].model,
                    time_scale=self._plan.scale,
                )  # fmt: skip
                yield
            finally:
                await gateway.stop()

    async def kill(self, number):
        await self._fleet.engines[number].kill()

    async def stop(self, number):
        await self._fleet.engines[number].stop()

    async def start(self, number):
        ended = self._fleet.engines[number]
        again = replace(ended.spec, port=ended.port)
        self._fleet.engines[number] = await start_engine(again)

    async def slow(self, number, value, for_s):
        fault = Fault(kind=FaultKind.SLOW, value=value, for_s=for_s)
        await self._fleet.engines[number].fault(fault)
