"""Keeps a run in the store as it happens: its events, model exchanges and proposed winner."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING

from evolver.budget import Limits
from evolver.journal import Event, EventKind
from evolver.loop import RunResult
from evolver.model_endpoint import Exchange, ModelSettings
from evolver.verdict import Verdict
from evolver.written import written
from policy_store import Origin, PolicyStore, State
from sandbox.contract import CONTRACT_VERSION
from sandbox.evidence import Evidence

if TYPE_CHECKING:
    from evolver.evolution import Problem

_FLUSH_AFTER = (
    EventKind.RUN_STARTED,
    EventKind.GENERATION_DONE,
    EventKind.SEALED_OPENED,
    EventKind.RUN_FINISHED,
)


class RunRecord:
    """An event sink that writes to the store, and closes the run whatever happens.

    Attributes:
        run: id of the run in the store.
    """

    def __init__(
        self, store: PolicyStore, problem: Problem, limits: Limits, model: ModelSettings | None
    ) -> None:
        self._store = store
        self._waiting: list[tuple[str, dict[str, object]]] = []
        self._lock = threading.Lock()
        self._finished = False
        config: dict[str, object] = {
            "trace": problem.trace.digest(),
            "trace_name": problem.trace.meta.name,
            "trace_notes": list(problem.trace.meta.notes),
            "cluster": problem.cluster.model_dump(mode="json"),
            "load": asdict(problem.load),
            "capacity": problem.capacity.trace.digest() if problem.capacity else None,
            "mode": problem.mode,
            "seed": problem.seed,
            "limits": asdict(limits),
            "model": model.model if model else None,
        }
        self.run = store.runs.start_run("evolve", config).id

    def __enter__(self) -> RunRecord:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._finished:
            return
        self._flush()
        if kind is not None:
            verdict = "failed" if issubclass(kind, Exception) else "stopped"
            self._store.runs.finish_run(self.run, verdict, {"error": kind.__name__})

    def on_event(self, event: Event) -> None:
        """Keep an event; written in batches, at the latest when a generation is done.

        Raises:
            StoreError: among others where sealed windows are opened for a second candidate.
        """
        if event.kind is EventKind.SEALED_OPENED and event.candidate is not None:
            windows = event.data.get("windows")
            count = len(windows) if isinstance(windows, Sequence) else 0
            self._store.runs.open_sealed(self.run, event.candidate, count, by="evolver")
        payload = {
            "sequence": event.sequence,
            "generation": event.generation,
            "candidate": event.candidate,
            **event.data,
        }
        with self._lock:
            self._waiting.append((event.kind.value, payload))
        if event.kind in _FLUSH_AFTER or len(self._waiting) >= 256:
            self._flush()

    def on_exchange(self, exchange: Exchange) -> None:
        """Keep what a model was asked and answered; at once, since it cost money."""
        with self._lock:  # several answers may come at once
            self._waiting.append(("model_exchange", asdict(exchange)))
        self._flush()

    def propose(self, verdict: Verdict, evidence: Evidence, author: str) -> str:
        """Put the winner and its evidence into the store, ready for approval; its digest.

        What is stored is the source with its tuned constants written in, so that a host needs
        nothing beside the text; the digest is that text's.
        """
        winner = verdict.winner
        if winner is None:
            raise ValueError("a verdict without a winner proposes nothing")
        origin = Origin.MUTATOR if winner.origin == "mutator" else Origin.LLM
        source = written(winner.text, winner.parameters, winner.name)
        version = self._store.propose(
            source.canonical,
            name=winner.name,
            origin=origin,
            author=author,
            contract_version=CONTRACT_VERSION,
            parameters=source.parameters(),
            claim=source.claim,
            parents=(),
            run=self.run,
        )
        if version.state is State.PROPOSED:
            self._store.record_verified(version.digest, author)
        self._store.attach_evidence(version.digest, evidence.document(), author)
        return version.digest

    def finish(
        self, result: RunResult, policy: str | None, missing_isolation: Sequence[str] = ()
    ) -> None:
        """Close the run with its verdict, and with what its candidates were not isolated by."""
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
        }
        self._store.runs.finish_run(self.run, verdict.outcome.value, summary)
        self._finished = True

    def _flush(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
            if waiting:
                self._store.runs.append_events(self.run, waiting)
