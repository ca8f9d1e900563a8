"""The archive: the candidates worth keeping, on a few islands, the best of each niche.

Every member was scored on all training windows. Ties go to the smaller text, then to the smaller
digest, so that equal runs keep equal archives.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evolver.task import Program, Results

HUMAN, VETERAN = "human", "veteran"  # origins that are no proposer's name


@dataclass(frozen=True, slots=True)
class Member:
    """A candidate scored on all training windows.

    `score` is the geometric mean over training windows of its objective divided by the best human
    objective of that window: below 1 beats the best human everywhere on average. `text` is
    the annotated source; `parameters` may differ from the constants in it after tuning. `breaks`
    says which guardrail it breaks there against the best human, and is empty when it breaks none.
    """

    digest: str
    name: str
    program: Program
    parameters: Mapping[str, float]
    results: Results
    score: float
    niche: tuple[int, ...]
    origin: str  # HUMAN, VETERAN or the name of a proposer, of the structure
    idea: str
    parents: tuple[str, ...]
    generation: int
    breaks: str = ""

    @property
    def text(self) -> str:
        """The source as people and proposers read it."""
        return self.program.annotated()

    @property
    def lines(self) -> int:
        """Size of the source, the tie-break between equal scores."""
        return self.program.canonical.count("\n")

    @property
    def rank(self) -> tuple[bool, float, int, str]:
        """Sort key, best first; scores closer than one in a million are equal.

        Who breaks a guardrail comes after all who keep them: such a one can never win, and a search
        that bred from it would end with a lineage of which none can.
        """
        return (bool(self.breaks), round(self.score, 6), self.lines, self.digest)


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """How many are kept and how they mix.

    Attributes:
        islands: populations that breed apart.
        island_size: members an island keeps; the best of a niche goes after the rest.
        migrate_every: generations between two visits of each island's best to the next island.
        greedy: share of parents drawn among the island's best few rather than per window.
    """

    islands: int = 2
    island_size: int = 24
    migrate_every: int = 4
    greedy: float = 0.7


class Archive:
    """Islands of members, with parent choice; all randomness comes from the caller."""

    def __init__(self, settings: ArchiveSettings) -> None:
        self._settings = settings
        self._islands: list[dict[str, Member]] = [{} for _ in range(settings.islands)]
        self._all: dict[str, Member] = {}

    @property
    def islands(self) -> int:
        """Number of islands."""
        return len(self._islands)

    def members(self) -> list[Member]:
        """Everyone ever added, best first, those that their island dropped included."""
        return sorted(self._all.values(), key=lambda member: member.rank)

    def island(self, index: int) -> list[Member]:
        """The living members of one island, best first."""
        return sorted(self._islands[index].values(), key=lambda member: member.rank)

    def best(self) -> Member:
        """The best member of all islands.

        Raises:
            ValueError: the archive is empty.
        """
        return min(self._all.values(), key=lambda member: member.rank)

    def add(self, member: Member, island: int | None = None) -> bool:
        """Add a member to one island (to all when None); is it alive on one of them?"""
        self._all.setdefault(member.digest, member)
        targets = range(self.islands) if island is None else (island,)
        for index in targets:
            self._islands[index].setdefault(member.digest, member)
            self._islands[index] = self._trimmed(self._islands[index])
        return any(member.digest in self._islands[index] for index in targets)

    def _trimmed(self, island: dict[str, Member]) -> dict[str, Member]:
        """The best of each niche first, then the rest by rank, up to the island's size."""
        ranked = sorted(island.values(), key=lambda member: member.rank)
        elites = {member.niche: member for member in reversed(ranked)}
        champions = {member.digest for member in elites.values()}
        ranked.sort(key=lambda member: member.digest not in champions)
        return {member.digest: member for member in ranked[: self._settings.island_size]}

    def migrate(self, generation: int) -> None:
        """Send each island's best to the next one, every `migrate_every` generations."""
        if self.islands < 2 or generation % self._settings.migrate_every:
            return
        travellers = [self.island(index)[:1] for index in range(self.islands)]
        for index, group in enumerate(travellers):
            for member in group:
                self.add(member, (index + 1) % self.islands)

    def parent(self, island: int, rng: random.Random) -> Member:
        """A parent: one of the island's best, or the best on a window drawn at random."""
        ranked = self.island(island)
        if rng.random() < self._settings.greedy:
            return ranked[min(int(rng.expovariate(0.5)), len(ranked) - 1)]
        return rng.choice(self.window_winners(ranked))

    @staticmethod
    def window_winners(members: Sequence[Member]) -> list[Member]:
        """For each window the member that is best on it (a member may win several)."""
        windows = sorted(members[0].results)
        return [min(members, key=lambda m: _window_rank(m, window)) for window in windows]

    def inspirations(
        self, island: int, parent: Member, count: int, rng: random.Random
    ) -> tuple[Member, ...]:
        """Other members to learn from: the best of other niches, then others at random.

        Those that beat the parent on the most windows come first.
        """
        others = [member for member in self.island(island) if member.digest != parent.digest]
        apart = [member for member in others if member.niche != parent.niche]
        chosen = _spread(apart)[: count // 2]
        taken = {member.digest for member in chosen}
        rest = [member for member in others if member.digest not in taken]
        chosen += rng.sample(rest, min(count - len(chosen), len(rest)))
        return tuple(sorted(chosen, key=lambda other: (-_wins(other, parent), other.rank)))


def geometric_mean(values: Iterable[float]) -> float:
    """Geometric mean of positive numbers; 1 for none."""
    logs = [math.log(value) for value in values]
    return math.exp(math.fsum(logs) / len(logs)) if logs else 1.0


def _wins(member: Member, other: Member) -> int:
    """On how many windows a member does better than another."""
    return sum(
        result.objective < other.results[window].objective
        for window, result in member.results.items()
        if window in other.results
    )


def _window_rank(member: Member, window: str) -> tuple[float, int, str]:
    result = member.results.get(window)
    return (result.objective if result else math.inf, member.lines, member.digest)


def _spread(ranked: Sequence[Member]) -> list[Member]:
    """The best of each niche, in order of rank."""
    elites: dict[tuple[int, ...], Member] = {}
    for member in ranked:
        elites.setdefault(member.niche, member)
    return list(elites.values())
