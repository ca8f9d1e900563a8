"""Parallel samples of requests: their rows, lengths and qualities, and what became of them.

Quality and judgement are a stated model, not a measurement: sample k has a latent quality, uniform
between 0 and 1 and independent of its length, and a score is that plus noise of zero mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sandbox.classes import classes_of, classify
from sandbox.cluster import ClusterSpec
from sandbox.draws import stream
from sandbox.kernel import state
from telemetry.trace import Trace

if TYPE_CHECKING:
    from sandbox.engine import LoadedPolicy
    from sandbox.simulation import Setup

LENGTHS, QUALITIES, VERDICTS = 10, 11, 12
NUMBERS = (
    "samples_started", "samples_pruned", "samples_finished", "sample_tokens", "answer_quality",
)  # fmt: skip
"""What `sample_numbers` counts."""


def has_samples(cluster: ClusterSpec) -> bool:
    """Does any request ask for more than one sample?"""
    return cluster.samples is not None and cluster.samples.count > 1


def with_samples(sim: state.Sim, setup: Setup, policy: LoadedPolicy) -> state.Sim:
    """The rows with those of further samples behind them; unchanged when nobody asks for any."""
    spec, n = setup.cluster.samples, len(setup.trace)
    if spec is None or not has_samples(setup.cluster):
        return sim
    asks = np.flatnonzero(_asks(setup.trace, setup.cluster))
    more = spec.count - 1
    rows = np.concatenate([sim.requests, np.repeat(sim.requests[asks], more)])
    rows["answer_count"][asks] = rows["answer_count"][n:] = 0
    rows["order"][n:] = np.arange(n, len(rows))
    samples = np.zeros(len(rows), state.SAMPLE)
    samples["parent"] = np.arange(len(rows))
    samples["parent"][n:] = rows["after"][n:] = np.repeat(asks, more)
    samples["branch"][n:] = np.tile(np.arange(1, spec.count), len(asks))
    samples["asked"] = 1
    samples["asked"][asks] = samples["asked"][n:] = spec.count
    samples["base"][asks] = n + more * np.arange(len(asks))
    samples["length"][n:] = _lengths(setup, asks, more)
    quality = stream(setup.seed, QUALITIES).random((n, spec.count))
    samples["quality"][asks] = quality[asks, 0]
    samples["quality"][n:] = quality[asks, 1:].ravel()
    limits = sim.settings[0]
    limits["has_samples"], limits["has_branches"] = True, "branches" in policy.hooks
    limits["samples_needed"], limits["samples_every"] = spec.needed, spec.check_every_tokens
    limits["samples_noise"], limits["rows"] = spec.score_noise, n
    return sim._replace(requests=rows, samples=samples)


def _asks(trace: Trace, cluster: ClusterSpec) -> NDArray[np.bool_]:
    """Which requests are of a class that asks for samples."""
    names = cluster.samples.classes if cluster.samples else ()
    ids, _ = classify(trace, cluster)
    asking = [not names or one.name in names for one in classes_of(cluster)]
    return np.array(asking)[ids - 1]


def _lengths(setup: Setup, asks: NDArray[np.int64], more: int) -> NDArray[np.int64]:
    """Lengths of the further samples: the recorded one times an unbiased log-normal factor."""
    sigma = setup.cluster.samples.length_sigma if setup.cluster.samples else 0.0
    drawn = stream(setup.seed, LENGTHS).standard_normal((len(setup.trace), more))[asks]
    factor = np.exp(sigma * drawn - 0.5 * sigma * sigma)
    lengths = np.rint(setup.trace.output_tokens[asks, None] * factor)
    return np.clip(lengths, 1, 2**30).astype(np.int64).ravel()


def sample_numbers(sim: state.Sim, setup: Setup) -> Mapping[str, float]:
    """What the samples cost and brought, of the whole run.

    `answer_quality`: the mean over requests that entered and asked for samples of the quality of
    the finished sample that scores best, with a noise of the same size; 0 for one without any.
    """
    if not sim.settings[0]["has_samples"]:
        return {}
    spec, totals = setup.cluster.samples, sim.totals[0]
    n = len(setup.trace)
    mine = (sim.samples["asked"][:n] > 1) & (sim.requests["entered"][:n] >= 0)
    done = sim.samples["fate"] == state.HAS_FINISHED
    noise = 2.0 * stream(setup.seed, VERDICTS).random(len(done)) - 1.0
    spread = np.sqrt(3.0) * (spec.score_noise if spec else 0.0)
    score = np.where(done, sim.samples["quality"] + spread * noise, -np.inf)
    order = np.lexsort((score, sim.samples["parent"]))
    last = np.flatnonzero(np.diff(sim.samples["parent"][order], append=-1))
    best = order[last]
    quality = np.zeros(n)
    quality[sim.samples["parent"][best]] = np.where(done[best], sim.samples["quality"][best], 0.0)
    finished = sim.requests["state"][:n] == state.FINISHED
    quality = np.where(finished, quality, 0.0)[mine]
    return {
        "samples_started": float(totals["samples_started"]),
        "samples_pruned": float(totals["samples_pruned"]),
        "samples_finished": float(done.sum()),
        "sample_tokens": float(totals["sample_tokens"]),
        "answer_quality": float(quality.mean()) if len(quality) else float("nan"),
    }
