"""Two runs on one store: the second begins with what the first one won, unless it failed live."""

import ast
import zlib

import numpy as np
import pytest

from evolver import evolution
from evolver.budget import Limits
from evolver.evolution import evolve
from evolver.problem import Problem
from evolver.task import Human
from policy_store import PolicyStore
from sandbox.cluster import ClusterSpec
from sandbox.replay import LoadReport
from sandbox.scenario import Scenario
from sandbox.scores import WindowScore
from sandbox.windows import Windows
from telemetry.trace import Trace, TraceMeta

CLUSTER = ClusterSpec.model_validate(
    {"model": "Llama-3.1-8B", "pool": [{"gpu": "L40S", "count": 4}]}
)
PLAIN = """def route(request, instances, memory):
    best, least = instances[0].id, INF
    for inst in instances:
        if inst.queued_requests < least:
            best, least = inst.id, inst.queued_requests
    return best
"""
CUTS = 16  # 4 to search on, 2 to choose on, 10 to prove on


class Slices(Problem):
    """A problem whose windows are cut without a simulation."""

    def windows(self):
        length_s = self.trace.span_s / CUTS
        cut = tuple(
            Scenario(f"w{k:02d}", self.trace.slice(k * length_s, (k + 1) * length_s),
                     self.cluster, None, 0.0, 0, "open", k * length_s, (k + 1) * length_s)
            for k in range(CUTS)
        )  # fmt: skip
        return Windows(cut[:4], cut[4:6], cut[6:], length_s, 0.1, ())


class Pool:
    """Scores what a policy does by a checksum: equal for equal functions, the same everywhere."""

    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def evaluate(self, jobs, on_done):
        scores = [
            [WindowScore(w, worth(job.source_text)) for w in windows] for job, windows in jobs
        ]
        for index, found in enumerate(scores):
            on_done(index, found)
        return scores


def worth(text):
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    return 1.0 + zlib.crc32("".join(map(ast.dump, functions)).encode()) / 2**32


def problem(seed, rate=1.0):
    rng = np.random.default_rng(seed)
    n, span_s = 800, 160.0 / rate
    trace = Trace.of(
        TraceMeta(name="made"), arrival_s=np.sort(rng.uniform(0.0, span_s, n)),
        prompt_tokens=rng.integers(10, 2000, n), output_tokens=rng.integers(1, 40, n),
        span_s=span_s,
    )  # fmt: skip
    return Slices(trace, CLUSTER, LoadReport(0.5 * rate, 10.0, n / span_s, 1.0), seed=seed)


@pytest.fixture
def run(monkeypatch, store):
    monkeypatch.setattr(evolution, "start_pool", lambda *_: Pool())
    monkeypatch.setattr("evolver.library.names", lambda: ("least_loaded", "round_robin"))
    monkeypatch.setattr(evolution, "humans", lambda *_: (Human("plain", PLAIN, active=True),))

    def once(problem, evaluations=20):
        return evolve(problem, Limits(evaluations=evaluations), store)

    return once


@pytest.fixture
def store(tmp_path):
    with PolicyStore.open(tmp_path / "store.db") as opened:
        yield opened


def veterans_in(store, run):
    """Names and scores of the veterans that a run began with."""
    founders = [e.payload for e in store.runs.events(run) if e.kind == "human_scored"]
    return {f["name"][-8:]: f["score"] for f in founders if f["proposer"] == "veteran"}


def test_a_run_begins_with_what_an_earlier_one_won(run, store):
    first = run(problem(1))
    assert veterans_in(store, first.run) == {}
    second, elsewhere = run(problem(2), 4), run(problem(3, rate=40.0), 4)
    assert veterans_in(store, second.run) == {
        first.policy[:8]: pytest.approx(first.result.verdict.winner.score)
    }
    assert veterans_in(store, elsewhere.run) == {}
    store.approve(first.policy, "ada", "good")
    store.activate(first.policy, store.slot().sequence, by="ada", note="now")
    store.eject(first.policy, "host-1", "slow")
    config = store.runs.get_run(run(problem(4), 4).run).config
    assert first.policy[:8] not in {one["name"][-8:] for one in config["veterans"]}
    assert config["failed"][0].startswith("ejected when live (slow), in a regime at distance 0.")
