"""What runs on a node of a Ray cluster: an actor with a pool of its own of locked-down workers.

The actor is to its candidates what the local process is to those of a `WorkerPool`: it checks what
they answer and computes the scores. A node is trusted as this machine is; candidates are not.
"""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sandbox.scores import Candidate, WindowScore
from sandbox.worker import Scoring, WorkerPool

SCORED_BY = ("sandbox", "telemetry")  # what a score is computed by
_NUMBERS_ARE_OF = ("numpy", "numba", "llvmlite", "RestrictedPython", "pydantic")
_SUFFIXES = (".py", ".json", ".toml")

Settings = Mapping[str, object]
PlainJob = tuple[str, Mapping[str, float] | None, tuple[str, ...]]
PlainScore = dict[str, Any]
MakeScoring = Callable[[Any], Scoring]


class Seat:
    """One place at work on a node. Answers are plain data, so that any version can read them."""

    def __init__(self) -> None:
        self._pool: WorkerPool | None = None

    def hello(self) -> dict[str, str]:
        """What is installed here."""
        return installation()

    def open(
        self, make: MakeScoring, payload: object, settings: Settings
    ) -> list[tuple[str, bool, str]]:
        """Start the pool with what candidates are scored on; its layers of isolation.

        Raises:
            WorkersUnavailable, IsolationMissing: as `WorkerPool.start` does.
        """
        self._pool = WorkerPool(make(payload), workers=1, **settings)  # type: ignore[arg-type]  # plain data
        self._pool.start()
        return [(layer.name, layer.in_force, layer.note) for layer in self._pool.layers]

    def score(self, job: PlainJob) -> list[PlainScore]:
        """The scores of one job.

        Raises:
            WorkersUnavailable, IsolationMissing: as `WorkerPool.evaluate` does.
        """
        if self._pool is None:
            raise RuntimeError("open comes first")
        text, parameters, windows = job
        (scores,) = self._pool.evaluate([(Candidate(text, parameters), windows)])
        return [plainly(score) for score in scores]

    def close(self) -> None:
        """End every process of the pool."""
        if self._pool is not None:
            self._pool.close()


@functools.cache
def installation() -> dict[str, str]:
    """All that a score depends on besides the job: versions, sources, kind of processor."""
    found = {
        "evolver": _version("evolver"),
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "processor": platform.machine(),
    }
    found |= {name: _version(name) for name in _NUMBERS_ARE_OF}
    return found | {"simulator": simulator_digest()}


def simulator_digest() -> str:
    """Digest of the sources and tables that scores are computed by, the first 16 hex digits."""
    digest = hashlib.sha256()
    for package in SCORED_BY:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            return "absent"
        root = Path(spec.origin).parent
        files = (path for path in root.rglob("*") if path.suffix in _SUFFIXES)
        for path in sorted(files, key=lambda path: path.relative_to(root).parts):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{package}/{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def difference(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str:
    """What a node has otherwise than we do, as part of a sentence; empty when nothing."""
    return ", ".join(
        f"{name} {theirs.get(name, 'absent')} where this machine has {mine}"
        for name, mine in ours.items()
        if theirs.get(name) != mine
    )


def plain(candidate: Candidate, windows: Sequence[str]) -> PlainJob:
    """A job as plain data."""
    given = candidate.parameters
    return candidate.source_text, None if given is None else dict(given), tuple(windows)


def scores_of(answer: Sequence[PlainScore], windows: Sequence[str]) -> list[WindowScore]:
    """The scores in a seat's answer.

    Raises:
        ValueError: it is about other windows.
    """
    if [score["window"] for score in answer] != list(windows):
        raise ValueError("an answer for other windows")
    return [WindowScore(**score) for score in answer]


def plainly(score: WindowScore) -> PlainScore:
    """A score as plain data, by field."""
    found = {field.name: getattr(score, field.name) for field in fields(score)}
    return found | {"metrics": dict(score.metrics)}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
