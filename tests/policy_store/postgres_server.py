"""A PostgreSQL server of the tests' own, from the system's packages, and the databases in it.

EVOLVER_TEST_POSTGRES=URL names a server to use instead; its user must be allowed to make databases.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from sqlalchemy.engine import URL, make_url

from policy_store.tables import Base

GIVEN = "EVOLVER_TEST_POSTGRES"
START_WITHIN_S = 60.0
# Nothing has to outlive this server; another time zone than UTC shows what forgets its own.
SETTINGS = {
    "listen_addresses": "", "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off",
    "wal_level": "minimal", "max_wal_senders": "0", "autovacuum": "off", "jit": "off",
    "shared_buffers": "32MB", "timezone": "Asia/Kolkata",
}  # fmt: skip

CLEAR = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    SET LOCAL lock_timeout = '10s';
    DROP SCHEMA public CASCADE;
    CREATE SCHEMA public;
"""


class NoServer(Exception):
    """PostgreSQL is not installed here."""


@dataclass
class PostgresServer:
    """A running server.

    Attributes:
        url: of the database that is there from the start.
        process: the server, when it is ours.
    """

    url: URL
    process: subprocess.Popen[bytes] | None = None
    _made: list[str] = field(default_factory=list)
    _free: list[str] = field(default_factory=list)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database; given back, it is emptied: making one takes longer."""
        name = self._free.pop() if self._free else self._make()
        url = self.url.set(database=name).render_as_string(hide_password=False)
        try:
            yield url
        finally:
            with raw_connection(url) as connection:
                connection.execute(CLEAR)
            self._free.append(name)

    def _make(self) -> str:
        name = f"evolver_test_{os.getpid()}_{len(self._made)}"
        self.run(f"CREATE DATABASE {name}")
        self._made.append(name)
        return name

    def drop_all(self) -> None:
        """All that was made here."""
        for name in self._made:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def run(self, statement: str) -> None:
        """One statement, outside any transaction, in the database that is there from the start."""
        with raw_connection(self.url, autocommit=True) as connection:
            connection.execute(statement)


def raw_connection(url: URL | str, *, autocommit: bool = False) -> psycopg.Connection:
    """A connection of the driver, as somebody else than the store would have it."""
    plain = make_url(url).set(drivername="postgresql")
    return psycopg.connect(plain.render_as_string(hide_password=False), autocommit=autocommit)


class Reused:
    """One migrated store that is emptied for each test: in a tenth of the time of a new one."""

    def __init__(self, url: str) -> None:
        self.url = url
        with raw_connection(url) as connection:
            found = connection.execute(
                "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"
            )
            guarded = [name for (name,) in found]
            (head,) = connection.execute("SELECT id, sequence, hash FROM audit_head").fetchall()
        tables = [table.name for table in reversed(Base.metadata.sorted_tables)]
        self._statements = "; ".join([
            "SET LOCAL lock_timeout = '5s'",
            *(f"ALTER TABLE {name} DISABLE TRIGGER USER" for name in guarded),
            *(f"DELETE FROM {name}" for name in tables),
            *(f"ALTER TABLE {name} ENABLE TRIGGER USER" for name in guarded),
            f"INSERT INTO audit_head (id, sequence, hash) VALUES {head}",
        ])  # fmt: skip

    def empty(self) -> None:
        """As it was made."""
        with raw_connection(self.url) as connection:
            connection.execute(self._statements)


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """The server that is named, or one of our own on a socket in a temporary folder.

    Raises:
        NoServer: neither is there.
    """
    if GIVEN in os.environ:
        server = PostgresServer(make_url(os.environ[GIVEN]).set(drivername="postgresql+psycopg"))
        try:
            yield server
        finally:
            server.drop_all()
        return
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="evolver-pg-"))
    try:
        with _own_server(programs, folder) as server:
            yield server
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    """The folder of the newest server's programs; Debian keeps them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        raise NoServer(f"PostgreSQL is not installed here, and {GIVEN} names no server.")
    return (found[-1] if found else Path(str(on_path))).parent


@contextmanager
def _own_server(programs: Path, folder: Path) -> Iterator[PostgresServer]:
    as_user = _unprivileged(folder)
    data = str(folder / "data")
    subprocess.run(  # our own words
        [*as_user, str(programs / "initdb"), "-D", data, "-U", "evolver", "-A", "trust",
         "-E", "UTF8", "--no-locale", "--no-sync"],
        check=True, capture_output=True, cwd=folder,
    )  # fmt: skip
    options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [*as_user, str(programs / "postgres"), "-D", data, "-k", str(folder), *options],
            stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
    url = URL.create("postgresql+psycopg", "evolver", database="postgres",
                     query={"host": str(folder)})  # fmt: skip
    server = PostgresServer(url, process)
    try:
        _wait_for(server, folder / "log")
        yield server
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait()


def _unprivileged(folder: Path) -> list[str]:
    """What to put before a command so that it dies with us, and is not run by root."""
    words = ["setpriv", "--pdeathsig", "QUIT"]
    if os.geteuid() == 0:
        known = {user.pw_name: user for user in pwd.getpwall()}
        user = known.get("postgres") or known["nobody"]
        os.chown(folder, user.pw_uid, user.pw_gid)
        words += ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    return [*words, "--"]


def _wait_for(server: PostgresServer, log: Path) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while True:
        try:
            server.run("SELECT 1")
            return
        except psycopg.OperationalError:
            ended = server.process is not None and server.process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start: {log.read_text()}") from None
            time.sleep(0.02)
