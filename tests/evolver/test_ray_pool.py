"""A cluster of two nodes on this machine: same scores as here, lost nodes, nodes of other kinds."""

import contextlib
import os
import re
import socket
import sys
import time
import types
from pathlib import Path

import pytest
from toy_pools import TOY, ToyScoring, toy_pool

from evolver import ray_cluster, ray_seats
from evolver.library import read
from evolver.ray_node import difference, installation, plainly
from evolver.ray_pool import RayPool
from sandbox.cluster import load_cluster
from sandbox.scores import Candidate
from sandbox.scoring import ServingScoring
from sandbox.windows import split_windows
from sandbox.worker import IsolationMissing, WorkerPool, WorkersUnavailable
from telemetry import generate, load_profile

ROOT = Path(__file__).parents[2]
WINDOWS = ("w0", "w1")
PAYLOAD = {"base": {"w0": 1.0, "w1": 10.0}}
SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300,
        "health_check_failure_threshold": 2}  # fmt: skip
# Ray's own files, pipes and deprecations are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def nodes():
    """A cluster of a head and one more node, each with a processor."""
    pytest.importorskip("ray", reason="Ray is not installed: uv sync --extra ray")
    kept = dict(os.environ)
    here = [str(ROOT), str(Path(TOY).parent)]
    os.environ |= {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": os.pathsep.join(here)}
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster(True, head_node_args={**small, "_system_config": SOON})
    cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    ray, joined = ray_cluster.connect(cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    assert joined
    os.environ.clear()
    os.environ |= kept


def ray_pool(cluster, prepare="toy_scorer:prepare", **options):
    defaults = {"deadline_s": 20.0, "memory_bytes": 400 << 20, "search_path": [TOY]}
    make = ToyScoring if prepare == "toy_scorer:prepare" else Prepared(prepare)
    return RayPool(make, PAYLOAD, cluster.address, **(defaults | options))


class Prepared:
    """Makes a toy scoring whose warm process prepares in a way of its own."""

    def __init__(self, prepare):
        self.prepare = prepare

    def __call__(self, payload):
        return ToyScoring(payload, self.prepare)


def job(text, **parameters):
    return Candidate(text, parameters or None), WINDOWS


def bits(found):
    return repr([[plainly(score) for score in scores] for scores in found])


MISHAPS = [job("well"), job("exit"), job("allocate"), job("refuse"), job("nan"),
           job("compile well"), job("compile exit"), job("well", FACTOR=7.5)]  # fmt: skip


def test_scores_are_those_of_this_machine_mishaps_too(nodes):
    done = []
    with toy_pool() as here, ray_pool(nodes) as there:
        scores = there.evaluate(MISHAPS, lambda index, found: done.append((index, found)))
        assert [s.name for s in there.layers] == [s.name for s in here.layers]
        assert bits(scores) == bits(here.evaluate(MISHAPS))
    assert sorted(done) == list(enumerate(scores))


def test_a_policy_scores_the_same_bits(nodes):
    trace = generate(load_profile("azure2023_conv"), n=300, seed=3)
    scenarios = split_windows(trace, load_cluster("edge-8b")).scenarios
    names = tuple(scenario.name for scenario in scenarios)
    jobs = [(Candidate(read(name)), names) for name in ("least_loaded", "round_robin")]
    local = WorkerPool(ServingScoring(scenarios))
    with local as here, RayPool(ServingScoring, scenarios, nodes.address) as there:
        assert bits(there.evaluate(jobs)) == bits(here.evaluate(jobs))


def test_a_node_that_dies_costs_its_evaluations_only(nodes):
    spare = nodes.add_node(num_cpus=1, object_store_memory=100 << 20)
    jobs = [job("dawdle_then_well", FACTOR=float(i)) for i in range(60)]
    done = []

    def on_done(index, scores):
        done.append(index)
        if len(done) == 8:
            nodes.remove_node(spare, allow_graceful=False)

    with ray_pool(nodes) as pool:
        scores = pool.evaluate(jobs, on_done)
    assert sorted(done) == list(range(60))
    assert {tuple(s.objective for s in found) for found in scores} == {(3.0, 30.0)}


def test_a_job_whose_seats_are_all_lost_is_given_up_and_nothing_is_guessed(nodes, monkeypatch):
    ask = ray_seats.Seats.ask

    def ask_and_kill(seats, place, index, plain):
        ask(seats, place, index, plain)
        seats._ray.kill(place.actor)

    with ray_pool(nodes, workers=1) as pool:
        monkeypatch.setattr(ray_seats.Seats, "ask", ask_and_kill)
        with pytest.raises(WorkersUnavailable, match=r"lost|loses its processes"):
            pool.evaluate([job("dawdle_then_well")])
        monkeypatch.undo()
        assert pool.evaluate([job("well")])[0][0].objective == 2.0


def test_when_no_node_has_our_version_the_run_ends_with_the_first_difference(nodes, monkeypatch):
    ours = installation() | {"numpy": "1.0"}
    monkeypatch.setattr(ray_seats, "installation", lambda: ours)
    with pytest.raises(
        WorkersUnavailable, match=r"Node .* has numpy .* where this machine has 1.0"
    ):
        ray_pool(nodes).start()
    assert difference(ours, ours) == ""


@pytest.fixture
def other_node(nodes, tmp_path, request):
    """A node whose interpreter finds one more file, by which it has other packages than we."""
    path, text = request.param
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text(text)
    search_path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    node = nodes.add_node(
        num_cpus=1, object_store_memory=100 << 20, env_vars={"PYTHONPATH": search_path}
    )
    yield node
    nodes.remove_node(node)


OLD_NUMPY = ("numpy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: numpy\nVersion: 1.0\n")
NO_EVOLVER = ("sitecustomize.py", "import sys\n\nsys.modules['evolver'] = None\n")


@pytest.mark.parametrize(
    ("other_node", "sentence"),
    [
        (OLD_NUMPY, r"Node .* has numpy 1\.0 where this machine has .*: install the same there"),
        (NO_EVOLVER, "cannot import evolver: install the same version there"),
    ],
    indirect=["other_node"],
)
def test_a_node_that_would_score_otherwise_is_left_out(nodes, other_node, sentence):
    with ray_pool(nodes) as pool:
        assert [score.objective for score in pool.evaluate([job("well")])[0]] == [2.0, 20.0]
        assert re.search(sentence, "".join(pool.notes))


def test_a_layer_that_a_node_lacks_is_demanded(nodes):
    prepare = "toy_scorer:prepare_without_landlock"
    with pytest.raises(IsolationMissing, match=r"Node .*: .*--accept-missing files") as missing:
        ray_pool(nodes, prepare).start()
    with ray_pool(nodes, prepare, accept_missing=missing.value.names, workers=1) as pool:
        assert {layer.name for layer in pool.missing} == {"files"}
        assert pool.notes


def test_nothing_of_a_pool_outlives_it(nodes):
    seen = []

    def interrupt(index, scores):
        seen.extend(seats_and_their_workers())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ray_pool(nodes) as pool:
        pool.evaluate([job("well")] * 5, interrupt)
    assert len(seen) >= 2
    assert settled(lambda: not any(map(lives, seen)))


def seats_and_their_workers():
    """Pids of actors, and of the processes that they started."""
    parents, titles = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            titles[folder.name] = (folder / "cmdline").read_bytes()
            parents[folder.name] = (folder / "stat").read_text().rpartition(")")[2].split()[1]
    seats = {pid for pid, title in titles.items() if title.startswith(b"ray::Seat")}
    return seats | {pid for pid, parent in parents.items() if parent in seats}


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def settled(holds, within_s=20.0):
    until_s = time.monotonic() + within_s
    while not holds() and time.monotonic() < until_s:
        time.sleep(0.02)
    return holds()


@pytest.fixture
def silent():
    """A port on which somebody listens and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1"])
def test_where_nobody_listens_is_said_at_once(address, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(is_initialized=lambda: False))
    with pytest.raises(WorkersUnavailable, match=r"No Ray cluster answers at .*refused"):
        ray_cluster.connect(address)


@pytest.mark.parametrize("address", ["moon", "", "http://127.0.0.1:1", "127.0.0.1:99999"])
def test_what_is_no_address_is_said(address, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(is_initialized=lambda: False))
    with pytest.raises(WorkersUnavailable, match=r"address of a Ray cluster|No Ray cluster"):
        ray_cluster.connect(address)


def test_somebody_else_behind_the_port_is_no_cluster(silent, monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed: uv sync --extra ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(WorkersUnavailable, match=f"No Ray cluster answers at {silent}"):
        ray_cluster.connect(silent)


def test_without_ray_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkersUnavailable, match=r"pip install 'evolver\[ray\]'"):
        ray_cluster.connect("local")
