"""`evolver policy`: what was proposed, and a person's decisions about it.

`live_commands` has those that change what decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Declined, Misused
from evolver.cli.options import OutFile, Output, OutputOption, Quiet, screen_of
from evolver.cli.policies import ACTIVE, Named, find_policy, open_store
from evolver.cli.publishing import user_name
from evolver.cli.results import show_result

if TYPE_CHECKING:
    from policy_store.records import PolicyVersion
    from policy_store.store import PolicyStore

policy_app = typer.Typer(
    name="policy", no_args_is_help=True, help="What was proposed: approve, activate, take back."
)
Policy = Annotated[
    str, typer.Argument(metavar="POLICY", help="The first six or more digits of a digest.")
]
Note = Annotated[str, typer.Option(metavar="TEXT", help="Why; kept in the audit log.")]


def _person(name: str | None) -> str | None:
    """Names with a colon are those under which rules, proxies and providers decide."""
    if name is not None and ":" in name:
        raise Misused(f"{name!r} is no person's name: say who decides with --by NAME.")
    return name


By = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Who decides; the user's name.", envvar="USER", callback=_person
    ),
]


@policy_app.command(name="list")
def list_policies(
    context: typer.Context,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="Only those, such as evaluated.")
    ] = None,
    library: Annotated[bool, typer.Option("--library", help="Those that ship, instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """List stored policies, newest first, or the library.

    \b
    evolver policy list
    evolver policy list --state evaluated        those that wait for a decision
    evolver policy list --library
    """
    from evolver.cli import policy_report as shown

    screen = screen_of(context, quiet)
    if library:
        show_result(screen, output, out, shown.library_document, shown.library_report)
        return
    from policy_store.lifecycle import State

    if state is not None and state not in [each.value for each in State]:
        known = ", ".join(each.value for each in State)
        raise Misused(f"There is no state {state!r}; give one of {known}.")
    with open_store() as store:
        versions = store.list_policies(state=State(state) if state else None, limit=limit)
    show_result(
        screen, output, out,
        lambda: {"policies": [shown.version_json(version) for version in versions]},
        lambda: shown.list_report(versions),
    )  # fmt: skip
    if not versions:
        screen.next("evolver evolve TRACE --seed 1")


@policy_app.command()
def show(
    context: typer.Context,
    policy: Policy,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Show one stored policy: its source, evidence and history.

    \b
    evolver policy show 3f2a9c
    evolver policy show 3f2a9c -o html --out policy.html
    """
    from evolver.cli.policy_report import details_document, details_report

    screen = screen_of(context, quiet)
    with open_store() as store:
        details = store.show(stored_digest(store, policy))
        history = store.history(details.version.digest)
    show_result(
        screen, output, out,
        lambda: details_document(details, history),
        lambda: details_report(details, history),
    )  # fmt: skip
    if details.version.state.value == "evaluated":
        short = details.version.digest[:12]
        screen.next(f"evolver policy diff {short}", f'evolver policy approve {short} --note "why"')


@policy_app.command()
def diff(
    context: typer.Context,
    policy: Annotated[str, typer.Argument(metavar="A", help="A stored policy, name or file.")],
    other: Annotated[
        str | None, typer.Argument(metavar="B", help="The same; without it, active against A.")
    ] = None,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Say what changed between two policies, then compare them line by line.

    \b
    evolver policy diff 3f2a9c                   what would change for the active one
    evolver policy diff least_loaded 3f2a9c
    """
    from evolver.cli.evolve_report import diff_text
    from sandbox.changes import changes
    from sandbox.report import Report

    screen = screen_of(context, quiet)
    old, new = (find_policy(ACTIVE), find_policy(policy)) if other is None else (
        find_policy(policy), find_policy(other))  # fmt: skip
    before, after = _written(old), _written(new)
    text, change = diff_text(before, after, old.name, new.name), changes(before, after)
    show_result(
        screen, output, out,
        lambda: {"old": {"name": old.name, "digest": old.digest},
                 "new": {"name": new.name, "digest": new.digest}, "change": change.as_data(),
                 "diff": text},
        lambda: Report(f"{old.name} and {new.name}").say(change.sentence()).code(text, "diff"),
    )  # fmt: skip


@policy_app.command()
def approve(
    context: typer.Context, policy: Policy, note: Note, by: By = None, quiet: Quiet = False
) -> None:
    """Allow a policy to go live; it does so with `activate`.

    \b
    evolver policy approve 3f2a9c --note "7 % faster on last week's trace"
    """
    who = by or user_name()
    version = _decide(lambda store: store.approve(stored_digest(store, policy), who, note))
    screen = screen_of(context, quiet)
    screen.text(f"approved {version.digest[:12]} ({version.name})")
    screen.next(f'evolver policy activate {version.digest[:12]} --note "why"')


@policy_app.command()
def reject(
    context: typer.Context, policy: Policy, note: Note, by: By = None, quiet: Quiet = False
) -> None:
    """Decide against a policy; it can be approved again later.

    \b
    evolver policy reject 3f2a9c --note "too complicated for what it gains"
    """
    who = by or user_name()
    version = _decide(lambda store: store.reject(stored_digest(store, policy), who, note))
    screen_of(context, quiet).text(f"rejected {version.digest[:12]} ({version.name})")


def _decide(decision: Callable[[PolicyStore], PolicyVersion]) -> PolicyVersion:
    with open_store() as store:
        return decision(store)


def stored_digest(store: PolicyStore, word: str) -> str:
    """The stored digest that a word means."""
    from policy_store.records import Alias

    if word != ACTIVE:
        return store.resolve(word)
    digest = store.slot(Alias.ACTIVE).digest
    if digest is None:
        raise Declined("The built-in default is active: nothing stored is.", "evolver policy list")
    return digest


def _written(named: Named) -> str:
    from evolver.written import written

    return written(named.source.annotated(), dict(named.parameters or {})).canonical
