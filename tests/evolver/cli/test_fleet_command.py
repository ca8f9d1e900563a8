"""`evolver fleet`: emulated engines for trying things out."""

import asyncio
import re
import urllib.request

import pytest

from evolver.cli.app import run
from evolver.cli.fleet_command import run_fleet
from evolver.cli.screen import Screen
from serving_adapter.emulation.fleet import EngineSpec, Fleet


async def test_a_fleet_says_where_it_is_and_ends_when_told(capsys):
    stop = asyncio.Event()
    running = asyncio.create_task(run_fleet(Fleet.of(1, EngineSpec()), Screen(), stop))
    said = ""
    async with asyncio.timeout(60):
        while "evolver serve" not in said:
            await asyncio.sleep(0.02)
            captured = capsys.readouterr()
            said += captured.out + captured.err
        url = re.search(r"evolver serve --engine (http://127.0.0.1:\d+)", said)[1]
        with await asyncio.to_thread(urllib.request.urlopen, url + "/health") as answer:
            assert answer.status == 200
        stop.set()
        await running
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(urllib.request.urlopen, url + "/health")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fault", "slow:4"], "names no engine"),
        (["--fault", "3=slow:4"], "names no engine"),
        (["--fault", "0=late"], "No fault"),
        (["--gpu", "ABACUS"], "ABACUS"),
        (["--first-port", "65535"], "begin lower"),
    ],
)
def test_what_cannot_be_meant_is_refused(capsys, words, said):
    assert run(["fleet", *words]) == 2
    assert said in capsys.readouterr().err
