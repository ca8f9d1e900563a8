"""Appends each routing decision to a file as a JSON line, without making a request wait."""

from __future__ import annotations

import json
import os
import queue
import threading
from pathlib import Path

from serving_adapter.decision import Decision
from serving_adapter.errors import AdapterError

MAX_WAITING = 10_000


class DecisionFile:
    """One file of one router; lines that the disk does not take in time are dropped and counted.

    Raises:
        AdapterError: the file cannot be opened.
    """

    def __init__(self, folder: Path, router: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        path = folder / f"decisions-{router}.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, flags, 0o640)
        except OSError as error:
            raise AdapterError(
                f"Decisions cannot be written to {path} ({error.strerror}): name another folder."
            ) from error
        self.dropped = 0
        self._router = router
        self._waiting = queue.Queue[str](MAX_WAITING)
        writing = threading.Thread(target=self._write, name="decision-file", daemon=True)
        writing.start()

    def add(self, request: str, decision: Decision, replica: str) -> None:
        """Have a line written soon."""
        line = {
            "request": request,
            "router": self._router,
            "number": decision.number,
            "sequence": decision.sequence,
            "digest": decision.digest,
            "author": decision.author,
            "outcome": decision.outcome,
            "reason": decision.reason,
            "replica": replica,
            "duration_s": decision.duration_s,
        }
        try:
            self._waiting.put_nowait(json.dumps(line) + "\n")
        except queue.Full:
            self.dropped += 1

    def _write(self) -> None:
        while True:
            try:
                os.write(self._descriptor, self._waiting.get().encode("ascii"))
            except OSError:
                self.dropped += 1
