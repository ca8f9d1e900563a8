"""Work in the background ends with what it serves, whenever that is."""

import asyncio
import inspect

from serving_adapter.background import in_background


async def test_work_that_is_left_before_it_began_is_closed():
    work = asyncio.sleep(60)
    async with in_background(work):
        pass
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED


async def test_work_is_cancelled_and_waited_for():
    told = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            told.append("ended")

    async with in_background(work()):
        await asyncio.sleep(0)
    assert told == ["ended"]
