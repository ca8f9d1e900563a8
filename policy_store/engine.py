"""The database connection: how SQLite and PostgreSQL are set up, and the two transactions on them.

Reading never blocks a decision (WAL). A decision takes the write lock before it reads anything,
so that what it checks is still true when it commits: `BEGIN IMMEDIATE` on SQLite, a lock on the
one row of `audit_head` on PostgreSQL.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
)
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from policy_store.errors import InvalidInput, StoreUnavailable
from policy_store.tables import AuditHeadRow
from sandbox.identity import canonical_json

BUSY_TIMEOUT_MS = 5000
MIGRATION_LOCK = 0x65766F6C  # any constant; PostgreSQL's advisory locks are plain numbers
PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
)


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def store_url(url_or_path: str | os.PathLike[str]) -> URL:
    """A database URL as given, or the SQLite URL of a file path.

    Raises:
        InvalidInput: not a URL, or a SQLite URL without a file.
    """
    text = os.fspath(url_or_path)
    if "://" not in text:
        return URL.create("sqlite", database=str(Path(text).absolute()))
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise InvalidInput(
            f"{text!r} is not a database URL: give a file path, sqlite:///FILE or "
            "postgresql+psycopg://USER@HOST/DATABASE."
        ) from error
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise InvalidInput("The policy store outlives its process: name a SQLite file.")
    return url


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver's own BEGIN comes too late for BEGIN IMMEDIATE, so it is switched off.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    deciding = connection.get_execution_options().get("deciding", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if deciding else "BEGIN")


def make_engine(url: URL) -> Engine:
    """An engine with the store's settings; creates the folder of a SQLite file."""
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    try:
        engine = create_engine(url, json_serializer=canonical_json)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise InvalidInput(
            f"There is no driver here for {url.drivername} databases ({error}): install it, for "
            "PostgreSQL with `pip install psycopg[binary]`, or give a file path."
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn a driver's complaint into one sentence; constraint errors are ours and pass through."""
    try:
        yield
    except IntegrityError:
        raise
    except (DatabaseError, InterfaceError) as error:
        if "locked" in str(error.orig):
            raise StoreUnavailable(
                f"The policy store {where} stayed locked for {BUSY_TIMEOUT_MS / 1000:g} s: "
                "another process holds a transaction open; try again."
            ) from error
        raise StoreUnavailable(
            f"The policy store {where} cannot be used ({error.orig}): check the path, its "
            "permissions and free space."
        ) from error


class Database:
    """One store's database: read with `reading()`, change with `deciding()`."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime] = utc_now) -> None:
        self.engine = engine
        self.clock = clock
        self.where = engine.url.render_as_string(hide_password=True)
        self._writer = engine.execution_options(deciding=True)
        self._reader = engine
        if engine.dialect.name == "postgresql":
            self._reader = engine.execution_options(isolation_level="REPEATABLE READ")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view; nothing is written."""
        with explained(self.where), Session(self._reader) as session:
            yield session

    @contextmanager
    def deciding(self) -> Iterator[Session]:
        """One decision with its audit entry, alone; committed whole on exit or not at all."""
        with explained(self.where), Session(self._writer) as session, session.begin():
            session.scalars(select(AuditHeadRow).with_for_update()).one()
            yield session

    @contextmanager
    def appending(self) -> Iterator[Connection]:
        """A bare connection for rows that no audit entry goes with; committed whole or not at all.

        A search writes its results one by one: what a session costs is most of what it costs.
        """
        with explained(self.where), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A bare connection that holds the write lock, for changes to the schema."""
        with explained(self.where), self._writer.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            yield connection

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()
