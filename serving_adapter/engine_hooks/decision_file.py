"""The log of an engine's decisions: one JSON line each, written by another thread.

    {"unix_s", "engine", "sequence", "digest", "author", "hook", "requests", "reason"}

`digest` is the built-in default's where no policy decided, and `requests` how many the decision was
about.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from serving_adapter.decision import Author
from serving_adapter.line_file import LineFile

_NAMES = ("unix_s", "sequence", "digest", "author", "hook", "requests", "reason")
_Told = tuple[float, int, str, Author, str, int, str]


class DecisionFile(LineFile[_Told]):
    """An append-only file of decisions, for whoever has it flushed; without a path, nothing.

    Raises:
        AdapterError: the file cannot be opened.
    """

    def __init__(self, path: Path | None, engine: str) -> None:
        self._engine = engine
        otherwise = "name another file with EVOLVER_DECISION_LOG"
        super().__init__(path, self._line, "decision log", otherwise)

    def add(
        self, sequence: int, digest: str, author: Author, hook: str, requests: int, reason: str
    ) -> None:
        """Have a decision written at the next `flush`; takes no lock."""
        self.put((time.time(), sequence, digest, author, hook, requests, reason))

    def _line(self, told: _Told) -> str:
        return json.dumps({"engine": self._engine, **dict(zip(_NAMES, told, strict=True))}) + "\n"
