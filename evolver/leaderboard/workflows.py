"""Draws requests: lengths, arrivals, workflows of calls, and prompts that begin alike.

All calls of a workflow have its arrival time: who reveals them decides when they come, and a cut
in time never parts a workflow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evolver.errors import ExperimentRefused
from evolver.leaderboard.spec import Drawn, Flow, Lengths, Prefix
from telemetry.blocks import Blocks, offsets_of
from telemetry.joins import Joins
from telemetry.trace import Trace, TraceMeta

BLOCK_TOKENS = 64
MOST_CALLS = 512  # of a workflow
MOST_BLOCKS = 20_000_000  # of all prompts
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """Calls of all workflows, row by row: whose, after whom, and who else must have ended."""

    workflow: Ints
    turn: Ints
    after: Ints
    joins: list[list[int]]


def draw_requests(drawn: Drawn, requests: int, seed: int) -> Trace:
    """A trace of about so many requests, one arrival a second; same arguments, same bits."""
    rng = np.random.default_rng(seed)
    shape = _shape(drawn.workflow, requests, rng)
    arrivals = int(shape.workflow[-1]) + 1
    start = _arrivals(drawn, arrivals, rng)
    prompt, output = _pairs(drawn, len(shape.workflow), rng)
    think = np.zeros(len(prompt))
    flow = drawn.workflow
    if flow is not None and flow.think_s > 0.0:
        think = np.where(shape.after >= 0, rng.exponential(flow.think_s, len(prompt)), 0.0)
    group, ahead = _groups(drawn.prefix, arrivals, rng)
    whole = _prompts(drawn, shape, prompt, output, ahead)
    if whole.sum() // BLOCK_TOKENS > MOST_BLOCKS:
        raise ExperimentRefused("The prompts drawn are too many or too long; ask for fewer.")
    history = flow is not None and flow.history
    blocks = None
    if history or drawn.prefix is not None:
        blocks = _blocks(shape, whole, group, ahead, history)
    closed = flow is not None
    return Trace.of(
        TraceMeta(name="drawn", format="generated", generated_from=0),
        arrival_s=start[shape.workflow],
        prompt_tokens=whole,
        output_tokens=output,
        session=shape.workflow if closed else None,
        turn=shape.turn if closed else None,
        after=shape.after if closed else None,
        think_s=think if closed else None,
        joins=Joins.of_lists(shape.joins) if closed else None,
        blocks=blocks,
        span_s=float(start[-1]),
    )


def draw_lengths(law: Lengths, normal: Floats) -> Ints:
    """Whole numbers of a log-normal law at these normal scores."""
    values = np.rint(law.median * np.exp(law.sigma * normal))
    return np.asarray(np.clip(values, law.least, law.most), np.int64)


def _shape(flow: Flow | None, requests: int, rng: np.random.Generator) -> _Shape:
    if flow is None:
        rows = np.arange(requests)
        return _Shape(rows, np.zeros_like(rows), np.full(requests, -1), [])
    stages = draw_lengths(flow.stages, rng.standard_normal(requests))
    workflow: list[int] = []
    turn: list[int] = []
    after: list[int] = []
    joins: list[list[int]] = []
    for number in range(requests):
        before: list[int] = []
        first = len(workflow)
        for stage in range(int(stages[number])):
            width = int(draw_lengths(flow.width, rng.standard_normal(1))[0]) if stage else 1
            width = min(width, MOST_CALLS - (len(workflow) - first))
            if width < 1:
                break
            calls = list(range(len(workflow), len(workflow) + width))
            workflow += [number] * width
            turn += [call - first for call in calls]
            after += [before[0] if before else -1] * width
            joins += [before[1:]] * width
            before = calls
        if len(workflow) >= requests:
            break
    return _Shape(np.array(workflow), np.array(turn), np.array(after), joins)


def _arrivals(drawn: Drawn, count: int, rng: np.random.Generator) -> Floats:
    """Arrival times with mean distance 1."""
    if drawn.arrivals == "poisson":
        return np.cumsum(rng.exponential(1.0, count))
    shape = 1.0 / drawn.cv**2
    return np.cumsum(rng.gamma(shape, 1.0 / shape, count))


def _pairs(drawn: Drawn, count: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    first, other = rng.standard_normal((2, count))
    second = drawn.correlation * first + np.sqrt(1.0 - drawn.correlation**2) * other
    return draw_lengths(drawn.prompt, first), draw_lengths(drawn.output, second)


def _groups(prefix: Prefix | None, arrivals: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Group of each arrival, -1 for none, and how many tokens its prompts begin with."""
    if prefix is None:
        return np.full(arrivals, -1), np.zeros(arrivals, np.int64)
    if prefix.order == "scan":
        group = np.arange(arrivals) % prefix.groups
    else:
        weight = (1.0 + np.arange(prefix.groups)) ** -prefix.zipf
        group = rng.choice(prefix.groups, arrivals, p=weight / weight.sum())
    texts = draw_lengths(prefix.tokens, rng.standard_normal(prefix.groups))
    texts = np.maximum(texts // BLOCK_TOKENS, 1) * BLOCK_TOKENS
    group = np.where(rng.random(arrivals) < prefix.share, group, -1)
    return group, np.where(group >= 0, texts[group], 0)


def _prompts(drawn: Drawn, shape: _Shape, prompt: Ints, output: Ints, ahead: Ints) -> Ints:
    """Prompts with what precedes them: the group's text, or the history so far, never over most."""
    own = ahead[shape.workflow]
    if drawn.workflow is None or not drawn.workflow.history:
        return prompt + own
    whole = prompt + own
    most = own + drawn.prompt.most
    for row, parent in enumerate(shape.after.tolist()):
        if parent >= 0:
            whole[row] = min(whole[parent] + output[parent] + prompt[row], most[row])
    return whole


def _blocks(shape: _Shape, whole: Ints, group: Ints, ahead: Ints, history: bool) -> Blocks:
    """Ids of the whole blocks of every prompt: those of the text before it, then new ones."""
    counts = whole // BLOCK_TOKENS
    texts: dict[int, Ints] = {}
    found: list[Ints] = []
    fresh = 0
    for row, parent in enumerate(shape.after.tolist()):
        number = int(shape.workflow[row])
        if history and parent >= 0:
            before = found[parent]
        else:
            key, size = int(group[number]), int(ahead[number]) // BLOCK_TOKENS
            if key >= 0 and key not in texts:
                texts[key], fresh = np.arange(fresh, fresh + size), fresh + size
            before = texts.get(key, np.zeros(0, np.int64))
        kept = before[: counts[row]]
        more = int(counts[row]) - len(kept)
        found.append(np.concatenate([kept, np.arange(fresh, fresh + more)]))
        fresh += more
    return Blocks(offsets_of(counts), np.concatenate(found), BLOCK_TOKENS)
