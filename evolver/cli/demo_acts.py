"""The demo from the first page to the last: the whole job on a generated window, offline."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from evolver.budget import Limits
from evolver.cli import demo_pages as pages
from evolver.cli.demo_decision import Decision, decide
from evolver.cli.demo_model import ModelAct, beside, better, opening
from evolver.cli.demo_scene import Scale, person, problem
from evolver.cli.demo_swap import swap_live
from evolver.cli.demo_view import SearchView
from evolver.cli.kernel import warm_kernel
from evolver.cli.screen import Screen
from evolver.evolution import Evolution, evolve, humans
from evolver.problem import Problem
from evolver.written import written
from policy_store import PolicyStore
from sandbox.engine import load_policy
from sandbox.replay import ReplayResult, replay
from sandbox.simulation import Setup
from sandbox.source import PolicySource
from sandbox.verifier import verify

SIMPLEST = "round_robin"
WIDEST = 100  # columns; longer lines are hard to read


def play(
    screen: Screen,
    scale: Scale,
    seed: int,
    home: Path | None = None,
    model: ModelAct | None = None,
) -> None:
    """Show all eight acts; `home` is where the demo's store goes, else a temporary folder."""
    started_s = time.monotonic()
    screen.out.width = min(screen.out.width, WIDEST) if screen.out.is_terminal else WIDEST
    warm_kernel(screen)
    home = home or Path(tempfile.mkdtemp(prefix="evolver-demo-"))
    with waiting(screen, "drawing requests and finding out what the fleet can serve"):
        scene = problem(scale, seed)
    screen.show(pages.opening(scene, seed))
    with waiting(screen, "compiling what people wrote"):
        results = replay_humans(scene)
    screen.show(pages.baselines(results))
    with PolicyStore.open(home / "store.db") as store:
        evolution, view = searches(screen, scene, scale, store, model or ModelAct())
        winner = evolution.result.verdict.winner
        screen.show(pages.proof(evolution, view.forebear(winner.digest) if winner else None))
        by, decision = person(), None
        if evolution.policy is not None:
            decision = decide(store, evolution.policy, by, home, screen)
        screen.show(pages.approval(decision, by))
    serve(screen, scene, evolution, decision, scale)
    screen.show(pages.closing(home, evolution.policy, time.monotonic() - started_s))


@contextmanager
def waiting(screen: Screen, what: str) -> Iterator[None]:
    """Say what takes a moment, where somebody watches."""
    if screen.quiet or not screen.out.is_terminal:
        yield
        return
    with screen.out.status(what, spinner_style="cyan"):
        yield


def replay_humans(scene: Problem) -> list[ReplayResult]:
    """Every policy that people wrote for this door, on the whole window."""
    sources: dict[str, PolicySource] = {}
    for human in humans(scene.hooks):
        source = verify(human.text, human.name)
        sources.setdefault(source.digest(), source)  # the same routing under two names counts once
    policies = [
        (source.name, load_policy(source, engine="compiled", only=scene.hooks))
        for source in sources.values()
    ]
    return replay(_setup(scene), policies)


def _setup(scene: Problem) -> Setup:
    return Setup(scene.trace, scene.cluster, scene.capacity, scene.mode, scene.seed)


def searches(
    screen: Screen, scene: Problem, scale: Scale, store: PolicyStore, model: ModelAct
) -> tuple[Evolution, SearchView]:
    """Both searches, and the one whose winner goes on."""
    found = [("the mutator", *search(screen, scene, scale, store))]
    writers = model.writers()
    screen.show(opening(writers, scale))
    with waiting(screen, "searching"):
        found.append((writers.models[0].model, *model.search(screen, scene, scale, store, writers)))
    runs = [(who, evolution) for who, evolution, _ in found]
    screen.show(beside(runs))
    _, evolution, view = found[better(runs)]
    return evolution, view


def search(
    screen: Screen, scene: Problem, scale: Scale, store: PolicyStore
) -> tuple[Evolution, SearchView]:
    """The evolution, told as it happens."""
    screen.show(pages.search_opening(_windows(scene), scale))
    limits = Limits(evaluations=scale.evaluations, seconds=scale.seconds)
    view = SearchView(screen)
    with waiting(screen, "searching"):
        return evolve(scene, limits, store, sinks=(view,)), view


def _windows(scene: Problem) -> str:
    windows = scene.windows()
    return (
        f"It sees {len(windows.training)} windows of {windows.length_s:.0f} s and chooses on "
        f"{len(windows.validation)} others; {len(windows.sealed)} stay sealed for the proof."
    )


def serve(
    screen: Screen, scene: Problem, evolution: Evolution, decision: Decision | None, scale: Scale
) -> None:
    """The swap: from the best human policy to the approved one, on a stretch nobody searched on.

    Without a winner the swap is from the simplest policy to the best human one.
    """
    best = evolution.result.verdict.best_human
    before = (best.name, written(best.text, best.parameters).canonical)
    if decision is not None and decision.snapshot.active is not None:
        after, digest = ("the winner", decision.snapshot.active.source), decision.snapshot.digest
    else:
        simplest = next(h for h in humans(scene.hooks) if h.name == SIMPLEST)
        after, digest = before, None
        before = (SIMPLEST, verify(simplest.text).canonical)
    start_s = evolution.windows.sealed[0].start_s
    stretch = scene.trace.slice(start_s, start_s + scale.live_s * scale.time_scale)
    setup = _setup(replace(scene, trace=stretch))
    screen.show(pages.swap_opening(before[0], after[0], len(stretch), scale))
    with waiting(screen, "serving"):
        swap = swap_live(
            setup, before, after, scale,
            lambda: screen.out.print("swapped while requests were in flight", style="dim"),
        )  # fmt: skip
    screen.show(pages.swap_result(swap, digest))
