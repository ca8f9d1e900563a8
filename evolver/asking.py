"""Asks proposers that are waited for side by side, a few at a time, without holding up the end.

Answers are taken in the order of the questions. The threads are daemons: a run that ends, or is
interrupted, waits for nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from evolver.errors import ProposerFailed
from evolver.proposer import Proposal, ProposalRequest, Proposer

Answer = Proposal | ProposerFailed | None
Call = tuple[Proposer, ProposalRequest]


def ask(proposer: Proposer, request: ProposalRequest) -> Answer:
    """A proposal, a failure as a value, or None when the proposer has no idea."""
    try:
        return proposer.propose(request)
    except ProposerFailed as failure:
        return failure


@dataclass(slots=True)
class _Pending:
    call: Call
    done: threading.Event = field(default_factory=threading.Event)
    answer: Answer = None
    error: BaseException | None = None


class Asked:
    """Calls under way, at most `at_once` of them at any time; begun in their order.

    Args:
        calls: whom to ask what.
        at_once: threads.
        on_begin: told the number of each call as it begins, from its thread.
    """

    def __init__(
        self, calls: Sequence[Call], at_once: int, on_begin: Callable[[int], None]
    ) -> None:
        self._pending = [_Pending(call) for call in calls]
        self._next = iter(enumerate(self._pending))
        self._lock = threading.Lock()
        self._on_begin = on_begin
        for number in range(min(at_once, len(calls))):
            threading.Thread(target=self._work, daemon=True, name=f"asking-{number}").start()

    def answers(self) -> list[Answer]:
        """All answers, in the order of the calls; waits for them."""
        for pending in self._pending:
            pending.done.wait()
            if pending.error is not None:
                raise pending.error
        return [pending.answer for pending in self._pending]

    def _work(self) -> None:
        while True:
            with self._lock:
                number, pending = next(self._next, (0, None))
            if pending is None:
                return
            try:
                self._on_begin(number)
                pending.answer = ask(*pending.call)
            except BaseException as error:  # the run's own thread raises it
                pending.error = error
            finally:
                pending.done.set()
