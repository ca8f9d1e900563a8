"""Keeps a run in the store as it happens, so that whatever ends it, it can go on.

Results and model answers are kept the moment they are there, since they cost something; events by
the wave. What is lost with a killed process is what was in flight.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import TracebackType

from evolver.archive import Member
from evolver.errors import BudgetTooSmall, NothingToStartFrom, RecordStale
from evolver.exchanges import Exchange
from evolver.history import History
from evolver.journal import Event, EventKind
from evolver.loop import RunResult
from evolver.recorded_rows import EXCHANGE, RESULT, recorded_events, recorded_results
from evolver.recordings import exchange_of
from evolver.run_start import RunStart
from evolver.task import WindowResult
from evolver.verdict import Verdict
from evolver.written import written
from policy_store import Origin, PolicyStore, State
from policy_store.errors import StoreError
from sandbox.contract import CONTRACT_VERSION
from sandbox.evidence import Evidence

_log = logging.getLogger("evolver.record")
_STOPPED = "stopped"
_WAITS = frozenset({EventKind.CANDIDATE_DROPPED, EventKind.CANDIDATE_DUPLICATE,
                    EventKind.CANDIDATE_REFUSED, EventKind.HUMAN_SCORED})  # fmt: skip
_FLUSH_AT = 64  # rows that wait at most


class RunRecord:
    """Writes a run to the store, and knows what it wrote before an interruption.

    Attributes:
        run: id of the run in the store.
        history: empty for a run that begins.
        exchanges: what models were asked and answered before.
    """

    def __init__(
        self,
        store: PolicyStore,
        run: str,
        last: int = 0,
        history: History | None = None,
        exchanges: Sequence[Exchange] = (),
    ) -> None:
        self._store, self.run, self._last = store, run, last
        self.history = history or History()
        self.exchanges = tuple(exchanges)
        self._waiting: list[tuple[str, dict[str, object]]] = []
        self._lock = threading.Lock()
        self._finished = False

    @classmethod
    def begin(cls, store: PolicyStore, start: RunStart) -> RunRecord:
        """A new run."""
        return cls(store, store.runs.start_run("evolve", start.config()).id)

    @classmethod
    def resume(cls, store: PolicyStore, run: str) -> RunRecord:
        """A run that was interrupted.

        Raises:
            UnknownRun: there is none with this id.
            RecordStale: it has ended, or cannot go on.
        """
        row = store.runs.get_run(run)
        if row.finished_at is not None:
            raise RecordStale(
                f"Run {run[:12]} has ended ({row.verdict}): see it with `evolver run show "
                f"{run[:12]}`, and start a new one."
            )
        if row.config.get("recording") is not None:
            raise RecordStale("A run on recorded answers does not go on: begin it again.")
        return cls.read(store, run)

    @classmethod
    def read(cls, store: PolicyStore, run: str) -> RunRecord:
        """What is known of a run.

        Raises:
            UnknownRun: there is none with this id.
            RecordStale: its rows cannot be read.
        """
        rows = store.runs.events(run)
        history = History(tuple(recorded_events(rows)), dict(recorded_results(rows)))
        exchanges = [exchange_of(row.payload) for row in rows if row.kind == EXCHANGE]
        return cls(store, run, rows[-1].sequence if rows else 0, history, exchanges)

    def __enter__(self) -> RunRecord:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """A run that cannot work is closed; one that was interrupted stays open, to go on."""
        if self._finished or kind is None:
            return
        self._wait(_STOPPED, {"error": kind.__name__})
        try:
            self._flush()
            if isinstance(error, BudgetTooSmall | NothingToStartFrom):
                self._store.runs.finish_run(self.run, "failed", {"error": kind.__name__})
        except StoreError as lost:
            _log.warning("the end of run %s could not be written: %s", self.run[:12], lost)

    def on_event(self, event: Event) -> None:
        """Keep an event that is not in the record yet.

        Raises:
            StoreError: among others where sealed windows are opened for a second candidate.
        """
        if event.replayed:
            return
        if event.kind is EventKind.SEALED_OPENED and event.candidate is not None:
            windows = event.data.get("windows")
            count = len(windows) if isinstance(windows, Sequence) else 0
            self._store.runs.open_sealed(self.run, event.candidate, count, by="evolver")
        payload = {
            "sequence": event.sequence,
            "generation": event.generation,
            "candidate": event.candidate,
            "seconds": event.seconds,
            **event.data,
        }
        self._wait(event.kind.value, payload)
        if event.kind not in _WAITS or len(self._waiting) >= _FLUSH_AT:
            self._flush()

    def on_results(self, digest: str, results: Sequence[WindowResult]) -> None:
        """Keep what was measured, at once."""
        for result in results:
            self._wait(RESULT, {"digest": digest, **asdict(result)})
        self._flush()

    def on_exchange(self, exchange: Exchange) -> None:
        """Keep what a model was asked and answered; at once, since it cost money."""
        self._wait(EXCHANGE, asdict(exchange))
        self._flush()

    def propose(
        self, verdict: Verdict, evidence: Evidence, author: str, members: Sequence[Member] = ()
    ) -> str:
        """Put the winner and its evidence into the store, ready for approval; its digest.

        What is stored is the source with its tuned constants written in, so that a host needs
        nothing beside the text; the digest is that text's. Proposed again it is the same version.
        Its parents are the nearest of its ancestors among the members that the store knows.
        """
        winner = verdict.winner
        if winner is None:
            raise ValueError("a verdict without a winner proposes nothing")
        origin = Origin.MUTATOR if winner.origin in ("mutator", "tuner") else Origin.LLM
        source = written(winner.text, winner.parameters, winner.name)
        version = self._store.propose(
            source.canonical,
            name=winner.name,
            origin=origin,
            author=author,
            contract_version=CONTRACT_VERSION,
            parameters=source.parameters(),
            claim=source.claim,
            parents=self._stored_parents(winner, members),
            run=self.run,
        )
        if version.state is State.PROPOSED:
            self._store.record_verified(version.digest, author)
        self._store.attach_evidence(version.digest, evidence.document(), author)
        return version.digest

    def _stored_parents(self, winner: Member, members: Sequence[Member]) -> list[str]:
        """What the store knows of the generation nearest to the winner of which it knows any."""
        known = {member.digest: member for member in members}
        seen, generation = {winner.digest}, [winner]
        while generation:
            names = [name for one in generation for name in one.parents if name not in seen]
            seen |= set(names)
            generation = [known[name] for name in dict.fromkeys(names) if name in known]
            stored = self._store.find_policies([name for one in generation for name in _names(one)])
            if stored:
                return sorted(stored)
        return []

    def finish(
        self,
        result: RunResult,
        policy: str | None,
        missing_isolation: Sequence[str] = (),
        remembered: Mapping[str, object] | None = None,
    ) -> None:
        """Close the run with its verdict.

        Args:
            result: of the search.
            policy: digest of what was proposed.
            missing_isolation: what its candidates were not isolated by.
            remembered: what later runs may learn from it.
        """
        self._flush()
        verdict = result.verdict
        summary: dict[str, object] = {
            "reason": verdict.reason,
            "policy": policy,
            "best_human": verdict.best_human.name,
            "evaluations": result.evaluations,
            "seconds": result.seconds,
            "tokens": result.tokens,
            "price_usd": result.price_usd,
            "missing_isolation": list(missing_isolation),
            **(remembered or {}),
        }
        self._store.runs.finish_run(self.run, verdict.outcome.value, summary)
        self._finished = True

    def _wait(self, kind: str, payload: dict[str, object]) -> None:
        with self._lock:  # several answers may come at once
            self._waiting.append((kind, payload))

    def _flush(self) -> None:
        with self._lock:
            if self._waiting:
                self._last = self._store.runs.append_events(
                    self.run, self._waiting, after=self._last
                )
                self._waiting = []


def _names(member: Member) -> tuple[str, ...]:
    """A member's digest, and that of its text with its constants written in, as stores file it."""
    try:
        return member.digest, written(member.text, member.parameters, member.name).digest()
    except ValueError:  # its constants cannot be written in, so no store has it so
        return (member.digest,)
