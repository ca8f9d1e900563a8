"""`evolver fleet`: emulated engines for trying things out."""

import asyncio
from types import SimpleNamespace

import pytest

from evolver.cli.app import run
from evolver.cli.fleet_command import run_fleet
from evolver.cli.screen import Screen
from serving_adapter.emulation.fleet import EngineSpec


class Started:
    """A fleet that starts nothing, since engines take seconds to."""

    def __init__(self):
        spec = EngineSpec(gpu="H100", tp=2)
        urls = "http://127.0.0.1:1", "http://127.0.0.1:2"
        self.engines = [SimpleNamespace(url=url, model="m", spec=spec) for url in urls]
        self.urls, self.running = urls, False

    async def __aenter__(self):
        self.running = True

    async def __aexit__(self, *_):
        self.running = False


async def test_a_fleet_says_where_it_is_and_ends_when_told(capsys):
    stop, fleet = asyncio.Event(), Started()
    task = asyncio.create_task(run_fleet(fleet, Screen(), stop))
    await asyncio.sleep(0.01)
    assert fleet.running
    stop.set()
    await task
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "http://127.0.0.1:1  m on H100 tp=2"
    next_command = "evolver serve --engine http://127.0.0.1:1 --engine http://127.0.0.1:2"
    assert next_command in " ".join((said.out + said.err).split())
    assert not fleet.running


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
