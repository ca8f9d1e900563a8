"""What a daemon is doing and has done: one state for each deployment, and its episodes.

An episode is one evolution run that a daemon decided on, from why it was begun to what became of
its policy. Each step of a daemon is one transaction: the state, the episode and the entry in the
audit log change together, under the lease of the daemon and only from the state that it saw.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from policy_store import audit
from policy_store.engine import Database
from policy_store.errors import StaleDecision
from policy_store.intake import json_text, plain_name, required_note
from policy_store.leases import Lease, check_lease
from policy_store.tables import DaemonRow, EpisodeRow

FIRST_STEP = "watching"


@dataclass(frozen=True, slots=True)
class DaemonState:
    """Where a daemon stands.

    Attributes:
        step: its name in the daemon's state machine.
        version: grows with each change; 0 before the first.
        episode: number of the latest one, 0 before the first.
        body: what the step has to know, as JSON values.
    """

    deployment: str
    step: str = FIRST_STEP
    version: int = 0
    episode: int = 0
    body: Mapping[str, object] = field(default_factory=dict)
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """One evolution run of a daemon.

    Attributes:
        outcome: how it ended; None while it goes on.
        run, policy: in the store; None before there is one.
        facts: why it was begun, what it was given and spent, on which window, in which regime.
    """

    deployment: str
    number: int
    began_at: datetime
    ended_at: datetime | None = None
    outcome: str | None = None
    run: str | None = None
    policy: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """What the audit log is told with a step.

    Attributes:
        action: `daemon_...`.
        subject: full digest of the policy that it is about.
    """

    actor: str
    action: str
    note: str
    subject: str | None = None
    details: Mapping[str, object] = field(default_factory=dict)


class DaemonBook:
    """Reading and changing what daemons are doing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, deployment: str) -> DaemonState:
        """Where the daemon of a deployment stands."""
        with self._database.reading() as session:
            return _state(session.get(DaemonRow, deployment), deployment)

    def move(
        self,
        lease: Lease,
        seen: DaemonState,
        step: str,
        body: Mapping[str, object],
        entry: Entry | None = None,
        episode: Episode | None = None,
    ) -> DaemonState:
        """Go one step, all of it or nothing.

        Args:
            lease: of the daemon.
            seen: the state that the step was decided on.
            step, body: the state after it.
            entry: why, for the audit log.
            episode: begun or changed by it.

        Raises:
            Fenced: another daemon took the lease over.
            StaleDecision: the state is another one than was seen.
            InvalidInput: the body is not JSON, or there is no note.
        """
        with self._database.deciding() as session:
            check_lease(session, lease)
            row = session.get(DaemonRow, seen.deployment, populate_existing=True)
            if (row.version if row else 0) != seen.version:
                raise StaleDecision(
                    f"The daemon of {seen.deployment} has gone on from version {seen.version} "
                    "meanwhile: look again, then decide."
                )
            if row is None:
                row = DaemonRow(
                    deployment=plain_name(seen.deployment), step=step, version=0, episode=0,
                    body={}, changed_at=self._database.clock(),
                )  # fmt: skip
                session.add(row)
            row.step, row.version = plain_name(step), row.version + 1
            row.body = json.loads(json_text(body))
            row.changed_at = self._database.clock()
            if episode is not None:
                _keep(session, episode)
                row.episode = max(row.episode, episode.number)
            if entry is not None:
                self._write(session, seen.deployment, entry)
            session.flush()
            return _state(row, seen.deployment)

    def episodes(self, deployment: str, limit: int = 100) -> tuple[Episode, ...]:
        """The latest episodes, newest first."""
        query = select(EpisodeRow).where(EpisodeRow.deployment == deployment)
        query = query.order_by(EpisodeRow.number.desc()).limit(limit)
        with self._database.reading() as session:
            return tuple(_episode(row) for row in session.scalars(query))

    def since(self, deployment: str, moment: datetime) -> tuple[Episode, ...]:
        """The episodes that began since a moment, newest first."""
        query = select(EpisodeRow).where(
            EpisodeRow.deployment == deployment, EpisodeRow.began_at >= moment
        )
        with self._database.reading() as session:
            rows = session.scalars(query.order_by(EpisodeRow.number.desc()))
            return tuple(_episode(row) for row in rows)

    def _write(self, session: Session, deployment: str, entry: Entry) -> None:
        audit.append(
            session,
            at=self._database.clock(),
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            deployment=deployment,
            note=required_note(entry.note),
            details=json.loads(json_text(entry.details)),
        )


def _keep(session: Session, episode: Episode) -> None:
    key = plain_name(episode.deployment), episode.number
    row = session.get(EpisodeRow, key)
    if row is None:
        row = EpisodeRow(deployment=key[0], number=key[1], began_at=episode.began_at, facts={})
        session.add(row)
    row.ended_at = episode.ended_at
    row.outcome = None if episode.outcome is None else plain_name(episode.outcome)
    row.run_id, row.version_digest = episode.run, episode.policy
    row.facts = json.loads(json_text(episode.facts))


def _state(row: DaemonRow | None, deployment: str) -> DaemonState:
    if row is None:
        return DaemonState(deployment)
    return DaemonState(row.deployment, row.step, row.version, row.episode, row.body, row.changed_at)


def _episode(row: EpisodeRow) -> Episode:
    return Episode(
        row.deployment, row.number, row.began_at, row.ended_at, row.outcome, row.run_id,
        row.version_digest, row.facts,
    )  # fmt: skip
