"""The fidelities of a search for serving policies: a probe, then training windows in blocks.

Candidates run on one typical window, those that are worth it on two more, one a light and one a
heavy one, and the few that are better there than what they were made from on the rest. Which
windows those are is a matter of their load, so the first look is not always at the beginning of
the trace.
"""

from __future__ import annotations

from collections.abc import Sequence

from evolver.task import Rung
from sandbox.scenario import Scenario
from sandbox.windows import Windows

FEWEST_TO_HALVE = 5  # with fewer training windows one screen is enough
PROBE_SHARE = 1 / 8  # of all training windows: a dearer probe costs more than it saves
LIGHT, HEAVY = 1 / 6, 5 / 6  # quantiles of load


def rungs_of(windows: Windows) -> tuple[Rung, ...]:
    """The rungs, cheapest first; those that count cover the training windows once."""
    ranked = [window.name for window in sorted(windows.training, key=_load)]
    screen = ranked[len(ranked) // 2]
    rungs = [Rung("screen", (screen,))]
    if windows.probe is not None and _is_cheap(windows.probe, windows.training):
        rungs.insert(0, Rung("probe", (windows.probe.name,), counts=False))
    half: tuple[str, ...] = ()
    if len(ranked) >= FEWEST_TO_HALVE:
        half = (ranked[_place(ranked, LIGHT)], ranked[_place(ranked, HEAVY)])
        rungs.append(Rung("half", half))
    seen = {screen, *half}
    rest = tuple(window.name for window in windows.training if window.name not in seen)
    return (*rungs, Rung("training", rest))


def _is_cheap(probe: Scenario, training: Sequence[Scenario]) -> bool:
    """Where windows are small the screen finds faults and twins as soon."""
    return len(probe.trace) <= PROBE_SHARE * sum(len(window.trace) for window in training)


def _load(window: Scenario) -> tuple[float, str]:
    """Tokens a second, ties by name."""
    trace = window.trace
    tokens = int(trace.prompt_tokens.sum()) + int(trace.output_tokens.sum())
    return tokens / trace.span_s, window.name


def _place(ranked: Sequence[str], quantile: float) -> int:
    return min(int(quantile * len(ranked)), len(ranked) - 1)
