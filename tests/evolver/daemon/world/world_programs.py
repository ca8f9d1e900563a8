"""Programs of a world: started with a home of their own, killed, started again, logs kept."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

START_S = 90.0
STOP_S = 60.0
URL = re.compile(r"http://127\.0\.0\.1:\d+")


@dataclass
class Program:
    """`evolver ...` as a process; what it says goes to HOME/logs/NAME.log, over all its lives."""

    name: str
    arguments: tuple[str, ...]
    home: Path
    lives: int = 0
    process: asyncio.subprocess.Process | None = None
    ended: list[int] = field(default_factory=list)

    @property
    def log(self):
        return self.home / "logs" / f"{self.name}.log"

    async def start(self):
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "EVOLVER_HOME": str(self.home), "PYTHONUNBUFFERED": "1",
                       "OPENAI_API_KEY": "none"}  # fmt: skip
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "evolver.cli.app", *self.arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            )  # fmt: skip
        self.lives += 1

    async def url(self):
        """The first address that its log names, as soon as it does."""
        async with asyncio.timeout(START_S):
            while True:
                found = URL.search(self.log.read_text())
                if found:
                    return found[0]
                if self.process.returncode is not None:
                    raise RuntimeError(f"{self.name} ended: {self.log.read_text()[-2000:]}")
                await asyncio.sleep(0.1)

    @property
    def runs(self):
        return self.process is not None and self.process.returncode is None

    async def kill(self):
        """As a crash would."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.ended.append(await self.process.wait())

    async def stop(self):
        """As a supervisor would; the exit status. Killed when it takes too long."""
        if not self.runs:
            return self.process.returncode if self.process else None
        self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await self.process.wait()
        except TimeoutError:
            await self.kill()
        return self.process.returncode


def processor_s():
    """Processor seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
