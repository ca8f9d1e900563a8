"""Work beside the event loop leaves it its turns, and the process as it was."""

import asyncio
import sys

import pytest

from serving_adapter.short_turns import SHORT_S, beside_the_loop


def test_turns_are_short_while_anything_is_done_and_as_before_afterwards():
    async def two(usual_s):
        quick = asyncio.create_task(beside_the_loop(sys.getswitchinterval))
        slow = asyncio.create_task(beside_the_loop(lambda: asyncio.run(asyncio.sleep(0.02))))
        assert await quick == pytest.approx(SHORT_S)
        assert sys.getswitchinterval() == pytest.approx(SHORT_S)
        await slow
        assert sys.getswitchinterval() == usual_s

    asyncio.run(two(sys.getswitchinterval()))


def test_an_error_of_the_work_is_raised_and_turns_are_as_before():
    usual_s = sys.getswitchinterval()
    with pytest.raises(ZeroDivisionError):
        asyncio.run(beside_the_loop(divmod, 1, 0))
    assert sys.getswitchinterval() == usual_s
