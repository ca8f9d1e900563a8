"""A small problem without serving in it: texts of constants, scored on noisy bowls."""

import hashlib
import math
import random
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from evolver.proposer import Proposal, ProposalRequest
from evolver.task import (
    Description,
    Gate,
    Human,
    Job,
    Refusal,
    Refused,
    Rung,
    Split,
    WindowResult,
    nobody,
)

LINE = re.compile(r"(\w+) = ([-\d.]+)")
OPTIMA = {"ALPHA": 3.0, "BETA": 7.0, "GAMMA": 1.0, "DELTA": 5.0}
LOW, HIGH = 0.0, 10.0


@dataclass(frozen=True)
class Knob:
    name: str
    value: float
    low: float = LOW
    high: float = HIGH
    integer: bool = False


@dataclass(frozen=True)
class Listing:
    """A program of this problem: its lines are its constants."""

    canonical: str
    tunables: tuple[Knob, ...]
    claim: str = "constants"

    def annotated(self) -> str:
        return self.canonical

    def parameters(self) -> dict[str, float]:
        return {knob.name: knob.value for knob in self.tunables}

    def digest(self, parameters: Mapping[str, float] | None = None) -> str:
        values = {**self.parameters(), **(parameters or {})}
        return hashlib.sha256(f"{self.canonical}{sorted(values.items())}".encode()).hexdigest()


class Bowls:
    """Each constant that a text names adds its distance from an optimum, each missing one adds 4.

    `CRASH` fails outside the training windows, `SHAKE` adds noise that differs between texts and
    windows and helps nobody.
    """

    worst_objective = 1e6

    def __init__(self, workers: int = 1, sealed: int = 10, noise: float = 0.0) -> None:
        counts = {Split.TRAINING: 4, Split.VALIDATION: 3, Split.SEALED: sealed}
        self._windows = {s: tuple(f"{s.value}-{i}" for i in range(n)) for s, n in counts.items()}
        self.workers, self.noise = workers, noise
        self.runs: list[tuple[str, str]] = []

    def describe(self) -> Description:
        return Description("bowls", "sum of distances")

    def windows(self, split: Split) -> tuple[str, ...]:
        return self._windows[split]

    def cascade(self) -> tuple[Rung, ...]:
        training = self._windows[Split.TRAINING]
        return (Rung("screen", training[:1], 0.5), Rung("training", training[1:]))

    def variants(self) -> tuple[str, ...]:
        return ()

    def unit(self, window: str) -> str:
        return window

    def cost(self, window: str) -> int:
        return 1

    def verify(self, text: str, name: str) -> Listing | Refused:
        knobs = {}
        for number, line in enumerate(text.splitlines(), 1):
            match = LINE.fullmatch(line)
            if match is None:
                return Refused(
                    (Refusal(number, "syntax", f"{line!r} is no constant.", "Drop it."),)
                )
            knobs[match[1]] = Knob(match[1], float(match[2]))
        return Listing("\n".join(sorted(text.splitlines())) + "\n", tuple(knobs.values()))

    def evaluate(self, jobs: Sequence[Job], on_done=nobody) -> list[list[WindowResult]]:
        self.runs += [(job.digest, w) for job in jobs for w in job.windows]
        with ThreadPoolExecutor(self.workers) as pool:
            found = list(pool.map(lambda job: [self._score(job, w) for w in job.windows], jobs))
        for index, results in enumerate(found):
            on_done(index, results)
        return found

    def _score(self, job: Job, window: str) -> WindowResult:
        if "CRASH" in job.parameters and not window.startswith("training"):
            return WindowResult(window, 0.001, fault="crash")
        digest = job.digest
        shake = random.Random(f"{digest}{window}").gauss(0.0, 1.0)
        level = self.noise if "SHAKE" in job.parameters else 0.0
        cost = 1.0 + sum(
            (job.parameters[name] - best) ** 2 / 10 if name in job.parameters else 4.0
            for name, best in OPTIMA.items()
        )
        return WindowResult(window, cost * math.exp(level * shake), {"cost": cost})

    def niche(self, program: Listing, results: Mapping[str, WindowResult]) -> tuple[int, ...]:
        return (len(program.tunables),)

    def score_lines(self, results: Mapping[str, WindowResult], rivals=()) -> tuple[str, ...]:
        return ()

    def gates(self, candidate: object, human: object) -> tuple[Gate, ...]:
        return (Gate("none", True, "Nothing to keep."),)


class LineProposer:
    """Adds, drops or changes a line; sometimes writes nonsense."""

    name = "lines"
    waits = False

    def propose(self, request: ProposalRequest) -> Proposal | None:
        rng = random.Random(request.rng_seed)
        lines = [line for line in request.parent.text.splitlines() if line]
        if rng.random() < 0.1:
            lines.append("nonsense")
        elif len(lines) > 1 and rng.random() < 0.2:
            lines.pop(rng.randrange(len(lines)))
        else:
            name = rng.choice(sorted(OPTIMA))
            lines = [line for line in lines if not line.startswith(name)]
            lines.append(f"{name} = {rng.uniform(LOW, HIGH):.2f}")
        return Proposal("\n".join(lines), self.name, "a line", (request.parent.digest,))


@dataclass(frozen=True)
class Constantly:
    """Always adds the same kind of line, with a number that differs."""

    line: str
    name: str = "constantly"
    waits: bool = False

    def propose(self, request: ProposalRequest) -> Proposal | None:
        rng = random.Random(request.rng_seed)
        kept = [x for x in request.parent.text.splitlines() if not x.startswith(self.line)]
        text = "\n".join([*kept, f"{self.line} = {rng.uniform(LOW, HIGH):.3f}"])
        return Proposal(text, self.name, self.line, (request.parent.digest,))


@pytest.fixture
def bowls():
    return Bowls


@pytest.fixture
def lines():
    return LineProposer()


@pytest.fixture
def constantly():
    return Constantly


@pytest.fixture
def humans():
    return [Human("plain", "ALPHA = 9"), Human("better", "ALPHA = 5\nBETA = 2")]
