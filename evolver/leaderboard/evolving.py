"""Evolution over a scenario's tuned library: crosses its hooks, then searches from there.

The search is the product's own loop with the seeded mutator and the tuner, and recorded replies of
a model where there are some. It looks at training windows only; what enters the board is chosen on
validation windows, as a policy that is to be deployed would be.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from evolver.archive import Member
from evolver.budget import Limits
from evolver.draft import Draft
from evolver.leaderboard.runs import verified
from evolver.leaderboard.tuning import Entry, objectives, tune
from evolver.loop import Memory, Search, SearchSettings
from evolver.mutator import Mutator
from evolver.proposer import Proposer
from evolver.splice import blend_routes, take_hook
from evolver.task import Human, Split, Task
from evolver.written import written
from sandbox.source import PolicySource
from sandbox.verifier import PolicyRefused

FOUNDERS = 3  # of the tuned library, that the search starts from and must beat
FINALISTS = 6  # of the search, that are compared on validation windows
DONORS = 3  # of a hook, the best of the tuned library that have it
TUNED = 2  # of those, that get their constants tuned once more
LEAST_GAIN = 0.002  # on the screen, for a hook to be taken over


@dataclass(frozen=True, slots=True)
class Breeding:
    """What evolution may look at and spend.

    Attributes:
        screen: some of the training windows, for a first look.
        tries: settings of constants, of whatever is tuned.
        evaluations: of the search: one candidate on all training windows each.
    """

    screen: Sequence[str]
    training: Sequence[str]
    tries: int
    evaluations: float
    seed: int


@dataclass(frozen=True, slots=True)
class Evolved:
    """What evolution entered.

    Attributes:
        entry: None when no candidate was better on the validation windows.
        idea: where it came from and what was changed.
        library: whom it was compared with there, and `gain` by which share it was better.
    """

    entry: Entry | None
    idea: str
    library: str
    gain: float
    candidates: int


def crossed(
    task: Task, tuned: Sequence[Entry], hooks: Collection[str], breeding: Breeding
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
        best = tune(task, children[place], breeding.training, breeding.tries, breeding.seed)
        least = objectives(task, [best], breeding.screen)[0]
        found.append(best)
    return found


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
    try:
        source = verified(draft.text())
    except PolicyRefused:
        return None
    return Entry(name, source, source.parameters())


def evolve(
    task: Task,
    tuned: Sequence[Entry],
    hooks: frozenset[str],
    breeding: Breeding,
    models: Sequence[Proposer] = (),
) -> Evolved:
    """Search from the tuned library and choose on validation windows."""
    able = [one for one in tuned if math.isfinite(one.objective)]
    people = tuple(_human(one) for one in able[:FOUNDERS])
    bred = crossed(task, able, hooks, breeding)
    veterans = tuple(_human(one) for one in bred)
    donors = tuple(_human(one).text for one in able)
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
    texts = {verified(one.text).canonical for one in people}
    best: dict[str, Member] = {}
    for member in result.members:
        if member.program.canonical not in texts and not member.breaks:
            best.setdefault(member.program.canonical, member)
    tried = result.tally.scored + result.tally.dropped + len(bred)
    return _chosen(task, list(best.values()), able, breeding, tried)


def _human(entry: Entry) -> Human:
    source = written(entry.source.annotated(), entry.parameters, entry.name)
    return Human(entry.name, source.annotated())


def _chosen(
    task: Task,
    members: Sequence[Member],
    able: Sequence[Entry],
    breeding: Breeding,
    candidates: int,
) -> Evolved:
    """The best of the finalists, if it is better than the library; the first of them tuned on."""
    windows = (*breeding.training, *task.windows(Split.VALIDATION))
    library = able[:FINALISTS]
    values = objectives(task, library, windows)
    bar, name = min((value, one.name) for value, one in zip(values, library, strict=True))
    entries = [_entry(member) for member in members[:FINALISTS]]
    more = [
        tune(task, one, breeding.training, breeding.tries, breeding.seed + k)
        for k, one in enumerate(entries[:TUNED])
    ]
    finalists = [*entries, *more]
    found = objectives(task, finalists, windows)
    if not finalists or min(found) >= bar:
        return Evolved(None, "", name, 0.0, candidates)
    least, place = min((value, k) for k, value in enumerate(found))
    idea = next(m.idea for m in members if m.name == finalists[place].name)
    return Evolved(finalists[place], idea, name, 1.0 - least / bar, candidates)


def _entry(member: Member) -> Entry:
    if not isinstance(member.program, PolicySource):
        raise TypeError("Only verified policies run.")
    return Entry(member.name, member.program, dict(member.parameters), member.score)
