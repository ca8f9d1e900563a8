"""`evolver review user` and `token`: who may come in, for machines without a browser.

Whoever may write the store may do this: it needs no account.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Misused
from evolver.cli.options import OutFile, Output, OutputOption, Quiet, screen_of
from evolver.cli.policies import open_store
from evolver.cli.publishing import user_name
from evolver.cli.results import show_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_store.people import Account, Token
    from policy_store.records import Role
    from sandbox.report import Report

USUAL_BASE = "http://127.0.0.1:8600"

user_app = typer.Typer(name="user", no_args_is_help=True, help="Who may come in, in which role.")
token_app = typer.Typer(name="token", no_args_is_help=True, help="Keys of programs to the API.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the account.")]
RoleWord = Annotated[str, typer.Option("--role", metavar="ROLE", help="viewer, reviewer or admin.")]
BaseUrl = Annotated[
    str, typer.Option(metavar="URL", help="As browsers reach the page, for the link.")
]


def role_of(word: str | None) -> Role | None:
    """The role that a word means; None stays None.

    Raises:
        Misused: there is no such role.
    """
    from policy_store.records import Role

    known = [each.value for each in Role]
    if word is not None and word not in known:
        raise Misused(f"There is no role {word!r}; give one of {', '.join(known)}.")
    return None if word is None else Role(word)


@user_app.command()
def add(
    context: typer.Context,
    name: Name,
    role: RoleWord = "viewer",
    base_url: BaseUrl = USUAL_BASE,
    no_link: Annotated[
        bool, typer.Option("--no-link", help="For those whom a proxy or provider signs in.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Make an account, and a link with which its owner sets a password within 24 h.

    \b
    evolver review user add ada --role reviewer
    """
    screen = screen_of(context, quiet)
    with open_store() as store:
        account = store.accounts.add(name, _known(role), by=user_name())
        link = None if no_link else store.accounts.link_for(account.name, by=user_name())
    screen.text(f"made account {account.name} ({account.role.value})")
    if link is not None:
        screen.text(f"set its password, once, within 24 h: {base_url.rstrip('/')}/link/{link}")


