"""Takes a backup: one compressed file of one moment, while others go on writing.

Everything is read in one transaction, table by table and page by page, and written beside its
place, which it takes whole, with mode 0600, when it is on disk. `backup_format` says what is in it,
`restore` reads it back, on SQLite and PostgreSQL alike.
"""

import gzip
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from policy_store.backup_format import Backup, header, kept_tables, line_of
from policy_store.engine import Database
from policy_store.errors import InvalidInput
from policy_store.files import new_file
from policy_store.schema import HEAD

MODE = 0o600
LEVEL = 3  # of compression: the higher ones take twice the time for a twentieth of the size
CHUNK_BYTES = 1 << 18
ROWS_AT_ONCE = 1000
LARGE_ROWS = {"evidence": 8, "sources": 50, "run_events": 50, "runs": 50}
"""Tables whose rows are large: fewer of them are held at once."""


def take_backup(
    database: Database, target: Path, progress: Callable[[str, int], object] = lambda *_: None
) -> Backup:
    """Write all that is in a store into a new file.

    Args:
        target: where nothing is yet.
        progress: told a table and how many more of its rows were written.

    Raises:
        InvalidInput: something is there already.
    """
    if target.exists():
        raise _taken(target)
    taken_at = database.clock()
    try:
        with new_file(target, MODE) as file:
            lines = _Lines(file)
            lines.add(line_of(header(HEAD, taken_at)))
            with database.reading() as session:
                rows = {
                    table.name: _write_table(session, table, lines, progress)
                    for table in kept_tables()
                }
            digest = lines.close(rows)
    except FileExistsError:
        raise _taken(target) from None
    return Backup(target, HEAD, taken_at, rows, digest)


def _write_table(
    session: Session, table: Table, lines: "_Lines", progress: Callable[[str, int], object]
) -> int:
    lines.add(line_of({"table": table.name, "columns": [column.name for column in table.columns]}))
    query = select(table).order_by(*table.primary_key.columns)
    at_once, count = LARGE_ROWS.get(table.name, ROWS_AT_ONCE), 0
    for page in session.execute(query.execution_options(yield_per=at_once)).partitions():
        for row in page:
            lines.add(line_of(tuple(row)))
        count += len(page)
        progress(table.name, len(page))
    return count


class _Lines:
    """The lines of a backup on their way into its file."""

    def __init__(self, file: BinaryIO) -> None:
        self._zipped = gzip.GzipFile("", "wb", LEVEL, file)
        self._digest = sha256()
        self._waiting: list[bytes] = []
        self._size = 0

    def add(self, line: bytes) -> None:
        self._waiting.append(line)
        self._size += len(line)
        if self._size >= CHUNK_BYTES:
            self._flush()

    def close(self, rows: dict[str, int]) -> str:
        """Write the last line; returns the digest of the others."""
        self._flush()
        digest = self._digest.hexdigest()
        self._zipped.write(line_of({"rows": rows, "sha256": digest}))
        self._zipped.close()
        return digest

    def _flush(self) -> None:
        chunk = b"".join(self._waiting)
        self._digest.update(chunk)
        self._zipped.write(chunk)
        self._waiting, self._size = [], 0


def _taken(target: Path) -> InvalidInput:
    return InvalidInput(f"There is something at {target} already: name a new file.")
