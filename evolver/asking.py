"""Asks proposers that are waited for side by side, a few at a time, without holding up the end.

The threads are daemons: a run that ends, or is interrupted, waits for nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from evolver.errors import ProposerFailed
from evolver.proposer import Proposal, ProposalRequest, Proposer

Answer = Proposal | ProposerFailed | None


def ask(proposer: Proposer, request: ProposalRequest) -> Answer:
    """A proposal, a failure as a value, or None when the proposer has no idea."""
    try:
        return proposer.propose(request)
    except ProposerFailed as failure:
        return failure


@dataclass(slots=True)
class Pending:
    """A call that waits for its turn, is under way, or is done."""

    call: Callable[[], Answer]
    _done: threading.Event = field(default_factory=threading.Event, init=False)
    _answer: Answer = field(default=None, init=False)
    _error: BaseException | None = field(default=None, init=False)

    def run(self) -> None:
        """Make the call."""
        try:
            self._answer = self.call()
        except BaseException as error:  # whoever waits for the answer raises it
            self._error = error
        finally:
            self._done.set()

    def answer(self) -> Answer:
        """The answer; waits for it."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._answer


def ask_ahead(calls: Sequence[Callable[[], Answer]], at_once: int) -> list[Pending]:
    """The calls, under way in threads, at most `at_once` at any time; begun in their order."""
    pending = [Pending(call) for call in calls]
    turns, lock = iter(pending), threading.Lock()

    def work() -> None:
        while True:
            with lock:
                mine = next(turns, None)
            if mine is None:
                return
            mine.run()

    for number in range(min(at_once, len(calls))):
        threading.Thread(target=work, daemon=True, name=f"asking-{number}").start()
    return pending
