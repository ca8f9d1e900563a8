"""Pools whose children run the toys of `toy/` instead of simulations."""

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.scores import WindowScore
from sandbox.worker import WorkerPool
from sandbox.worker_process import Role

TOY = str(Path(__file__).parent / "toy")


@dataclass
class Question:
    message: dict[str, Any]
    needs_code: bool = False
    patience_s: float = float("inf")


@dataclass
class ToyScoring:
    """Asks `module`'s jobs, and believes numbers that are above zero."""

    payload: dict[str, Any]
    prepare: str = "toy_scorer:prepare"
    jobs: dict[str, str] = field(
        default_factory=lambda: {
            "score": "toy_scorer:score_job",
            "compile": "toy_scorer:compile_job",
        }
    )

    def roles(self, limits):
        return {
            name: Role(path, name == "compile", limits, max_reply_bytes=256)
            for name, path in self.jobs.items()
        }

    def question(self, candidate, windows):
        message = {
            "source": candidate.source_text,
            "parameters": candidate.parameters,
            "windows": list(windows),
        }
        text = candidate.source_text
        patience_s = 0.1 if text.startswith("slowly") else float("inf")
        return Question(message, text.startswith("compile"), patience_s)

    def scores(self, windows, reply):
        *values, calls = struct.unpack(f"<{len(windows) + 1}d", reply)
        if not all(0.0 < value < 1e6 for value in values):
            raise ValueError("no score")
        return [WindowScore(w, v, {"calls": calls}) for w, v in zip(windows, values, strict=True)]


class OneNumber(ToyScoring):
    """A job's answer is one number."""

    def scores(self, windows, reply):
        if len(reply) != 8:
            raise ValueError("no number")
        (value,) = struct.unpack("<d", reply)
        return [WindowScore(window, value) for window in windows]


class PatientPool(WorkerPool):
    """A pool whose deadline is for those alone that never end by themselves.

    Whatever else the machine does makes every job late; that must not read as a hang.

    Args:
        scoring: what its children do.
        endless: says whether a candidate's text never ends; told if its child was asked before.
        soon_s: after which such a one is ended.
        options: of a WorkerPool.
    """

    def __init__(
        self, scoring, endless: Callable[[str, bool], bool], soon_s: float = 0.5, **options: Any
    ) -> None:
        super().__init__(scoring, **({"deadline_s": 120.0} | options))
        self._endless, self._soon_s = endless, soon_s

    def _begin(self, batch, index, *, fresh=False, until_s=None, **options):
        candidate = batch.jobs[index][0]
        idle = {worker.source_digest for worker in self._idle}
        asked_before = not fresh and candidate.source_digest in idle
        if until_s is None and self._endless(candidate.source_text, asked_before):
            until_s = time.monotonic() + self._soon_s
        super()._begin(batch, index, fresh=fresh, until_s=until_s, **options)


def toy_pool(payload=None, **options):
    payload = {"base": {"w0": 1.0, "w1": 10.0}} | (payload or {})
    scoring = ToyScoring(payload)
    if "prepare" in options:
        scoring.prepare = options.pop("prepare")
    if "jobs" in options:
        scoring.jobs = options.pop("jobs")
    defaults = {"workers": 2, "memory_bytes": 400 << 20, "search_path": [TOY]} | options
    if "endless" in options:
        return PatientPool(scoring, **defaults)
    return WorkerPool(scoring, **({"deadline_s": 20.0} | defaults))


def escape_pool(payload, job, endless, **options):
    """A pool whose children run `escapes`; `endless` is as for `PatientPool`."""
    scoring = OneNumber(payload, "escapes:prepare", {"score": f"escapes:{job}"})
    options = {"memory_bytes": 400 << 20, "search_path": [TOY]} | options
    return PatientPool(scoring, endless, **options)


def children_of(pool):
    """Pids and states of all processes that the warm process forked and are not gone."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = entry.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(words[1]) == pool._warm._process.pid:
            found[int(entry.parent.name)] = words[0]
    return found


def states(pool, wanted, within_s=10.0):
    """Do all children of a pool come to be in one state, as /proc writes it?"""
    until_s = time.monotonic() + within_s
    while set(children_of(pool).values()) - {wanted} and time.monotonic() < until_s:
        time.sleep(0.005)
    return set(children_of(pool).values()) <= {wanted}
