"""The log of an engine's decisions: one JSON line each, written by another thread.

    {"unix_s", "engine", "sequence", "digest", "author", "hook", "requests", "reason"}

`digest` is the built-in default's where no policy decided, and `requests` how many the decision was
about. When nobody fetches the lines in time, or the disk is full, lines are dropped and counted.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import deque
from pathlib import Path

from serving_adapter.decision import Author
from serving_adapter.errors import AdapterError

MAX_WAITING = 100_000

_log = logging.getLogger("evolver.engine")


class DecisionFile:
    """An append-only file of decisions; without a path it keeps nothing.

    Raises:
        AdapterError: the file cannot be opened.
    """

    def __init__(self, path: Path | None, engine: str) -> None:
        self.dropped = 0
        self._engine = engine
        self._waiting: deque[tuple[object, ...]] = deque()
        self._descriptor: int | None = None
        if path is None:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            self._descriptor = os.open(path, flags, 0o640)
        except OSError as error:
            raise AdapterError(
                f"The decision log {path} cannot be written: {error.strerror}; "
                "name another file with EVOLVER_DECISION_LOG."
            ) from error

    def add(
        self, sequence: int, digest: str, author: Author, hook: str, requests: int, reason: str
    ) -> None:
        """Have a decision written at the next `flush`; takes no lock."""
        if self._descriptor is None:
            return
        if len(self._waiting) >= MAX_WAITING:
            self._drop()
            return
        self._waiting.append((time.time(), sequence, digest, author, hook, requests, reason))

    def flush(self) -> None:
        """Write what is waiting; from one thread only."""
        lines = []
        for _ in range(len(self._waiting)):
            unix_s, sequence, digest, author, hook, requests, reason = self._waiting.popleft()
            lines.append(json.dumps({
                "unix_s": unix_s, "engine": self._engine, "sequence": sequence, "digest": digest,
                "author": author, "hook": hook, "requests": requests, "reason": reason,
            }))  # fmt: skip
        if not lines or self._descriptor is None:
            return
        try:
            os.write(self._descriptor, ("\n".join(lines) + "\n").encode("ascii"))
        except OSError:
            self._drop(len(lines))

    def close(self) -> None:
        """Write what is left and close the file."""
        self.flush()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _drop(self, count: int = 1) -> None:
        if not self.dropped:
            _log.error("the decision log does not take all that is written to it")
        self.dropped += count
