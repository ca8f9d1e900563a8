"""Writes down what the daemon does: a step, its episode and its reason in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from evolver.daemon.accounts import closed
from policy_store.daemon_book import DaemonState, Entry, Episode
from policy_store.errors import InvalidInput
from policy_store.leases import Lease, check_lease
from policy_store.store import PolicyStore

MAX_NOTE_CHARS = 2000
KEPT = ("searched_on", "said")  # of a state's body, when an episode ends


class Pen:
    """What a turn writes with, under its lease.

    Args:
        actor: who acts, as the audit log names it.
        first: the step in which a daemon rests.
    """

    def __init__(
        self, store: PolicyStore, lease: Lease, actor: str, clock: Callable[[], float], first: str
    ) -> None:
        self._store, self._lease, self._actor = store, lease, actor
        self._clock, self._first = clock, first

    @property
    def moment(self) -> datetime:
        """Now."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def still_leads(self, session: Session) -> None:
        """For a decision of another book, inside it.

        Raises:
            Fenced: another daemon leads.
        """
        check_lease(session, self._lease)

    def move(
        self,
        state: DaemonState,
        step: str,
        body: Mapping[str, object],
        action: str,
        note: str,
        *,
        subject: str | None = None,
        details: Mapping[str, object] | None = None,
        episode: Episode | None = None,
    ) -> DaemonState:
        """Go a step and say why.

        Raises:
            Fenced: another daemon leads.
        """
        entry = Entry(self._actor, action, note[:MAX_NOTE_CHARS], subject, details or {})
        return self._store.daemons.move(self._lease, state, step, body, entry, episode)

    def note(
        self,
        state: DaemonState,
        action: str,
        note: str,
        *,
        subject: str | None = None,
        details: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> DaemonState:
        """Say something without going on."""
        return self.move(
            state, state.step, state.body if body is None else body, action, note,
            subject=subject, details=details,
        )  # fmt: skip

    def rest(
        self,
        state: DaemonState,
        action: str,
        note: str,
        episode: Episode,
        outcome: str,
        *,
        subject: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> DaemonState:
        """End the episode, and watch again."""
        body = {name: state.body[name] for name in KEPT if name in state.body}
        told = {"episode": episode.number, "outcome": outcome, **(details or {})}
        return self.move(
            state, self._first, body, action, note, subject=subject, details=told,
            episode=closed(episode, self.moment, outcome),
        )  # fmt: skip

    def episode(self, state: DaemonState) -> Episode:
        """The one at hand.

        Raises:
            InvalidInput: it is not in the store.
        """
        for one in self._store.daemons.episodes(state.deployment, 1):
            if one.number == state.episode:
                return one
        raise InvalidInput(
            f"Episode {state.episode} of {state.deployment} is not in the store: restore a backup."
        )
