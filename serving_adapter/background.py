"""Work that goes on beside what serves, and says so when it ends by an error of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from serving_adapter.errors import defect

_log = logging.getLogger("evolver.host")


@asynccontextmanager
async def in_background(*work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Do all of it side by side until left; it is cancelled then, and its end waited for."""
    tasks = [asyncio.create_task(_told(one)) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in work:  # what was left at once never began
            one.close()


async def _told(work: Coroutine[None, None, None]) -> None:
    try:
        await work
    # Nobody waits for it, so nobody else would see the error.
    except Exception as error:
        name = getattr(work, "__qualname__", "work in the background")
        _log.error("%s has ended: %s", name, defect(error))
