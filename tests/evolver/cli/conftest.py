"""The command line as a test sees it: arguments in, exit code and both streams out."""

import json
from dataclasses import dataclass

import pytest

from evolver.cli import main
from telemetry import generate, load_profile

GOOD_POLICY = '''"""The instance with the fewest waiting requests."""
WEIGHT = 2.0  # tune: 0 .. 8


def route(request, instances, memory):
    best, least = instances[0].id, INF
    for inst in instances:
        load = WEIGHT * inst.queued_requests + inst.running_requests
        if load < least:
            best, least = inst.id, load
    return best
'''
OTHER_POLICY = GOOD_POLICY.replace("WEIGHT = 2.0", "WEIGHT = 3.0")
REFUSED_POLICY = 'import os\n\n\ndef route(request, instances, memory):\n    return os.getpid()\n'


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    monkeypatch.setenv("EVOLVER_HOME", str(folder))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("USER", "ada")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("EVOLVER_STORE", raising=False)
    return folder


@pytest.fixture
def evolver(home, capsys):
    """Run one command line in this process."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Run(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def trace_file(tmp_path_factory):
    """Two hundred generated requests in a minute."""
    path = tmp_path_factory.mktemp("traces") / "minute.npz"
    generate(load_profile("azure2023_conv"), n=200, seed=1).save(path)
    return path


@pytest.fixture
def spot_file(tmp_path):
    """A spot series that does not say what its values mean."""
    path = tmp_path / "spot.json"
    path.write_text(json.dumps({"metadata": {"gap_seconds": 600}, "data": [3, 2, 0, 1, 3, 3]}))
    return path


@pytest.fixture
def policy_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(GOOD_POLICY)
    return path


@pytest.fixture
def refused_file(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text(REFUSED_POLICY)
    return path


@pytest.fixture
async def client():
    import aiohttp

    async with aiohttp.ClientSession() as session:
        yield session
