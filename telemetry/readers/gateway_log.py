"""The gateway's own request log: JSON lines of numbers, rotated files included."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from telemetry.errors import FormatError, ReadError, RowError
from telemetry.readers.rows import TraceFormat
from telemetry.readers.source import Source, open_source
from telemetry.request_rows import NEEDED, parse_lines
from telemetry.request_traces import BLOCK_TOKENS, CLOCK, trace_of
from telemetry.requests import Requests
from telemetry.trace import Trace

MOST_ROTATED = 100
TORN_SHARE = 1e-3  # of lines: a full disk or a killed process tears one now and then
_AT_ONCE = 8192


@dataclass(slots=True)
class Lines:
    """The requests of lines, and how many lines were torn."""

    parts: list[Requests] = field(default_factory=list)
    lines: int = 0
    torn: int = 0
    first_torn: int = 0

    @property
    def requests(self) -> Requests:
        """All of them, with a note on what was left out."""
        found = Requests.join(self.parts)
        if not self.torn:
            return found
        return found.noting(
            f"{self.torn} torn lines were left out, the first is line {self.first_torn}.")


def read(source: Source, *, rotated: bool = True, unanswered: str = "drop") -> Trace:
    """Read a log.

    Args:
        rotated: read ``NAME.1``, ``NAME.2.gz`` ... beside it, too, oldest first.
        unanswered: "drop" requests without an answer's length (refused, broken off, no engine),
            or "keep" them with the median answer, since they asked for the same machines.
    """
    if unanswered not in ("drop", "keep"):
        raise FormatError(f"unanswered is {unanswered!r}; give drop or keep.")
    older = rotated_parts(source) if rotated else []
    found = Lines()
    for part in (*older, source):
        take_lines(found, part.lines(), part.label)
    notes = [f"{len(older)} rotated files were read with it; rotated=False leaves them out."]
    requests = found.requests.noting(*(notes if older else []))
    return trace_of(requests, name=source.name, format=GATEWAY_LOG.name, keep=unanswered == "keep")


def rotated_parts(source: Source) -> list[Source]:
    """Older parts of a log, oldest first."""
    found = rotated_paths(source.path)
    if len(found) > MOST_ROTATED:
        raise ReadError(f"{source.label} has more than {MOST_ROTATED} rotated files; read some of "
                        "them with rotated=False.")
    return [open_source(path) for path in found]


def rotated_paths(path: Path) -> list[Path]:
    """What a log was rotated to, as far as the names say, oldest first."""
    name = re.compile(re.escape(path.name) + r"\.([1-9]\d{0,2})(\.gz)?")
    found = [(int(match[1]), one) for one in path.parent.iterdir()
             if (match := name.fullmatch(one.name)) and one.is_file()]
    return [one for _, one in sorted(found, reverse=True)]


def take_lines(found: Lines, numbered: Iterable[tuple[int, str]], where: str) -> None:
    """Add what lines say.

    Raises:
        RowError: a line is no record, unless it is one of few that were torn.
    """
    for batch in _batches(numbered):
        parsed = parse_lines([text for _, text in batch])
        found.lines += len(batch)
        found.parts.append(parsed.requests)
        for flaw in parsed.flaws:
            number = batch[flaw.index][0]
            found.torn += flaw.torn
            found.first_torn = found.first_torn or number
            if not flaw.torn or found.torn > 1 + found.lines * TORN_SHARE:
                raise RowError(where, number, flaw.problem, "drop or mend the line")


def _batches(numbered: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    lines = iter(numbered)
    while batch := list(islice(lines, _AT_ONCE)):
        yield batch


def _recognises(source: Source) -> bool:
    first = source.head[0] if source.head and not source.is_tar else ""
    return first.startswith("{") and all(f'"{name}"' in first for name in NEEDED)


GATEWAY_LOG = TraceFormat(
    name="gateway", title="request log of this project's gateway (JSON lines)",
    clock=CLOCK, block_tokens=BLOCK_TOKENS, scope="global", recognises=_recognises, read=read)
