"""Evolution over a scenario's tuned library: crosses its hooks, grows them, searches from there.

The search is the product's own loop with the seeded mutator and the tuner, and recorded replies of
a model where there are some. It looks at training windows only; what enters the board is chosen on
others, as a policy that is to be deployed would be, and on training windows too where traffic is
recorded and others are few.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Protocol

from evolver.archive import Member
from evolver.budget import Limits
from evolver.draft import Draft
from evolver.growth import GROWING, Place, Weights, enriched, groups, grown, saving, weigh
from evolver.leaderboard.runs import verified
from evolver.leaderboard.tuning import Entry, Marking, objectives, results_of, tune
from evolver.loop import Memory, Search, SearchSettings
from evolver.mutator import Mutator
from evolver.proposer import Proposer
from evolver.splice import blend_routes, take_hook
from evolver.task import Human, Program, Results, Task
from evolver.terms import Term
from evolver.written import written
from sandbox.hook_text import hook_text
from sandbox.policies import default_text
from sandbox.source import PolicySource
from sandbox.verifier import PolicyRefused

FOUNDERS = 3  # of the tuned library, that the search starts from and must beat
FINALISTS = 6  # of the search, and of the library, that are compared where things are chosen
DONORS = 3  # of a hook, the best of the tuned library that have it
TUNED = 2  # of those, that get their constants tuned once more
LEAST_GAIN = 0.0005  # on the screen, for a hook to be taken over


class Board(Task, Marking, Protocol):
    """A task that can also be asked for objectives alone."""


@dataclass(frozen=True, slots=True)
class Breeding:
    """What evolution may look at and spend.

    Attributes:
        screen: some of the training windows, for a first look.
        choosing: where what enters is chosen; better nothing that was searched on.
        tries: settings of constants, of whatever is tuned.
        evaluations: of the search: one candidate on all training windows each.
    """

    screen: Sequence[str]
    training: Sequence[str]
    choosing: Sequence[str]
    tries: int
    evaluations: float
    seed: int


@dataclass(frozen=True, slots=True)
class Evolved:
    """What evolution entered.

    Attributes:
        entry: None when no candidate was surely better where things are chosen.
        idea: where it came from and what was changed.
        library: whom it was compared with there, and `gain` by which share it was better.
    """

    entry: Entry | None
    idea: str
    library: str
    gain: float
    candidates: int


def crossed(
    task: Board, tuned: Sequence[Entry], hooks: Collection[str], breeding: Breeding
) -> list[Entry]:
    """The best entry with better hooks of others, after each hook that made it better.

    Hook by hook that of each of the best other entries is tried in its place, and its routing
    blended with theirs, on the screen; the best child gets its constants tuned.
    """
    best, found = tuned[0], list[Entry]()
    least = objectives(task, [best], breeding.screen)[0]
    for hook in sorted(hooks, key=lambda one: one in best.source.hooks):
        children = _children(best, tuned, hook, breeding.seed)
        values = objectives(task, children, breeding.screen)
        if not children or min(values) >= least * (1.0 - LEAST_GAIN):
            continue
        _, place = min((value, k) for k, value in enumerate(values))
        child = tune(task, children[place], breeding.training, breeding.tries, breeding.seed)
        if child.objective < best.objective:
            best = child
            least = objectives(task, [best], breeding.screen)[0]
            found.append(best)
    return found


def matured(task: Board, entry: Entry, hooks: Collection[str], breeding: Breeding) -> list[Entry]:
    """The entry with typical terms in its scores, after each hook that they made better."""
    best, found = entry, list[Entry]()
    places = [(hook, place) for hook in GROWING if hook in hooks for place in GROWING[hook]]
    for hook, place in places:
        for terms in groups(hook):
            child = _with_terms(task, best, hook, place, terms, breeding)
            if child is not None and child.objective < best.objective:
                best = child
                found.append(best)
    return found


def _with_terms(
    task: Board, base: Entry, hook: str, place: Place, terms: Sequence[Term], breeding: Breeding
) -> Entry | None:
    """The base with those of the terms that save something in this hook; None without any."""
    plain = Draft.read(base.source.annotated(), base.parameters)
    default = Draft.read(default_text())
    rich = enriched(plain, default, hook, place, terms)
    entry = None if rich is None else _verified(rich.text, base.name)
    if rich is None or entry is None:
        return None

    def scores(windows: Sequence[str], settings: Sequence[Weights]) -> list[Sequence[float]]:
        entries = [replace(entry, parameters={**entry.parameters, **one}) for one in settings]
        return [_logarithms(task, one) for one in results_of(task, entries, windows)]

    weights = weigh(
        list(rich.terms),
        functools.partial(scores, breeding.screen),
        functools.partial(scores, breeding.training),
    )
    weighed = [(rich.terms[name], value) for name, value in weights.items()]
    text = grown(plain, default, hook, place, terms, weighed) if weighed else None
    child = None if text is None else _verified(text, f"{base.name} + {hook} terms")
    if child is None:
        return None
    return replace(child, objective=objectives(task, [child], breeding.training)[0])


def _children(base: Entry, entries: Sequence[Entry], hook: str, seed: int) -> list[Entry]:
    """The base with this hook of each other entry, and with blends of its own and theirs."""
    found: dict[str, Entry] = {}
    donors = [one for one in entries if hook in one.source.hooks and one.source != base.source]
    for donor in donors[:DONORS]:
        for child in (_with_hook(base, donor, hook), _blended(base, donor, hook, seed)):
            if child is not None and child.source.canonical != base.source.canonical:
                found.setdefault(child.source.canonical, child)
    return list(found.values())


def _with_hook(base: Entry, donor: Entry, hook: str) -> Entry | None:
    """The base with this hook of the donor, constants included."""
    draft = Draft.read(base.source.annotated(), base.parameters)
    take_hook(draft, Draft.read(donor.source.annotated(), donor.parameters), hook)
    return _read(draft, f"{base.name} + {donor.name}.{hook}")


def _blended(base: Entry, donor: Entry, hook: str, seed: int) -> Entry | None:
    """The base routing by a weighted sum of both's costs; None where either has no such cost."""
    if hook not in ("route", "route_decode") or hook not in base.source.hooks:
        return None
    draft = Draft.read(base.source.annotated(), base.parameters)
    other = Draft.read(donor.source.annotated(), donor.parameters)
    if blend_routes(draft, other, hook, random.Random(seed)) is None:
        return None
    return _read(draft, f"{base.name} x {donor.name}.{hook}")


