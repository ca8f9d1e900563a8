"""A search whose candidates come to grief in processes of their own, as their texts say.

A text is a word of `toy_scorer` and a number, such as "well 2.5" or "hang 3": the word says what
happens in the locked-down child, the number what a window is multiplied by.
"""

import hashlib
import random
import re
from dataclasses import dataclass
from itertools import chain

from toy_pools import toy_pool

from evolver.budget import Limits
from evolver.journal import EventList
from evolver.loop import Search, SearchSettings
from evolver.proposer import Proposal
from evolver.task import (
    Description,
    Human,
    Refusal,
    Refused,
    Rung,
    Split,
    WindowResult,
    nobody,
)
from sandbox.scores import WORST_OBJECTIVE_S, Candidate

COUNTS = {Split.TRAINING: 2, Split.VALIDATION: 2, Split.SEALED: 10}
WINDOWS = {split: [f"{split.value}-{k}" for k in range(n)] for split, n in COUNTS.items()}
BASE = {name: 1.0 + k for k, name in enumerate(chain(*WINDOWS.values()))}
TEXT = re.compile(r"(compile )?(\w+) (\d+\.\d+)")
HUMANS = (Human("plain", "well 4.0"), Human("better", "well 3.0"))


@dataclass(frozen=True)
class Factor:
    """The one constant of a candidate; smaller is better, and wavers."""

    value: float
    name: str = "FACTOR"
    low: float = 0.5
    high: float = 9.0
    integer: bool = False


@dataclass(frozen=True)
class Program:
    canonical: str
    claim: str = "a number"

    @property
    def tunables(self):
        return (Factor(float(self.canonical.split()[-1])),)

    def annotated(self):
        return self.canonical

    def parameters(self):
        return {knob.name: knob.value for knob in self.tunables}

    def digest(self, parameters=None):
        values = self.parameters() | dict(parameters or {})
        return hashlib.sha256(f"{self.canonical} {values['FACTOR']!r}".encode()).hexdigest()


class MishapTask:
    """Scored by a real pool; only the language is a toy."""

    worst_objective = WORST_OBJECTIVE_S

    def __init__(self, pool):
        self._pool = pool

    def describe(self):
        return Description("mishaps", "a number")

    def windows(self, split):
        return tuple(WINDOWS[split])

    def cascade(self):
        first, *others = WINDOWS[Split.TRAINING]
        return (Rung("screen", (first,), 0.5), Rung("training", tuple(others)))

    def variants(self):
        return ()

    def unit(self, window):
        return window

    def cost(self, window):
        return 1

    def verify(self, text, name):
        if TEXT.fullmatch(text):
            return Program(text)
        return Refused((Refusal(1, "syntax", f"{text!r} is no candidate.", "Write a word."),))

    def evaluate(self, jobs, on_done=nobody):
        found = {}

        def done(index, scores):
            found[index] = [WindowResult(s.window, s.objective, {}, s.fault) for s in scores]
            on_done(index, found[index])

        asked = [(Candidate(j.program.annotated(), dict(j.parameters)), j.windows) for j in jobs]
        self._pool.evaluate(asked, done)
        return [found[index] for index in range(len(jobs))]

    def niche(self, program, results):
        return (0,)

    def score_lines(self, results, rivals=()):
        return ()

    def gates(self, candidate, human):
        return ()


class Unlucky:
    """Proposes the words in turn, and every other time something that goes well."""

    name, waits = "unlucky", False

    def __init__(self, words):
        self._words, self._count = tuple(words), 0

    def propose(self, request):
        self._count += 1
        factor = 1.0 + 1.5 * random.Random(request.rng_seed).random()
        turn, rest = divmod(self._count, 2)
        word = self._words[turn % len(self._words)] if rest else "well"
        return Proposal(f"{word} {factor:.6f}", self.name, word, (request.parent.digest,))


def mishap_pool(workers=2):
    """A pool that ends those who hang, and nobody else for being late."""
    return toy_pool({"base": BASE}, workers=workers, endless=lambda text, _: "hang" in text)


def search_with(pool, words, evaluations=30, sinks=(), **options):
    """A search among unlucky candidates."""
    return Search(
        MishapTask(pool), [Unlucky(words)], HUMANS, Limits(evaluations=evaluations),
        SearchSettings(seed=1, batch=8), sinks, **options,
    )  # fmt: skip


def searched(pool, words, evaluations=30, sinks=()):
    """The result of such a search, and its events."""
    log = EventList()
    return search_with(pool, words, evaluations, (log, *sinks)).run(), log
