"""What policies are told about lengths to come, by a stated error model; never the truth.

`noisy`: the true length times `bias` times an unbiased log-normal factor, exp(sigma z - sigma^2/2)
with z standard normal, and at least one token. What is left of a workflow is its critical path
alone on the fastest shape times such a factor of `workflow_sigma`. `measured`: what the gateway's
predictor says, see foretelling.py; its workflows are as under `noisy`. `history`: the mean of what
requests of the class have had so far; the kernel learns it as they finish (kernel/lengths.py).
`error_factor` multiplies the standard deviation of the log error: sigma where it is known, else
the one that the stated relative error would have if the error were log-normal. Every request has
draws of its own, which do not hang on how many requests follow it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sandbox.draws import HORIZONS, LENGTHS, stream
from sandbox.engine import LoadedPolicy
from sandbox.foretelling import foretold_lengths
from sandbox.hardware import Hardware
from sandbox.hidden import seen_through
from sandbox.kernel import state
from sandbox.request_spec import PredictorSpec
from sandbox.workflows import Graph, graph_of, has_workflows, remaining_s, unloaded_s

if TYPE_CHECKING:
    from sandbox.simulation import Setup

Floats = NDArray[np.float64]


def predict_lengths(setup: Setup) -> tuple[Floats, Floats]:
    """Predicted output tokens and their relative standard error; NaN where there is none yet."""
    n, spec = len(setup.trace), setup.cluster.predictor
    if spec.mode == "measured":
        return _worse(setup, *foretold_lengths(setup))
    if spec.mode != "noisy" or spec.sigma is None:
        return np.full(n, np.nan), np.full(n, np.nan)
    noise = spec.bias * _noise(setup, LENGTHS, spec.sigma * spec.error_factor)
    return np.maximum(setup.trace.output_tokens * noise, 1.0), np.full(n, relative_error(spec))


def told_in(setup: Setup) -> tuple[Floats, Floats]:
    """What policies are told in a simulation, whatever its door makes of the cluster file."""
    return predict_lengths(replace(setup, cluster=seen_through(setup.cluster)))


def _worse(setup: Setup, predicted: Floats, error: Floats) -> tuple[Floats, Floats]:
    """The same with as much more noise as `error_factor` asks for."""
    factor = setup.cluster.predictor.error_factor
    if factor == 1.0:
        return predicted, error
    variance = np.log1p(error * error)  # of the logarithm
    drawn = stream(setup.seed, LENGTHS).standard_normal(len(setup.trace))
    added = (factor * factor - 1.0) * variance
    noise = np.exp(np.sqrt(added) * drawn - 0.5 * added)
    return np.maximum(predicted * noise, 1.0), np.sqrt(np.expm1(factor * factor * variance))


def relative_error(spec: PredictorSpec) -> float:
    """Root mean square of predicted over true length, less one, of the noisy model."""
    sigma = (spec.sigma or 0.0) * spec.error_factor
    return float(np.sqrt(spec.bias**2 * np.expm1(sigma * sigma) + (spec.bias - 1.0) ** 2))


def predicts_lengths(spec: PredictorSpec) -> bool:
    """Do policies get predictions of answers?"""
    return spec.mode in ("measured", "history") or (spec.mode == "noisy" and spec.sigma is not None)


def predicts_horizons(spec: PredictorSpec) -> bool:
    """Do policies get predictions of whole workflows?"""
    return spec.mode != "history" and predicts_lengths(spec) and spec.workflow_sigma is not None


def predict_horizons(setup: Setup, graph: Graph, hardware: Hardware) -> Floats:
    """(requests, 2): seconds left of the workflow from each call on, and of all of it."""
    trace, spec = setup.trace, setup.cluster.predictor
    left = remaining_s(trace, graph, unloaded_s(trace, hardware))
    left = left * _noise(setup, HORIZONS, spec.workflow_sigma or 0.0)
    return np.stack([left, left[graph.root]], axis=1)


def _noise(setup: Setup, what: int, sigma: float) -> Floats:
    drawn = stream(setup.seed, what).standard_normal(len(setup.trace))
    return np.exp(sigma * drawn - 0.5 * sigma * sigma)


def with_workflows(
    sim: state.Sim, setup: Setup, policy: LoadedPolicy, hardware: Hardware
) -> state.Sim:
    """The rows with the graph of the trace's calls, and predictions if the policy reads them."""
    rows, spec = sim.requests, setup.cluster.predictor
    rows["root"], rows["workflow"] = np.arange(len(rows)), -1
    if not has_workflows(setup.trace):
        return sim
    graph = graph_of(setup.trace)
    rows["root"], rows["workflow"], rows["pending"] = graph.root, graph.number, graph.pending
    sim.settings["has_workflows"] = True
    sim = sim._replace(edge_offsets=graph.offsets, edge_rows=graph.children)
    fields = {"Request.workflow_remaining_s", "Request.workflow_horizon_s"}
    if fields.isdisjoint(policy.source.fields_read) or not predicts_horizons(spec):
        return sim
    sim.settings["has_horizons"] = True
    return sim._replace(horizons=predict_horizons(setup, graph, hardware))
