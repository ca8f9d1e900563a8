"""The database connection: how SQLite and PostgreSQL are set up, and the two transactions on them.

Reading never blocks a decision (WAL). A decision takes the write lock before it reads anything,
so that what it checks is still true when it commits: `BEGIN IMMEDIATE` on SQLite, a lock on the
one row of `audit_head` on PostgreSQL. Nothing waits for ever: not for a lock, not for a server that
has gone, and not for a process that was stopped while it held the lock.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
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
STATEMENT_TIMEOUT_MS = 60_000
# The server ends a transaction whose process went silent, so that its lock is free again.
SESSION = {
    "lock_timeout": BUSY_TIMEOUT_MS,
    "statement_timeout": STATEMENT_TIMEOUT_MS,
    "idle_in_transaction_session_timeout": STATEMENT_TIMEOUT_MS,
}
CONNECTING = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 30}
# PostgreSQL's codes: a lock timeout, a deadlock, a statement timeout.
LOCKED, CANCELLED = ("55P03", "40P01"), "57014"


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
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    return url


class _File:
    """The file of a SQLite store: made once, for its owner alone, and never behind our back.

    A connection to a file that was moved away writes where nobody reads, and one that finds no
    file would make an empty one in its place.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._made = False

    def make(self, *_: object) -> None:
        """Before each connection: the first one may make the file, which holds password hashes;
        what is there stays as it is."""
        if self._made and self._identity() is None:
            raise sqlite3.OperationalError("its file is gone")
        self._made = True
        with suppress(OSError):  # the driver says it better
            os.close(
                os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            )

    def prepare(self, connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        """Set a new connection up, and note which file it is to."""
        # The driver's own BEGIN comes too late for BEGIN IMMEDIATE, so it is switched off.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in PRAGMAS:
            cursor.execute(pragma)
        cursor.close()
        entry.info["file"] = self._identity()

    def check(self, _: DBAPIConnection, entry: ConnectionPoolEntry, __: object) -> None:
        """Pass a connection to the file that is there now; the pool makes another instead."""
        if entry.info.get("file") != self._identity():
            raise DisconnectionError("the file of the store is another one now")

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _begin_sqlite(connection: Connection) -> None:
    deciding = connection.get_execution_options().get("deciding", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if deciding else "BEGIN")


def make_engine(url: URL) -> Engine:
    """An engine with the store's settings; creates the folder of a SQLite file."""
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    options = _postgresql_options(url) if url.get_backend_name() == "postgresql" else {}
    try:
        # What a statement carried, such as a password's hash, is in no message and no log.
        engine = create_engine(url, json_serializer=canonical_json, hide_parameters=True, **options)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise InvalidInput(
            f"There is no driver here for {url.drivername} databases ({error}): install it, for "
            "PostgreSQL with `pip install 'evolver[postgres]'`, or give a file path."
        ) from error
    if engine.dialect.name == "sqlite":
        file = _File(str(url.database))
        event.listen(engine, "do_connect", file.make)
        event.listen(engine, "connect", file.prepare)
        event.listen(engine, "checkout", file.check)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql_options(url: URL) -> dict[str, Any]:
    """What the URL says goes before what is usual here."""
    arguments: dict[str, object] = {
        name: value for name, value in CONNECTING.items() if name not in url.query
    }
    usual = [f"-c {name}={value}" for name, value in SESSION.items()]
    arguments["options"] = " ".join([*usual, str(url.query.get("options", ""))])
    return {"connect_args": arguments, "pool_pre_ping": True}


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn a driver's complaint into one sentence; constraint errors are ours and pass through.

    Raises:
        InvalidInput: a value that the database cannot hold, such as a NUL or a huge number.
        StoreUnavailable: anything else that the driver complains of.
    """
    try:
        yield
    except IntegrityError:
        raise
    except (DataError, UnicodeEncodeError, OverflowError) as error:
        raise InvalidInput(f"The store cannot hold that ({_first_line(error)}).") from error
    except (DatabaseError, InterfaceError) as error:
        raise StoreUnavailable(f"The policy store {where} {_complaint(error)}") from error
    except PoolTimeout as error:
        raise StoreUnavailable(
            f"The policy store {where} has no connection free: try again when it is less busy."
        ) from error


def _complaint(error: DBAPIError) -> str:
    """What is wrong, and what to do."""
    code, said = getattr(error.orig, "sqlstate", None), _first_line(error)
    if code in LOCKED or "locked" in said:
        return (
            f"stayed locked for {BUSY_TIMEOUT_MS / 1000:g} s: another process holds a transaction "
            "open; try again."
        )
    if code == CANCELLED:
        return f"gave up on a question ({said}): try again when it is less busy."
    if "sqlite" in type(error.orig).__module__:
        return f"cannot be used ({said}): check the path, its permissions and free space."
    return (
        f"cannot be used ({said}): check that its server runs, and the user, password and database "
        "in its URL."
    )


def _first_line(error: Exception) -> str:
    said = str(error.orig if isinstance(error, DBAPIError) else error)
    return said.partition("\n")[0]


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
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            yield connection

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()
