"""Opens a trace file, plain, gzip or tar, without unpacking to disk and within size limits."""

from __future__ import annotations

import gzip
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from telemetry.errors import FormatError, ReadError, RowError

LINE_LIMIT_BYTES = 64 << 20
MEMBER_LIMIT_BYTES = 256 << 20
TOTAL_LIMIT_BYTES = 8 << 30
MEMBER_LIMIT = 100_000
Json: TypeAlias = Any  # a parsed value: its shape is the reader's to check
GZIP_MAGIC = b"\x1f\x8b"
_TAR_MAGIC_AT = 257
_SUFFIXES = (".tar.gz", ".tgz", ".csv.gz", ".jsonl.gz", ".json.gz", ".out.gz", ".tar", ".gz",
             ".csv", ".jsonl", ".json", ".txt", ".out", ".npz")


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file of an archive, held in memory.

    Attributes:
        name: its path inside the archive, for recognising parts; never opened or printed.
        label: its path made safe for a message.
    """

    name: str
    data: bytes

    @property
    def label(self) -> str:
        """The name with everything but plain characters replaced, at most 80 long."""
        return printable(self.name)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Its text, line by line, numbered from 1."""
        yield from enumerate(text_of(self.data, self.label).splitlines(), start=1)

    def json(self) -> Json:
        """Its content as one JSON value."""
        return parse_json(text_of(self.data, self.label), self.label)


@dataclass(frozen=True, slots=True)
class Source:
    """A file that may hold a trace.

    Attributes:
        path: where it lies; is_tar: whether it is an archive of several files.
        head: the first lines (of the first file in an archive), for recognising the format.
        first_member: name of the first file in an archive, else "".
    """

    path: Path
    is_tar: bool
    head: tuple[str, ...] = field(repr=False)
    first_member: str = ""

    @property
    def name(self) -> str:
        """The file's name without its suffixes."""
        name = self.path.name
        for suffix in _SUFFIXES:
            if name.endswith(suffix) and len(name) > len(suffix):
                return name[: -len(suffix)]
        return name

    @property
    def label(self) -> str:
        """The file's name, made safe for a message."""
        return printable(self.path.name)

    def begins_with(self, header: Sequence[str]) -> bool:
        """Whether this is a single file whose first line is exactly that CSV header."""
        return not self.is_tar and self.head[:1] == (",".join(header),)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Every line without its end, numbered from 1; refuses archives and endless lines."""
        if self.is_tar:
            raise FormatError(f"{self.label} is an archive, but this format is a single file; "
                              "check --format.")
        rest, number, total = b"", 0, 0
        with _readable(self.label), open_bytes(self.path) as raw:
            while chunk := raw.read(1 << 20):
                total += len(chunk)
                if total > TOTAL_LIMIT_BYTES:
                    raise ReadError(f"{self.label} unpacks to more than 8 GiB; split it first.")
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    number += 1
                    yield number, _text_line(line, number)
                if len(rest) > LINE_LIMIT_BYTES:
                    raise RowError(self.label, number + 1, "the line is longer than 64 MiB",
                                   "check that this is the right file")
            if rest:
                yield number + 1, _text_line(rest, number + 1)

    def text(self) -> str:
        """The whole file as one string, at most `MEMBER_LIMIT_BYTES` long."""
        with _readable(self.label), open_bytes(self.path) as raw:
            data = raw.read(MEMBER_LIMIT_BYTES + 1)
        if len(data) > MEMBER_LIMIT_BYTES:
            raise ReadError(f"{self.label} is larger than {MEMBER_LIMIT_BYTES >> 20} MiB; "
                            "split it first.")
        return text_of(data, self.label)

    def members(self, wanted: Callable[[str], bool] = lambda _name: True) -> Iterator[Member]:
        """The regular files of an archive whose name is ``wanted``, in archive order."""
        if not self.is_tar:
            raise FormatError(f"{self.label} is a single file, but this format is an archive; "
                              "check --format.")
        total = 0
        with _readable(self.label), tarfile.open(self.path, "r:*") as archive:
            for count, entry in enumerate(archive):
                total += entry.size
                if entry.size > MEMBER_LIMIT_BYTES or total > TOTAL_LIMIT_BYTES or (
                        count >= MEMBER_LIMIT):
                    raise ReadError(f"{self.label} holds more than this reader takes from an "
                                    "archive; split it first.")
                if not entry.isreg() or not wanted(entry.name):
                    continue
                opened = archive.extractfile(entry)
                if opened is not None:
                    yield Member(entry.name, opened.read())


def open_source(path: str | Path) -> Source:
    """Look at a file once: is it an archive, and how does its text begin?"""
    location = Path(path)
    if not location.is_file():
        raise ReadError(f"There is no file {printable(str(path), 200)}; check the path.")
    label = printable(location.name)
    with _readable(label), open_bytes(location) as raw:
        start = raw.read(1 << 16)
    if start[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] != b"ustar":
        return Source(location, False, _first_lines(start))
    with _readable(label), tarfile.open(location, "r:*") as archive:
        for entry in archive:
            opened = archive.extractfile(entry) if entry.isreg() else None
            if opened is not None:
                return Source(location, True, _first_lines(opened.read(1 << 16)), entry.name)
    raise ReadError(f"{label} is an empty archive; check the download.")


def open_bytes(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked when it is gzip."""
    with path.open("rb") as probe:
        packed = probe.read(2) == GZIP_MAGIC
    return cast("IO[bytes]", gzip.open(path, "rb") if packed else path.open("rb"))


def parse_json(text: str, label: str, line: int = 0) -> Json:
    """One JSON value, or `RowError`; nesting bombs are refused like any other bad value."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass  # raised below: the parser's own error would carry the text along
    raise RowError(label, line, "this is not valid JSON", "drop the line or download it again")


def text_of(data: bytes, label: str) -> str:
    """UTF-8 text, or `ReadError`."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass  # raised below: the decoder's own error would carry the text along
    raise ReadError(f"{label} is not UTF-8 text; download it again.")


def printable(name: str, limit: int = 80) -> str:
    """A foreign name made safe for a terminal and a log: plain characters, bounded length."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-/ ") else "?" for c in name)
    return safe if len(safe) <= limit else "..." + safe[3 - limit :]


def _text_line(line: bytes, number: int) -> str:
    return line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r")


def _first_lines(start: bytes, count: int = 5) -> tuple[str, ...]:
    return tuple(start.decode("utf-8-sig", errors="replace").splitlines()[:count])


@contextmanager
def _readable(label: str) -> Iterator[None]:
    kind = ""
    try:
        yield
    except (OSError, EOFError, zlib.error, tarfile.TarError, UnicodeDecodeError) as error:
        kind = type(error).__name__  # raised below: a decoder's error would carry the text along
    if kind:
        raise ReadError(f"{label} is damaged or unreadable ({kind}); download it again.")
