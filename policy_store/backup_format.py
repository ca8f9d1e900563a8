"""The file of a backup: gzipped lines of JSON, the last of which has the digest of all others.

    {"format": "evolver store backup", "version": 1, "schema": REVISION, "taken_at": TIME}
    {"table": NAME, "columns": [NAME, ...]}      then its rows, each an array, in order of its key
    ...                                          tables in the order that foreign keys ask for
    {"rows": {NAME: COUNT, ...}, "sha256": hex}

A time is ISO 8601 in UTC; what a column keeps as JSON is that JSON. Sessions, links and tokens are
left out: restored, they would let in whoever had been locked out since. So are leases, whose
holders know nothing of a restored store.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Table

from policy_store.errors import BackupTooNew, BackupUnusable
from policy_store.files import open_file
from policy_store.tables import Base

FORMAT = "evolver store backup"
VERSION = 1
LEFT_OUT = frozenset({"sessions", "links", "tokens", "leases"})
MAX_LINE_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup says of itself.

    Attributes:
        schema: revision of the tables it was taken of.
        rows: how many of each table.
        sha256: of all its lines but the last, 64 hex digits.
    """

    path: Path
    schema: str
    taken_at: datetime
    rows: Mapping[str, int]
    sha256: str


def kept_tables() -> tuple[Table, ...]:
    """The tables that a backup holds, those that others lean on first."""
    return tuple(table for table in Base.metadata.sorted_tables if table.name not in LEFT_OUT)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    raise TypeError(f"{type(value)} is not kept in backups")


_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_plain)


def line_of(value: Mapping[str, object] | Sequence[object]) -> bytes:
    """One line, with its end."""
    return _ENCODER.encode(value).encode("ascii") + b"\n"


def header(schema: str, taken_at: datetime) -> dict[str, object]:
    """The first line."""
    return {"format": FORMAT, "version": VERSION, "schema": schema, "taken_at": taken_at}


def check_backup(path: Path) -> Backup:
    """Read a whole backup and check that it is one, all of it.

    Raises:
        BackupTooNew: a later version wrote it.
        BackupUnusable: it is no backup, is damaged, or ends too early.
    """
    first, last, digest = b"", b"", sha256()
    for line in _raw_lines(path):
        if not first:
            first = line
            _check_header(path, line)
        digest.update(last)
        last = line
    if not last.endswith(b"\n"):
        raise _cut_short(path)
    body, end = _parsed(path, first), _parsed(path, last)
    if not isinstance(end, dict) or "sha256" not in end:
        raise _cut_short(path)
    if end["sha256"] != digest.hexdigest():
        raise damaged(path, "its digest is another than it was written with")
    try:
        taken_at = datetime.fromisoformat(body["taken_at"])
        rows = {str(name): int(count) for name, count in end["rows"].items()}
        return Backup(path, str(body["schema"]), taken_at, rows, end["sha256"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"its first or last line lacks {error}") from error


def contents(backup: Backup) -> Iterator[tuple[str, list[str], list[Any]]]:
    """The rows of a checked backup: (table, its columns, values), in order.

    Raises:
        BackupUnusable: the file is no longer what was checked.
    """
    digest, table, columns = sha256(), "", list[str]()
    for place, line in enumerate(_raw_lines(backup.path)):
        value = _parsed(backup.path, line)
        if isinstance(value, dict) and "sha256" in value:
            break
        digest.update(line)
        if isinstance(value, list):
            yield table, columns, value
        elif place > 0:
            table, columns = str(value["table"]), list(value["columns"])
    if digest.hexdigest() != backup.sha256:
        raise damaged(backup.path, "it was changed while it was read")


def damaged(path: Path, why: str) -> BackupUnusable:
    """The error about a file that is not as it was written."""
    return BackupUnusable(f"{path} is damaged ({why}): restore another backup.")


def _raw_lines(path: Path) -> Iterator[bytes]:
    with open_file(path) as file:
        if file.read(2) != b"\x1f\x8b":
            raise _foreign(path)
        file.seek(0)
        try:
            with gzip.GzipFile(fileobj=file, mode="rb") as text:
                while line := text.readline(MAX_LINE_BYTES):
                    yield line
        except EOFError:
            raise _cut_short(path) from None
        except (zlib.error, gzip.BadGzipFile) as error:
            raise damaged(path, str(error)) from error


def _check_header(path: Path, line: bytes) -> None:
    try:
        found = json.loads(line)
        name, version = found["format"], int(found["version"])
    except (KeyError, RecursionError, TypeError, ValueError):
        raise _foreign(path) from None
    if name != FORMAT:
        raise _foreign(path)
    if version > VERSION:
        raise BackupTooNew(
            f"{path} is a backup in form {version}, and this version reads up to {VERSION}: type "
            "`pip install --upgrade evolver`, then restore it."
        )


def _parsed(path: Path, line: bytes) -> Any:  # noqa: ANN401 - whatever JSON there is
    try:
        return json.loads(line)
    except (RecursionError, ValueError) as error:
        raise damaged(path, "a line is no JSON") from error


def _foreign(path: Path) -> BackupUnusable:
    return BackupUnusable(
        f"{path} is no backup of a policy store: give a file that `evolver store backup` wrote."
    )


def _cut_short(path: Path) -> BackupUnusable:
    return BackupUnusable(f"{path} ends too early: copy it again, or restore another backup.")
