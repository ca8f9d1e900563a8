"""Prints what the search itself costs for each candidate, beside writing and scoring it.

Run by `make bench-evolver`. The task is free: a text is a few numbers, its score a formula. All
that remains is the search (archive, bandit, rungs, journal) and the record of it in SQLite. What
the task and the proposer took is measured, too, and taken off. It must stay below 5 ms a candidate
at 10,000 candidates; `--profile` says where it goes.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import json
import math
import pstats
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from evolver.budget import Limits
from evolver.loop import Memory, Search, SearchSettings
from evolver.proposer import Proposal, ProposalRequest
from evolver.record import RunRecord
from evolver.run_start import RunStart, Writers
from evolver.task import (
    Description,
    Gate,
    Human,
    Job,
    OnDone,
    Refused,
    Results,
    Rung,
    Split,
    WindowResult,
    nobody,
)
from policy_store import PolicyStore

COUNTS = (100, 1_000, 10_000)
MOST_MS = 5.0
BEST = (3.0, 7.0, 1.0, 5.0, 2.0, 9.0)


@dataclass(frozen=True)
class Knob:
    """One number of a text."""

    name: str
    value: float
    low: float = 0.0
    high: float = 10.0
    integer: bool = False


@dataclass(frozen=True)
class Numbers:
    """A program: a list of numbers as JSON."""

    canonical: str
    claim: str = "numbers"

    @cached_property
    def tunables(self) -> Sequence[Knob]:
        """Every number may move."""
        values = json.loads(self.canonical)
        return tuple(Knob(f"N{place}", value) for place, value in enumerate(values))

    def annotated(self) -> str:
        """The text itself."""
        return self.canonical

    def parameters(self) -> dict[str, float]:
        """The numbers as written."""
        return {knob.name: knob.value for knob in self.tunables}

    def digest(self, parameters: Mapping[str, float] | None = None) -> str:
        """Identity of the text with these numbers."""
        values = sorted({**self.parameters(), **(parameters or {})}.items())
        return hashlib.sha256(f"{self.canonical}{values}".encode()).hexdigest()


@dataclass
class Free:
    """A task whose scores cost nothing; notes the seconds that it takes all the same."""

    seconds: float = 0.0
    worst_objective: float = 1e6
    _windows: Mapping[Split, tuple[str, ...]] = field(
        default_factory=lambda: {
            split: tuple(f"{split.value}-{place}" for place in range(8)) for split in Split
        }
    )

    def describe(self) -> Description:
        """Nothing to say."""
        return Description("numbers", "distance from the best")

    def windows(self, split: Split) -> tuple[str, ...]:
        """Eight of each."""
        return self._windows[split]

    def cascade(self) -> tuple[Rung, ...]:
        """A probe, two windows, then the rest: as serving has."""
        training = self._windows[Split.TRAINING]
        probe = Rung("probe", ("probe",), counts=False)
        return (probe, Rung("short", training[:2], 0.5), Rung("training", training[2:]))

    def variants(self) -> tuple[str, ...]:
        """None."""
        return ()

    def unit(self, window: str) -> str:
        """The window."""
        return window

    def cost(self, window: str) -> int:  # noqa: ARG002
        """All alike."""
        return 1

    def verify(self, text: str, name: str) -> Numbers | Refused:  # noqa: ARG002
        """Always legal."""
        return Numbers(text)

    def evaluate(self, jobs: Sequence[Job], on_done: OnDone = nobody) -> list[list[WindowResult]]:
        """The distance from the best numbers, a little different on each window."""
        found = []
        for index, job in enumerate(jobs):
            started_s = time.perf_counter()
            values = [job.parameters[f"N{place}"] for place in range(len(BEST))]
            far = math.fsum((x - best) ** 2 for x, best in zip(values, BEST, strict=True))
            results = [
                WindowResult(window, 1.0 + far * (1.0 + 0.01 * (place % 3)), {}, None, repr(far))
                for place, window in enumerate(job.windows)
            ]
            self.seconds += time.perf_counter() - started_s
            found.append(results)
            on_done(index, results)
        return found

    def niche(self, program: object, results: Results) -> tuple[int, ...]:  # noqa: ARG002
        """By how far it is."""
        return (int(min(result.objective for result in results.values())) // 4,)

    def score_lines(
        self,
        results: Results,  # noqa: ARG002
        rivals: Sequence[Results] = (),  # noqa: ARG002
    ) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def gates(self, candidate: Results, human: Results) -> tuple[Gate, ...]:  # noqa: ARG002
        """None."""
        return ()


@dataclass
class Shaker:
    """Moves a number or two of the parent; notes the seconds that it takes."""

    name: str = "shaker"
    waits: bool = False
    seconds: float = 0.0

    def propose(self, request: ProposalRequest) -> Proposal:
        """Always something new."""
        started_s = time.perf_counter()
        rng = random.Random(request.rng_seed)
        values = [request.parent.parameters[f"N{place}"] for place in range(len(BEST))]
        for place in rng.sample(range(len(BEST)), 2):
            values[place] = min(max(values[place] + rng.gauss(0.0, 1.0), 0.0), 10.0)
        text = json.dumps([round(value, 6) for value in values])
        self.seconds += time.perf_counter() - started_s
        return Proposal(text, self.name, "shaken", (request.parent.digest,))


def main() -> None:
    """Print the overhead by number of candidates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--profile", action="store_true", help="where the last one's time goes")
    options = parser.parse_args()
    print(f"{'candidates':>11}{'ms each':>9}{'CPU ms each':>13}{'scored':>8}{'generations':>13}")
    for count in options.candidates:
        profile = cProfile.Profile() if options.profile else None
        row = measured(count, profile)
        print(
            f"{row['candidates']:>11,.0f}{row['ms']:>9.2f}{row['cpu_ms']:>13.2f}"
            f"{row['scored']:>8,.0f}{row['generations']:>13,.0f}",
            flush=True,
        )
        if profile is not None:
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    print(f"{MOST_MS:g} ms are allowed at {COUNTS[-1]:,}")


def measured(count: int, profile: cProfile.Profile | None = None) -> dict[str, float]:
    """Milliseconds for each candidate of a run of about `count`, the free parts taken off."""
    task, proposer = Free(), Shaker()
    humans = tuple(Human(f"human {k}", json.dumps([float(k)] * len(BEST))) for k in range(4))
    with tempfile.TemporaryDirectory() as folder:
        store = PolicyStore.open(Path(folder) / "store.db")
        start = RunStart(Limits(evaluations=count * COST_SHARE), humans, Memory(), Writers(), {})
        with RunRecord.begin(store, start) as record:
            search = Search(
                task, (proposer,), humans, start.limits, SearchSettings(seed=1), (record,),
                keep=record.on_results,
            )  # fmt: skip
            began, cpu = time.perf_counter(), time.process_time()
            if profile is not None:
                profile.enable()
            result = search.run()
            if profile is not None:
                profile.disable()
            wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
            record.finish(result, None, ())
        store.close()
    free_s = task.seconds + proposer.seconds
    made = result.tally.proposed
    return {
        "candidates": made, "ms": 1e3 * (wall_s - free_s) / made,
        "cpu_ms": 1e3 * (cpu_s - free_s) / made, "scored": result.tally.scored,
        "generations": result.generations,
    }  # fmt: skip


COST_SHARE = 0.35  # of an evaluation that a candidate takes on average: most end early


if __name__ == "__main__":
    main()
