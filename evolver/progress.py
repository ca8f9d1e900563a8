"""What a run does at this moment, for whoever watches: never recorded, never part of a decision.

Events say what happened; between two of them a model may think for a minute or a batch of windows
be simulated. Whoever shows a run implements `Progress`; `SILENT` is for when nobody watches.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Is told what begins; may be called from several threads at once, and must return at once.

    Nothing that it does may reach the run: it returns nothing, and raises nothing. During a replay
    of the record it may be called as well or not at all.
    """

    def asking(self, proposer: str, place: int, of: int) -> None:
        """`proposer` is asked for place `place` (from 1) of the `of` places that are open."""

    def scoring(self, done: int, of: int, rung: str) -> None:
        """`done` of `of` policies are scored; `rung` names what on.

        Called with `done` 0 when a batch begins, and as each is done. `rung` is the name of a rung
        of the cascade, or "baselines", "veterans", "variants", "validation", "sealed".
        """

    def waiting(self, reason: str, seconds: float) -> None:
        """Nothing can be done for about `seconds`, such as for an endpoint that is overloaded."""


class Silent:
    """A `Progress` for when nobody watches."""

    def asking(self, proposer: str, place: int, of: int) -> None:
        """Nobody listens."""

    def scoring(self, done: int, of: int, rung: str) -> None:
        """Nobody listens."""

    def waiting(self, reason: str, seconds: float) -> None:
        """Nobody listens."""


SILENT: Progress = Silent()
