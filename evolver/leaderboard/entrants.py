"""Who takes part in a scenario: the library's policies with the hooks that it exercises."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from evolver import library
from evolver.errors import ExperimentRefused
from evolver.exercised import keep_hooks
from evolver.leaderboard.runs import verified
from evolver.leaderboard.spec import ScenarioSpec
from evolver.leaderboard.tuning import Entry
from sandbox.policies import default_text

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Given:
    """A policy from outside of the library, that enters under the same rules."""

    name: str
    text: str


def checked(given: Given) -> Given:
    """The same; raises `ExperimentRefused` when its name is taken, `PolicyRefused` when illegal."""
    if given.name in (*library.names(), DEFAULT):
        raise ExperimentRefused(f"The name {given.name} is taken: call the entry something else.")
    verified(given.text)
    return given


def entrants(
    spec: ScenarioSpec, hooks: Collection[str], given: Sequence[Given] = ()
) -> tuple[Entry, ...]:
    """Everyone with one of these hooks, constants as written; equal ones take part once.

    The scenario's own system and its baseline come first. Of the others a policy whose text is that
    of another, once only these hooks are left of it, is left out.
    """
    named = [spec.system, spec.baseline.policy]
    first = [name for name in dict.fromkeys(named) if name is not None]
    texts = {name: library.read(name) for name in library.names()} | {DEFAULT: default_text()}
    own = [entry for name in first if (entry := _entry(name, texts[name], spec, hooks))]
    others = [Given(name, text) for name, text in texts.items() if name not in first]
    seen = {entry.source.canonical for entry in own}
    for one in (*others, *given):
        entry = _entry(one.name, one.text, spec, hooks)
        if entry is not None and entry.source.canonical not in seen:
            seen.add(entry.source.canonical)
            own.append(entry)
    return tuple(own)


def group_of(hooks: Collection[str]) -> str:
    """What a policy of these hooks decides, in a word or two."""
    found = [word for word, names in _GROUPS.items() if not names.isdisjoint(hooks)]
    return " and ".join(found)


_GROUPS: Mapping[str, frozenset[str]] = {
    "plans": frozenset({"should_reschedule", "schedule"}),
    "routes": frozenset({"route", "route_decode"}),
    "queues": frozenset({"priority", "admit"}),
    "migrates": frozenset({"migrate"}),
    "caches": frozenset({"evict", "prewarm"}),
    "knobs": frozenset({"tune", "branches"}),
}


def _entry(name: str, text: str, spec: ScenarioSpec, hooks: Collection[str]) -> Entry | None:
    kept = keep_hooks(text, hooks)
    if kept is None:
        return None
    source = verified(kept)
    asked: dict[str, float] = {}
    if name == spec.system:
        asked |= spec.parameters
    if name == spec.baseline.policy:
        asked |= spec.baseline.parameters
    own = source.parameters()
    return Entry(name, source, {**own, **{k: v for k, v in asked.items() if k in own}})
