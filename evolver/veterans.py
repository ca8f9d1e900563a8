"""Memory across runs: what won, and what failed when live, in regimes like the one at hand.

The store is the only place of it. A run that ends as improved leaves its regime, its gain and its
idea in its summary (`remembered`). A later run recalls those nearest to its own: the policies
themselves, to start from (`Veteran`), and a line about each for prompts. A policy that was ever
ejected or rolled back comes back as a line only, and one that people rejected not at all.

What was recalled is part of the run's record, so that an interrupted run goes on with the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from evolver.exercised import keep_hooks
from evolver.loop import Memory
from evolver.regimes import Regime, distance, finite, regime_in
from evolver.task import Human
from evolver.written import written
from policy_store import PolicyStore, State
from policy_store.records import PolicyVersion
from sandbox.contract import CONTRACT_VERSION
from sandbox.language.canonical import docstring

FAR = 4.0  # units from which on a regime has nothing to say: other traffic, not another load of it
VETERANS = 3  # offered to a run; each costs one evaluation
LINES = 4  # of each kind for prompts, which tell at least as many of the run's own
CONSIDERED = 200  # nearest wins that are looked at
IDEA_CHARACTERS = 160
TAKEN_BACK = {
    "ejected": "ejected when live",
    "host_ejected": "ejected when live",
    "rolled_back": "rolled back when live",
}
_NOT_OFFERED = frozenset({State.REFUSED, State.REJECTED, State.EJECTED, State.ROLLED_BACK})


@dataclass(frozen=True, slots=True)
class Veteran:
    """A policy that won before.

    Attributes:
        text: with its constants written in, and only the hooks that the problem exercises.
        gain: proved there, relative to its weakest rival; None when the record has no number.
        distance: between the two regimes, in units.
        run: that found it.
    """

    name: str
    digest: str
    text: str
    idea: str
    gain: float | None
    distance: float
    run: str


@dataclass(frozen=True, slots=True)
class Win:
    """What one run won, seen from the regime at hand."""

    digest: str
    idea: str
    gain: float | None
    distance: float
    run: str

    @property
    def rank(self) -> tuple[float, float, str]:
        """Nearest first, then the greatest gain."""
        return (self.distance, -(self.gain or 0.0), self.run)

    @property
    def line(self) -> str:
        """For prompts."""
        gain = "a gain" if self.gain is None else f"{self.gain:+.1%}"
        return f"{gain} in a regime at distance {self.distance:.1f}: {self.idea}"


def remembered(policy: str, idea: str, gain: float | None, regime: Regime) -> dict[str, object]:
    """What the summary of an improved run must hold for later runs to find its policy.

    Args:
        policy: digest in the store.
        idea: as its proposer put it.
        gain: proved, against the weakest of its rivals.
        regime: of the run.
    """
    return {"policy": policy, "idea": idea, "gain": gain, "regime": dict(regime)}


@dataclass(frozen=True, slots=True)
class Past:
    """What the store has about regimes near one.

    Attributes:
        wins: nearest first.
        standing: the versions that won, by digest.
        fallen: what became of those that had to be taken back, by digest.
    """

    wins: tuple[Win, ...]
    standing: Mapping[str, PolicyVersion]
    fallen: Mapping[str, str]

    @property
    def fit(self) -> list[Win]:
        """The wins of policies that may take part again."""
        return [win for win in self.wins if self._is_offered(win.digest)]

    @property
    def failed(self) -> list[str]:
        """A line for each policy that failed when live."""
        return [
            f"{self.fallen[win.digest]}, in a regime at distance {win.distance:.1f}: {win.idea}"
            for win in self.wins
            if win.digest in self.fallen
        ]

    def _is_offered(self, digest: str) -> bool:
        version = self.standing.get(digest)
        return (
            version is not None
            and digest not in self.fallen
            and version.state not in _NOT_OFFERED
            and version.contract_version == CONTRACT_VERSION
        )


def recall(store: PolicyStore, regime: Regime, hooks: Collection[str]) -> Memory:
    """What a run in this regime is told by earlier ones; nothing by a store without history.

    Args:
        regime: of the run about to begin.
        hooks: those that it exercises.

    Raises:
        StoreError: the store cannot be read, or something in it no longer matches its digest.
    """
    past = _past(store, regime)
    found = _veterans(store, past, hooks, VETERANS)
    veterans = (Human(f"veteran {each.digest[:8]}", each.text) for each in found)
    worked = dict.fromkeys(win.line for win in past.fit)
    failed = dict.fromkeys(past.failed)
    return Memory(tuple(veterans), tuple(worked)[:LINES], tuple(failed)[:LINES])


def veterans_for(
    store: PolicyStore, regime: Regime, hooks: Collection[str], limit: int = VETERANS
) -> tuple[Veteran, ...]:
    """The winners of regimes near this one, nearest first; equal texts count once.

    Raises:
        StoreError: the store cannot be read, or something in it no longer matches its digest.
    """
    return tuple(_veterans(store, _past(store, regime), hooks, limit))


def _past(store: PolicyStore, regime: Regime) -> Past:
    wins = _nearest(_wins(store, regime))
    digests = [win.digest for win in wins]
    return Past(tuple(wins), store.find_policies(digests), _taken_back(store, digests))


def _wins(store: PolicyStore, regime: Regime) -> Iterator[Win]:
    for run, summary in store.runs.summaries("improved").items():
        policy, there = summary.get("policy"), regime_in(summary.get("regime"))
        if not isinstance(policy, str) or there is None:
            continue
        apart = distance(regime, there)
        if apart < FAR:
            gain, idea = finite(summary.get("gain")), _plain(summary.get("idea"))
            yield Win(policy, idea, gain, apart, run)


def _nearest(wins: Iterable[Win]) -> list[Win]:
    """Each policy where it won nearest to here."""
    nearest: dict[str, Win] = {}
    for win in sorted(wins, key=lambda win: win.rank):
        nearest.setdefault(win.digest, win)
    return list(nearest.values())[:CONSIDERED]


def _taken_back(store: PolicyStore, digests: Collection[str]) -> dict[str, str]:
    """How those fared that had to be taken back, by digest; approved again or not."""
    entries = store.audit.latest(digests, TAKEN_BACK)
    return {
        digest: f"{TAKEN_BACK[entry.action]} ({_plain(entry.note)})"
        for digest, entry in entries.items()
    }


def _veterans(
    store: PolicyStore, past: Past, hooks: Collection[str], limit: int
) -> Iterator[Veteran]:
    """The first `limit` that still verify and differ in what is left of them."""
    texts: set[str] = set()
    for win in past.fit:
        if len(texts) >= limit:
            return
        name = past.standing[win.digest].name
        text = _text(store, win.digest, hooks)
        if text is not None and text not in texts:
            texts.add(text)
            yield Veteran(name, win.digest, text, win.idea, win.gain, win.distance, win.run)


def _text(store: PolicyStore, digest: str, hooks: Collection[str]) -> str | None:
    """The stored policy with these hooks only; None when it has none, or no longer verifies."""
    from sandbox.verifier import PolicyRefused, verify

    details = store.show(digest)
    claimed = docstring(details.source.claim) + "\n" if details.source.claim else ""
    try:
        source = written(claimed + details.source.text, details.version.parameters)
        kept = keep_hooks(source.annotated(), hooks)
        return None if kept is None else verify(kept, details.version.name).annotated()
    except PolicyRefused:
        return None


def _plain(text: object) -> str:
    """Model-written or foreign words as one short line of ASCII."""
    words = text if isinstance(text, str) else ""
    plain = "".join(c if " " <= c <= "~" and c != "`" else " " for c in words[:4096])
    return " ".join(plain.split())[:IDEA_CHARACTERS] or "no words about it"
