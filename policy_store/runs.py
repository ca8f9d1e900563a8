"""Evolution runs and their events, written as they happen so that a stopped run can go on."""

import json
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.orm import Session

from policy_store import audit
from policy_store.engine import Database
from policy_store.errors import InvalidInput, SealedBefore, StaleDecision, UnknownRun
from policy_store.intake import json_text, plain_name
from policy_store.records import Run, RunEvent
from policy_store.tables import AuditRow, RunEventRow, RunRow

SEALED_OPENED = "sealed_opened"


class Runs:
    """Starting, continuing and reading runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start_run(self, kind: str, config: Mapping[str, object]) -> Run:
        """Begin a run; its configuration must be all that is needed to resume it.

        Raises:
            InvalidInput: the configuration is not JSON.
        """
        row = RunRow(
            id=uuid.uuid4().hex,
            kind=plain_name(kind),
            config=json.loads(json_text(config)),
            started_at=self._database.clock(),
        )
        with self._database.deciding() as session:
            session.add(row)
            session.flush()
            return _run(row)

    def append_event(self, run: str, kind: str, payload: Mapping[str, object]) -> int:
        """Add the next event; returns its sequence. See `append_events`."""
        return self.append_events(run, [(kind, payload)])

    def append_events(
        self,
        run: str,
        events: Iterable[tuple[str, Mapping[str, object]]],
        *,
        after: int | None = None,
    ) -> int:
        """Add (kind, payload) pairs in order, all or none; returns the last sequence.

        Args:
            run: its id.
            events: what happened.
            after: the sequence that must be the last so far, so that one process writes a run.

        Raises:
            UnknownRun: no such run.
            InvalidInput: the run is finished, or a payload is not JSON.
            StaleDecision: another process goes on with this run.
        """
        plain = [(plain_name(kind), json.loads(json_text(payload))) for kind, payload in events]
        with self._database.appending() as connection:
            last = _last_of_unfinished(connection, run)
            if after is not None and after != last:
                raise StaleDecision(
                    f"Another process goes on with run {run[:12]}: end one of the two."
                )
            now = self._database.clock()
            rows = [
                {"run_id": run, "sequence": last + n, "kind": kind, "payload": payload, "at": now}
                for n, (kind, payload) in enumerate(plain, 1)
            ]
            if rows:
                connection.execute(insert(RunEventRow), rows)
            return last + len(rows)

    def open_sealed(self, run: str, candidate: str, windows: int, by: str) -> None:
        """Note in the audit log that a run opens its sealed windows for one candidate, ever.

        Asked again for the same candidate, as a resumed run does, it passes and adds nothing.

        Raises:
            UnknownRun: no such run.
            SealedBefore: they were opened for another candidate.
            InvalidInput: the run is finished, or `by` is no name.
        """
        with self._database.deciding() as session:
            _unfinished(session, run)
            before = _sealed_for(session, run)
            if before == candidate:
                return
            if before is not None:
                raise SealedBefore(
                    f"Run {run} opened its sealed windows for {before[:12]} already: prove "
                    f"{candidate[:12]} in a run with fresh windows."
                )
            audit.append(
                session,
                at=self._database.clock(),
                actor=by,
                action=SEALED_OPENED,
                subject=candidate,
                details={"run": run, "windows": windows},
            )

    def finish_run(
        self,
        run: str,
        verdict: str,
        summary: Mapping[str, object] | None = None,
        check: Callable[[Session], None] | None = None,
    ) -> Run:
        """Close a run with a verdict such as `improved` or `no_change`.

        Args:
            check: looks once more, inside the decision, and raises what it has against it.

        Raises:
            UnknownRun: no such run.
            InvalidInput: it is finished already, or the summary is not JSON.
        """
        with self._database.deciding() as session:
            if check is not None:
                check(session)
            row = _unfinished(session, run)
            row.finished_at = self._database.clock()
            row.verdict = plain_name(verdict)
            row.summary = None if summary is None else json.loads(json_text(summary))
            session.flush()
            return _run(row)

    def get_run(self, run: str) -> Run:
        """One run by its id.

        Raises:
            UnknownRun: no such run.
        """
        with self._database.reading() as session:
            return _run(_row(session, run))

    def find_run(self, word: str) -> Run:
        """One run by its id, by at least the first four of its digits, or "last" for the newest.

        Raises:
            UnknownRun: no such run.
            InvalidInput: several runs begin so, or it is too short to tell.
        """
        query = select(RunRow).order_by(RunRow.started_at.desc(), RunRow.id).limit(2)
        if word != "last":
            if not re.fullmatch("[0-9a-f]{4,32}", word):
                raise InvalidInput(f"{word!r} is no run: give its first four digits, or `last`.")
            query = query.where(RunRow.id.startswith(word))
        with self._database.reading() as session:
            found = session.scalars(query).all()
            if not found:
                raise UnknownRun(_unknown(word))
            if len(found) > 1 and word != "last":
                raise InvalidInput(f"Several runs begin with {word}: give more of its digits.")
            return _run(found[0])

    def list_runs(self, limit: int = 100, *, after: str | None = None) -> tuple[Run, ...]:
        """Runs, newest first; `after` is the last one of the page before, by its id.

        Raises:
            UnknownRun: there is no such run to go on after.
        """
        query = select(RunRow).order_by(RunRow.started_at.desc(), RunRow.id).limit(limit)
        with self._database.reading() as session:
            if after is not None:
                last = _row(session, after)
                tied = (RunRow.started_at == last.started_at) & (RunRow.id > last.id)
                query = query.where((RunRow.started_at < last.started_at) | tied)
            return tuple(_run(row) for row in session.scalars(query))

    def summaries(self, verdict: str, limit: int = 10_000) -> dict[str, Mapping[str, object]]:
        """Summaries of the runs that finished with a verdict, by id, the newest first.

        Runs that left none are not among them.
        """
        query = select(RunRow.id, RunRow.summary).where(RunRow.verdict == plain_name(verdict))
        query = query.order_by(RunRow.finished_at.desc(), RunRow.id).limit(limit)
        with self._database.reading() as session:
            return {row.id: row.summary for row in session.execute(query) if row.summary}

    def events(
        self, run: str, *, after: int = 0, limit: int | None = None, kinds: Collection[str] = ()
    ) -> tuple[RunEvent, ...]:
        """Events with a sequence above `after`, in order; of these kinds only, if any are given.

        Raises:
            UnknownRun: no such run.
        """
        query = select(RunEventRow).where(RunEventRow.run_id == run, RunEventRow.sequence > after)
        if kinds:
            query = query.where(RunEventRow.kind.in_(kinds))
        with self._database.reading() as session:
            _row(session, run)
            rows = session.scalars(query.order_by(RunEventRow.sequence).limit(limit))
            return tuple(
                RunEvent(row.run_id, row.sequence, row.kind, row.payload, row.at) for row in rows
            )


def _row(session: Session, run: str) -> RunRow:
    row = session.get(RunRow, run)
    if row is None:
        raise UnknownRun(_unknown(run))
    return row


def _unknown(run: str) -> str:
    if run == "last":
        return "No run is stored yet: begin one with `evolver evolve TRACE`."
    return f"There is no run {run}: check the id with `evolver run list`."


def _unfinished(session: Session, run: str) -> RunRow:
    row = _row(session, run)
    if row.finished_at is not None:
        raise InvalidInput(f"Run {run} finished as {row.verdict}: start a new one.")
    return row


def _sealed_for(session: Session, run: str) -> str | None:
    """The candidate that the sealed windows of a run were opened for."""
    query = select(AuditRow.subject).where(
        AuditRow.action == SEALED_OPENED,
        AuditRow.details.contains(f'"run":"{run}"'),  # canonical JSON
    )
    return session.scalar(query)


def _last_of_unfinished(connection: Connection, run: str) -> int:
    """The last sequence of a run that goes on; the run's row is locked where rows can be."""
    query = select(RunRow.finished_at, RunRow.verdict).where(RunRow.id == run)
    row = connection.execute(query.with_for_update()).first()
    if row is None:
        raise UnknownRun(_unknown(run))
    if row[0] is not None:
        raise InvalidInput(f"Run {run} finished as {row[1]}: start a new one.")
    # Asked under the lock: one statement for both would count what was there before it waited.
    last = select(func.max(RunEventRow.sequence)).where(RunEventRow.run_id == run)
    return connection.execute(last).scalar() or 0


def _run(row: RunRow) -> Run:
    return Run(
        id=row.id,
        kind=row.kind,
        config=row.config,
        started_at=row.started_at,
        finished_at=row.finished_at,
        verdict=row.verdict,
        summary=row.summary,
        pruned_at=row.pruned_at,
    )