@user_app.command(name="list")
def list_users(
    context: typer.Context,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """List accounts."""
    screen = screen_of(context, quiet)
    with open_store() as store:
        people = store.accounts.everybody()
    show_result(
        screen, output, out,
        lambda: {"accounts": [_account_json(one) for one in people]},
        lambda: _people_report(people),
    )  # fmt: skip
    if not people:
        screen.next("evolver review")


@user_app.command()
def role(context: typer.Context, name: Name, role: RoleWord, quiet: Quiet = False) -> None:
    """Change what somebody may do, from now on.

    \b
    evolver review user role ada --role admin
    """
    screen = screen_of(context, quiet)
    with open_store() as store:
        account = store.accounts.set_role(name, _known(role), by=user_name())
    screen.text(f"{account.name} is a {account.role.value}")


@user_app.command()
def disable(
    context: typer.Context,
    name: Name,
    undo: Annotated[bool, typer.Option("--undo", help="Let them in again.")] = False,
    quiet: Quiet = False,
) -> None:
    """Keep somebody out: sessions end at once, tokens and links are refused.

    \b
    evolver review user disable ada
    evolver review user disable ada --undo
    """
    screen = screen_of(context, quiet)
    with open_store() as store:
        change = store.accounts.enable if undo else store.accounts.disable
        change(name, by=user_name())
    screen.text(f"{name} may sign in again" if undo else f"{name} is kept out")


@user_app.command()
def reset(
    context: typer.Context, name: Name, base_url: BaseUrl = USUAL_BASE, quiet: Quiet = False
) -> None:
    """Make a link that sets somebody's password, once, within 24 h."""
    screen = screen_of(context, quiet)
    with open_store() as store:
        link = store.accounts.link_for(name, by=user_name())
    screen.text(f"{base_url.rstrip('/')}/link/{link}")


@token_app.command(name="add")
def add_token(
    context: typer.Context,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Whose decisions they are.")],
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="What it is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="SCOPE", help="read, decide, administer or host; repeatable."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="Until it expires.")] = 90,
    quiet: Quiet = False,
) -> None:
    """Make a token and print it, this once.

    \b
    evolver review token add ada --name "nightly report"
    evolver review token add ada --name deploys --scope read --scope decide --days 30
    """
    from policy_store.records import Scope

    screen = screen_of(context, quiet)
    known = [each.value for each in Scope]
    words = scope or [Scope.READ.value]
    if set(words) - set(known):
        raise Misused(f"Scopes are {', '.join(known)}.")
    scopes = [Scope(word) for word in words]
    with open_store() as store:
        secret, token = store.accounts.make_token(
            account, name, scopes, timedelta(days=days), by=user_name()
        )
    screen.note(f"token {token.id[:12]} of {account}, until {token.expires_at:%Y-%m-%d}")
    screen.text(secret)


@token_app.command(name="list")
def list_tokens(
    context: typer.Context,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """List tokens of all accounts."""
    screen = screen_of(context, quiet)
    with open_store() as store:
        tokens = store.accounts.tokens_of()
    show_result(
        screen, output, out,
        lambda: {"tokens": [_token_json(one) for one in tokens]},
        lambda: _token_report(tokens),
    )  # fmt: skip


@token_app.command()
def revoke(
    context: typer.Context,
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The first digits of its id.")],
    quiet: Quiet = False,
) -> None:
    """Make a token useless at once."""
    screen = screen_of(context, quiet)
    with open_store() as store:
        found = [one for one in store.accounts.tokens_of() if one.id.startswith(token)]
        if len(found) != 1 or len(token) < 6:
            raise Misused(
                f"{token!r} are not the first six or more digits of one token.",
                "evolver review token list",
            )
        gone = store.accounts.revoke_token(found[0].id, by=user_name())
    screen.text(f"revoked {gone.id[:12]} ({gone.name}, of {gone.account})")


def _known(word: str) -> Role:
    found = role_of(word)
    if found is None:
        raise Misused("Say a role with --role.")
    return found


def _account_json(one: Account) -> dict[str, object]:
    return {"name": one.name, "role": one.role.value, "disabled": one.disabled,
            "password": one.has_password, "identity": one.identity, "invited": one.invited,
            "created_at": one.created_at.isoformat()}  # fmt: skip


def _token_json(one: Token) -> dict[str, object]:
    moments = (one.created_at, one.expires_at, one.used_at, one.revoked_at)
    names = ("created_at", "expires_at", "used_at", "revoked_at")
    times = {name: at.isoformat() if at else None for name, at in zip(names, moments, strict=True)}
    return {"id": one.id, "name": one.name, "account": one.account,
            "scopes": sorted(one.scopes), **times}  # fmt: skip


def _people_report(people: Sequence[Account]) -> Report:
    from evolver.cli.policy_report import ago
    from sandbox.report import Report

    report = Report("Accounts")
    if not people:
        return report.say("Nobody has an account yet; the page's first start makes a link.")
    rows = [(one.name, one.role.value, one.way(), ago(one.created_at)) for one in people]
    return report.grid(("name", "role", "signs in with", "since"), rows)


def _token_report(tokens: Sequence[Token]) -> Report:
    from evolver.cli.policy_report import ago
    from sandbox.report import Report

    report = Report("Tokens")
    if not tokens:
        return report.say("There are no tokens.")
    rows = [
        (one.id[:12], one.account, one.name, " ".join(sorted(one.scopes)),
         "revoked" if one.revoked_at else f"until {one.expires_at:%Y-%m-%d}",
         ago(one.used_at) if one.used_at else "never")
        for one in tokens
    ]  # fmt: skip
    return report.grid(("id", "of", "name", "scopes", "good", "last used"), rows)
