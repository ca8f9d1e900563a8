"""Which tables a database has, and how it gets ours: created when fresh, refused when unknown."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.orm import Session

from policy_store import audit
from policy_store.engine import Database, explained
from policy_store.errors import InvalidInput, UnknownSchema
from policy_store.intake import required_note

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0003"
"""The newest revision in `migrations/versions`; opening a store at it needs no Alembic."""


def ensure_schema(database: Database) -> None:
    """Bring a fresh or older database to `HEAD`, in one transaction under the write lock.

    Raises:
        UnknownSchema: the tables are newer than this version, or not a policy store's.
    """
    with explained(database.where), database.engine.connect() as connection:
        if revision_of(connection, database.where) == HEAD:
            return
    with database.migrating() as connection:
        # Looked at again: another process may have migrated while this one waited.
        revision = revision_of(connection, database.where)
        if revision != HEAD:
            _refuse_unknown(revision, database.where)
            upgrade(connection)


def revision_of(connection: Connection, where: str) -> str | None:
    """The revision that the database says it is at; None for an empty one.

    Raises:
        UnknownSchema: it has tables, but not a policy store's.
    """
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" in tables:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if found is None else str(found)
    if tables:
        raise UnknownSchema(
            f"{where} holds the tables of something else: give the policy store a database of its "
            "own."
        )
    return None


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the migrations up to `revision` inside the caller's transaction."""
    from alembic import command

    command.upgrade(_config(connection), revision)


def downgrade(connection: Connection, revision: str = "base") -> None:
    """Undo the migrations down to `revision` inside the caller's transaction; data goes too."""
    from alembic import command

    command.downgrade(_config(connection), revision)


def present_revision(database: Database) -> str | None:
    """The revision of a database that is looked at, not opened; None for an empty one."""
    with explained(database.where), database.engine.connect() as connection:
        return revision_of(connection, database.where)


def set_back(database: Database, revision: str, *, by: str, note: str) -> None:
    """Take a store back to an older revision, audited; what came after it goes with its data.

    Raises:
        InvalidInput: it is no older revision than the present one, or there is no note.
        UnknownSchema: the present one is not known here.
    """
    note = required_note(note)
    with database.migrating() as connection:
        present = revision_of(connection, database.where)
        _refuse_unknown(present, database.where)
        if present is None or revision not in known_revisions() or revision >= present:
            known = ", ".join(sorted(known_revisions()))
            raise InvalidInput(f"The store is at schema {present}; give an older one of {known}.")
        with Session(connection) as session:
            audit.append(
                session, at=database.clock(), actor=by, action="downgraded", note=note,
                details={"from": present, "to": revision},
            )  # fmt: skip
            session.flush()
        downgrade(connection, revision)


def known_revisions() -> frozenset[str]:
    """All schemas that this version can bring a store from or to."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_config()).walk_revisions()
    return frozenset(script.revision for script in scripts)


def _refuse_unknown(revision: str | None, where: str) -> None:
    if revision is not None and revision not in known_revisions():
        raise UnknownSchema(
            f"{where} is at schema {revision}, which this version (schema {HEAD}) does not know: "
            "type `pip install --upgrade evolver`, or give the store another place."
        )


def _config(connection: Connection | None = None) -> "Config":
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    return config
