"""`evolver store`: where everything is kept, whether it is as it was written, and its backups.

`store_upkeep` has those that check it and let go of what is old.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Declined, Misused
from evolver.cli.options import OutFile, Output, OutputOption, Quiet, screen_of
from evolver.cli.policies import open_store, store_place
from evolver.cli.policy_commands import By
from evolver.cli.publishing import user_name
from evolver.cli.results import show_result
from evolver.cli.store_upkeep import prune, read_published, verify

if TYPE_CHECKING:
    from policy_store.engine import Database

store_app = typer.Typer(
    name="store", no_args_is_help=True, help="What is kept: verify, back up, restore, prune."
)
BackupFile = Annotated[Path, typer.Argument(metavar="FILE", help="A backup, such as store.evb.")]
FreeNote = Annotated[str, typer.Option(metavar="TEXT", help="Why; kept in the audit log.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it.")]


@store_app.command()
def info(
    context: typer.Context,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Say where the store is, how large, with which schema, and what is in it.

    \b
    evolver store info
    evolver store info -o json                   the head of the audit log, to keep elsewhere

    EVOLVER_STORE names another place, such as postgresql+psycopg://USER@HOST/DATABASE.
    """
    from evolver.cli.store_report import info_document, info_report

    screen = screen_of(context, quiet)
    with open_store() as store:
        document = info_document(store)
    show_result(screen, output, out, lambda: document, lambda: info_report(document))
    screen.next("evolver store verify")


@store_app.command()
def upgrade(context: typer.Context, quiet: Quiet = False) -> None:
    """Bring the store's tables to the schema of this version; opening it does that, too.

    \b
    evolver store upgrade
    """
    from policy_store.schema import HEAD, ensure_schema, present_revision

    with _database() as database:
        before = present_revision(database)
        ensure_schema(database)
        said = (
            f"schema {HEAD} already" if before == HEAD else f"schema {before or 'none'} -> {HEAD}"
        )
        screen_of(context, quiet).text(f"{database.where}: {said}")


@store_app.command()
def downgrade(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(metavar="REVISION", help="Such as 0001.")],
    note: FreeNote = "",
    by: By = None,
    yes: Yes = False,
    quiet: Quiet = False,
) -> None:
    """Take the store's tables back to an older schema, for an older version of this program.

    \b
    evolver store backup before.evb
    evolver store downgrade 0001 --yes --note "back to the last version"

    Tables and columns that came later go, with all that is in them.
    """
    from policy_store.schema import set_back

    screen = screen_of(context, quiet)
    if not yes or not note:
        raise Declined(
            f"What came after schema {revision} goes, with all that is in it: add --yes and --note "
            "once there is a backup.",
            "evolver store backup FILE",
        )
    with _database() as database:
        set_back(database, revision, by=by or user_name(), note=note)
        screen.text(f"{database.where}: back to schema {revision}")
    screen.note("the next command of this version brings it up again")


@store_app.command()
def backup(context: typer.Context, file: BackupFile, quiet: Quiet = False) -> None:
    """Write all that is stored into one new file, of one moment, while others go on writing.

    \b
    evolver store backup store-2031-04-01.evb

    Sign-ins, links and tokens are left out. Password hashes are in it: keep it as you keep those.
    """
    screen = screen_of(context, quiet)
    if not file.absolute().parent.is_dir():
        raise Misused(f"There is no folder {file.absolute().parent}; make it, or name another.")
    with open_store() as store:
        total = sum(store.row_counts().values())
        with screen.steps("reading", total) as bar:
            taken = store.back_up(file, lambda table, count: bar.step(table, count))
    rows, size = sum(taken.rows.values()), file.stat().st_size
    screen.text(f"{file}: {rows:,} rows, {size:,} bytes, sha256 {taken.sha256}")
    screen.next(f"evolver store restore {file}     where nothing is yet")


@store_app.command()
def restore(
    context: typer.Context,
    file: BackupFile,
    note: FreeNote = "",
    by: By = None,
    quiet: Quiet = False,
) -> None:
    """Fill an empty store with a backup, whole and verified or not at all.

    \b
    mv store.db store.db.old; evolver store restore store-2031-04-01.evb --note "disk was lost"
    EVOLVER_STORE=postgresql+psycopg://USER@HOST/NEW evolver store restore store.evb

    People sign in again, programs need new tokens; who was shut out since may be let in again.
    """
    from policy_store.store import PolicyStore

    screen = screen_of(context, quiet)
    published, _ = read_published()
    seen = {published.deployment: published.sequence} if published else {}
    with screen.steps("reading", None) as bar:
        done = PolicyStore.restore(
            store_place(), file, by=by or user_name(), note=note, seen=seen,
            progress=lambda table, count: bar.step(table, count),
        )  # fmt: skip
    screen.text(
        f"restored {sum(done.rows.values()):,} rows as of {done.taken_at:%Y-%m-%d %H:%M:%S} UTC"
    )
    screen.note("sign-ins, links and tokens are not in backups; look who may sign in")
    screen.next("evolver store verify", "evolver policy publish")


for command in (verify, prune):
    store_app.command()(command)


@contextmanager
def _database() -> Iterator[Database]:
    """The store's database as it is: not opened as a store, which would bring it up to date."""
    from policy_store.engine import Database, make_engine, store_url

    database = Database(make_engine(store_url(store_place())))
    try:
        yield database
    finally:
        database.close()