def _read(draft: Draft, name: str) -> Entry | None:
    draft.claim = f"Bred from the library: {name}."
    return _verified(draft.text(), name)


def _verified(text: str, name: str) -> Entry | None:
    try:
        source = verified(text)
    except PolicyRefused:
        return None
    return Entry(name, source, source.parameters())


def evolve(
    task: Board,
    tuned: Sequence[Entry],
    hooks: frozenset[str],
    breeding: Breeding,
    models: Sequence[Proposer] = (),
) -> Evolved:
    """Cross and grow the best of the tuned library, search from there, and choose.

    Args:
        tuned: the best first; in one of them at least no decision failed.
    """
    able = [one for one in tuned if math.isfinite(one.objective)]
    people = tuple(_human(one) for one in able[:FOUNDERS])
    bred = crossed(task, able, hooks, breeding)
    bred += matured(task, [able[0], *bred][-1], hooks, breeding)
    veterans = tuple(_human(one) for one in bred)
    donors = tuple(Draft.read(one.source.annotated(), one.parameters).text() for one in able)
    settings = SearchSettings(seed=breeding.seed, human_share=0.0, tuned_humans=0, varied_share=0.0)
    search = Search(
        task,
        (*models, Mutator(donors, hooks=hooks)),
        people,
        Limits(evaluations=breeding.evaluations + len(people) + len(bred)),
        settings,
        memory=Memory(veterans=veterans),
    )
    result = search.run()
    known = {_code_of(one.source) for one in able}
    best: dict[str, Member] = {}
    for member in result.members:
        if _code_of(member.program) not in known and not member.breaks:
            best.setdefault(member.program.canonical, member)
    tried = result.tally.scored + result.tally.dropped + len(bred)
    return _chosen(task, list(best.values()), able, breeding, tried)


def _code_of(program: Program) -> frozenset[str]:
    """Equal for policies that differ in names and constants only."""
    source = _source(program)
    return frozenset(hook_text(source, hook).digest for hook in source.hooks)


def _source(program: Program) -> PolicySource:
    if not isinstance(program, PolicySource):
        raise TypeError("Only verified policies run.")
    return program


def _human(entry: Entry) -> Human:
    source = written(entry.source.annotated(), entry.parameters, entry.name)
    return Human(entry.name, source.annotated())


def _chosen(
    task: Board,
    members: Sequence[Member],
    able: Sequence[Entry],
    breeding: Breeding,
    candidates: int,
) -> Evolved:
    """The finalist that is surest to be better than the library, if one is; the first tuned on."""
    windows = breeding.choosing
    library = able[:FINALISTS]
    values = objectives(task, library, windows)
    rival = library[values.index(min(values))]
    entries = [_entry(member) for member in members[:FINALISTS]]
    more = [
        tune(task, one, breeding.training, breeding.tries, breeding.seed + k)
        for k, one in enumerate(entries[:TUNED])
    ]
    finalists = [*entries, *more]
    logs = [_logarithms(task, one) for one in results_of(task, [rival, *finalists], windows)]
    gains = [saving(logs[0], each) for each in logs[1:]]
    sure = [gain - error for gain, error in gains]
    if not sure or max(sure) <= 0.0:
        return Evolved(None, "", rival.name, 0.0, candidates)
    place = sure.index(max(sure))
    idea = next(m.idea for m in members if m.name == finalists[place].name)
    saved = 1.0 - math.exp(-gains[place][0])
    return Evolved(finalists[place], idea, rival.name, saved, candidates)


def _logarithms(task: Board, results: Results) -> list[float]:
    """Of the objectives by window, under all its seeds; infinite where a decision failed."""
    units: dict[str, list[float]] = {}
    for name, result in results.items():
        value = math.inf if result.fault is not None else math.log(result.objective)
        units.setdefault(task.unit(name), []).append(value)
    return [fmean(values) for values in units.values()]


def _entry(member: Member) -> Entry:
    return Entry(member.name, _source(member.program), dict(member.parameters), member.score)
