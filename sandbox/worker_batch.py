"""The bookkeeping of a worker pool: jobs and how far they are, and machine code that is kept."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sandbox.scores import Candidate, WindowScore, worst_score
from sandbox.worker_child import Child
from sandbox.worker_lockdown import Limits
from sandbox.worker_process import Role

Job = tuple[Candidate, Sequence[str]]
OnDone = Callable[[int, list[WindowScore]], None]
MOST_CODE_BYTES = 64 << 20


def nobody(job: int, scores: list[WindowScore]) -> None:
    """Takes scores that nobody waits for."""


class Question(Protocol):
    """What a child is asked about a candidate."""

    @property
    def message(self) -> Mapping[str, object]:
        """For the job functions of both roles; machine code is attached when there is some."""

    @property
    def needs_code(self) -> bool:
        """Is the job long enough for machine code to be made first?"""
    @property
    def patience_s(self) -> float:
        """Seconds after which machine code is made for a job that was begun without."""


class Scoring(Protocol):
    """What a pool asks its children, and what it makes of their answers; runs in its process."""

    @property
    def payload(self) -> object:
        """Handed to every job; pickled once."""

    @property
    def prepare(self) -> str:
        """Dotted path of what the warm process runs once with the payload."""

    def roles(self, limits: Limits) -> Mapping[str, Role]:
        """A role "score" and, if questions may need code, a role "compile"."""

    def question(self, candidate: Candidate, windows: Sequence[str]) -> Question:
        """What to ask; a SandboxError or ValueError when the candidate is not admitted."""

    def scores(self, windows: Sequence[str], reply: bytes) -> list[WindowScore]:
        """The scores in an answer; a ValueError when it is none or cannot be true."""


@dataclass(slots=True)
class Worker:
    """A child bound to one source text."""

    child: Child
    source_digest: str
    compiles: bool = False
    jobs_done: int = 0
    busy_s: float = 0.0


@dataclass(slots=True)
class Run:
    """A job in the hands of a child."""

    index: int
    worker: Worker
    started_s: float
    deadline_s: float
    hasty: bool = False  # without machine code: its deadline is no verdict


class Batch:
    """The jobs of one call of `evaluate`, and how far they are."""

    def __init__(self, jobs: Sequence[Job], on_done: OnDone) -> None:
        self.jobs = jobs
        self.results: list[list[WindowScore] | None] = [None] * len(jobs)
        self.waiting = deque(range(len(jobs)))
        self.runs: list[Run] = []
        self._on_done = on_done
        self._crashed: set[tuple[int, bool]] = set()  # jobs, while compiled or scored
        self._compiling: dict[str, list[int]] = {}  # source digest: jobs that wait for its code

    def finish(self, index: int, scores: list[WindowScore]) -> None:
        """Keep the scores of a job."""
        self.results[index] = scores
        self._on_done(index, scores)

    def worst(self, index: int, fault: str) -> None:
        """A job without scores of its own."""
        self.finish(index, [worst_score(window, fault) for window in self.jobs[index][1]])

    def is_first_crash(self, run: Run) -> bool:
        """Note that a job's process crashed; was it the first time that one did at this?"""
        known = len(self._crashed)
        self._crashed.add((run.index, run.worker.compiles))
        return len(self._crashed) > known

    def is_first_of(self, digest: str, index: int) -> bool:
        """Note that a job waits for a source's machine code; is it the first that does?"""
        waiters = self._compiling.setdefault(digest, [])
        waiters.append(index)
        return len(waiters) == 1

    def waiters(self, digest: str) -> list[int]:
        """The jobs that waited for a source's machine code, which is decided now."""
        return self._compiling.pop(digest)

    def start_again(self) -> None:
        """All processes are gone: repeat what has no result."""
        self.runs.clear()
        self._compiling.clear()
        self.waiting = deque(i for i, scores in enumerate(self.results) if scores is None)


class Codes:
    """Machine code by source digest, the least recently used forgotten first."""

    def __init__(self, most_bytes: int = MOST_CODE_BYTES) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._left_bytes = most_bytes

    def get(self, digest: str) -> bytes | None:
        """The code of a source, if it is kept."""
        code = self._kept.get(digest)
        if code is not None:
            self._kept.move_to_end(digest)
        return code

    def keep(self, digest: str, code: bytes) -> None:
        """Keep the code of a source; at least the last one stays."""
        self._kept[digest] = code
        self._left_bytes -= len(code)
        while self._left_bytes < 0 and len(self._kept) > 1:
            self._left_bytes += len(self._kept.popitem(last=False)[1])
