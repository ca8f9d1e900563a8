"""A line of JSON for each routing decision of one of Ray Serve's routers."""

from __future__ import annotations

import json
from pathlib import Path

from serving_adapter.decision import Decision
from serving_adapter.errors import AdapterError
from serving_adapter.line_file import LineFile

_OF_DECISION = ("number", "sequence", "digest", "author", "outcome", "reason")


class DecisionFile(LineFile[tuple[str, Decision, str]]):
    """The file of one router, in a folder that all of them share.

    Raises:
        AdapterError: the file cannot be opened.
    """

    def __init__(self, folder: Path, router: str) -> None:
        self._router = router
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AdapterError(
                f"Decisions cannot be written to {folder} ({error.strerror}): name another folder."
            ) from error
        path = folder / f"decisions-{router}.jsonl"
        super().__init__(path, self._line, "decision log", "name another folder")
        self.start()

    def add(self, request: str, decision: Decision, replica: str) -> None:
        """Have a line written soon."""
        self.put((request, decision, replica))

    def _line(self, told: tuple[str, Decision, str]) -> str:
        request, decision, replica = told
        line = {"request": request, "router": self._router}
        line |= {name: getattr(decision, name) for name in _OF_DECISION}
        return json.dumps({**line, "replica": replica, "duration_s": decision.duration_s}) + "\n"
