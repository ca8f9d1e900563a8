"""`evolver policy activate`, `rollback`, `renew` and `publish`: what decides from now on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Declined
from evolver.cli.options import Quiet, screen_of
from evolver.cli.policies import open_store
from evolver.cli.policy_commands import By, Note, Policy, stored_digest
from evolver.cli.publishing import VALID_DAYS, publish, signing_key, snapshot_path, user_name
from evolver.cli.screen import Screen
from sandbox.home import home

if TYPE_CHECKING:
    from policy_store.records import Activation
    from policy_store.snapshot import Snapshot
    from policy_store.store import PolicyStore

ValidDays = Annotated[
    int, typer.Option("--valid-days", metavar="N", min=1, max=365, help="Until it expires.")
]


def activate(
    context: typer.Context,
    policy: Policy,
    note: Note,
    by: By = None,
    days: ValidDays = VALID_DAYS,
    quiet: Quiet = False,
) -> None:
    """Make an approved policy the active one, and sign the file that serving hosts follow.

    \b
    evolver policy activate 3f2a9c --note "its evidence holds on last week, too"
    """

    def decide(store: PolicyStore, who: str) -> Activation:
        digest, sequence = stored_digest(store, policy), store.slot().sequence
        return store.activate(digest, sequence, who, note)

    screen = screen_of(context, quiet)
    _go_live(screen, decide, by, days)
    screen.next("evolver status", 'evolver policy rollback --note "why"')


def rollback(
    context: typer.Context,
    note: Note,
    by: By = None,
    days: ValidDays = VALID_DAYS,
    quiet: Quiet = False,
) -> None:
    """Take the active policy back, to the last good one or the built-in default.

    \b
    evolver policy rollback --note "p99 doubled since noon"
    """

    def decide(store: PolicyStore, who: str) -> Activation:
        return store.rollback(who, note, expected_sequence=store.slot().sequence)

    screen = screen_of(context, quiet)
    _go_live(screen, decide, by, days)
    screen.next("evolver status")


def renew(
    context: typer.Context,
    note: Note,
    by: By = None,
    days: ValidDays = VALID_DAYS,
    quiet: Quiet = False,
) -> None:
    """Let the active policy run for another term; when a term ends, hosts use their default.

    \b
    evolver policy renew --note "looked at last month's regressions: none"
    """

    def decide(store: PolicyStore, who: str) -> Activation:
        return store.renew(store.slot().sequence, who, note)

    screen = screen_of(context, quiet)
    _go_live(screen, decide, by, days)
    screen.next("evolver status")


def write_again(context: typer.Context, days: ValidDays = VALID_DAYS, quiet: Quiet = False) -> None:
    """Write the file that serving hosts follow again, as after a new key or a lost file.

    Nothing is decided: the term counts from the last activation, rollback or renewal.

    \b
    evolver policy publish
    """
    screen = screen_of(context, quiet)
    key = signing_key(home(), screen, user_name())
    with open_store() as store:
        snapshot = store.snapshot(valid_for=timedelta(days=days))
        if snapshot.active is not None and snapshot.issued_at >= snapshot.expires_at:
            raise Declined(
                f"The term of the active policy ended on {snapshot.expires_at:%Y-%m-%d}; look at "
                "its evidence again, then renew it.",
                'evolver policy renew --note "why"',
            )
        _say(screen, publish(store, home(), key, days))


def _go_live(
    screen: Screen,
    decide: Callable[[PolicyStore, str], Activation],
    by: str | None,
    days: int,
) -> None:
    who = by or user_name()
    # Before anything is decided: what cannot be signed must not be decided either.
    key = signing_key(home(), screen, who)
    with open_store() as store:
        live = decide(store, who)
        name = "the built-in default" if live.digest is None else live.digest[:12]
        screen.text(f"active {name} since sequence {live.sequence}")
        _say(screen, publish(store, home(), key, days))


def _say(screen: Screen, snapshot: Snapshot) -> None:
    signed = f"signed by {snapshot.signature.key}" if snapshot.signature else "not signed"
    screen.note(
        f"hosts read {snapshot_path(home())}, {signed}, valid until "
        f"{snapshot.expires_at.astimezone():%Y-%m-%d %H:%M}"
    )
