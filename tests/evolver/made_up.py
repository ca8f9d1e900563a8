"""A problem whose windows and objectives are made up, and a court that judges on it."""

import hashlib
import random
from dataclasses import dataclass

from evolver.archive import Member
from evolver.budget import Budget, Limits
from evolver.evaluation import Evaluator
from evolver.journal import Journal
from evolver.selection import Court
from evolver.task import Gate, Split, WindowResult


@dataclass(frozen=True)
class Named:
    """A program that is only a name: the table of its task says what it scores."""

    canonical: str
    claim: str = ""
    tunables: tuple = ()

    def digest(self, parameters=None):
        return hashlib.sha256(self.canonical.encode()).hexdigest()


class Table:
    """Objectives by policy and window; windows of one unit share what stands before the dot."""

    worst_objective = 1e6

    def __init__(self, objectives, windows, faults=(), broken=()):
        self.objectives, self.names = objectives, windows
        self.faults, self.broken = frozenset(faults), frozenset(broken)
        self.ran = []

    def windows(self, split):
        return self.names.get(split, ())

    def variants(self):
        return ()

    def cost(self, window):
        return 1

    def unit(self, window):
        return window.partition(".")[0]

    def evaluate(self, jobs, on_done=None):
        for index, job in enumerate(jobs):
            on_done(index, [self._result(job.program.canonical, w) for w in job.windows])

    def _result(self, name, window):
        self.ran.append((name, window))
        fault = "fuel" if (name, window) in self.faults else None
        return WindowResult(window, self.objectives(name, window), {}, fault, remarks=(name,))

    def gates(self, candidate, human):
        names = {result.remarks[0] for result in candidate.values()}
        return (Gate("kept", not names & self.broken, "Goodput -9.0%."),)


def member(name, parents=()):
    program = Named(name)
    origin = "human" if name.startswith("human") else "mutator"
    return Member(program.digest(), name, program, {}, {}, 1.0, (), origin, "", parents, 0)


def named(split, count, variants=1):
    return tuple(
        f"{split.value}-{i}.{v}".removesuffix(".0") for i in range(count) for v in range(variants)
    )


def windows(sealed=10, validation=4, variants=1):
    return {
        Split.VALIDATION: named(Split.VALIDATION, validation),
        Split.SEALED: named(Split.SEALED, sealed, variants),
    }


def judge(task, finalists=("new",), humans=("human",), active=None, tuned=(), tried=None, log=None):
    journal = Journal([log] if log else [])
    evaluator = Evaluator(task, Budget(Limits(evaluations=1e9), 1, journal), journal)
    people = [member(h) for h in humans] + [member(h, ("parent",)) for h in tuned]
    digest = member(active).digest if active else None
    court = Court(task, evaluator, journal, tuple(people), digest)
    return court.judge([member(name) for name in finalists], tried)


def shaken(seed, noise, levels):
    """Objectives around each policy's level, 1 if not given, with noise of its own per window."""

    def objective(name, window):
        shake = random.Random(f"{seed} {name} {window}").gauss(0.0, noise)
        return levels.get(name, 1.0) * 2.0**shake

    return objective
