"""Recorded exchanges as they come back from files and stores, checked since anybody may edit them.

A recording is a JSON file of the exchanges of one run, without the prompts: those are made anew by
whoever replays it, and compared by their digests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evolver.errors import RecordStale
from evolver.exchanges import Exchange
from evolver.model_stream import MAX_REPLY_CHARACTERS
from evolver.moves import Move
from evolver.prompt import templates_digest
from sandbox.identity import text_digest

SCHEMA = 1
MAX_FILE_BYTES = 64 * 1024 * 1024

_Count = Annotated[int, Field(ge=0, le=10**9)]
_Amount = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
_Name = Annotated[str, Field(max_length=240)]


class _Row(BaseModel):
    """One exchange outside of this process."""

    model_config = ConfigDict(extra="ignore")

    ask: _Name = ""
    attempt: _Count = 1
    final: bool = True
    model: _Name
    move: Move = Move.REWRITE
    prompt_version: _Count
    prompt_digest: _Name
    messages: tuple[dict[str, str], ...] = ()
    reply: Annotated[str, Field(max_length=MAX_REPLY_CHARACTERS)]
    finish: _Name
    tokens_in: _Count
    tokens_out: _Count
    price_usd: _Amount
    price_known: bool
    seconds: _Amount
    error: _Name | None = None
    said: Annotated[str, Field(max_length=2000)] = ""
    date: _Name = ""

    def exchange(self) -> Exchange:
        return Exchange(**dict(self), reply_digest=text_digest(self.reply))


class _File(BaseModel):
    """A recording on disk."""

    model_config = ConfigDict(extra="forbid")

    schema_: Literal[1] = Field(alias="schema")
    title: Annotated[str, Field(max_length=2000)]
    prompts: _Name
    exchanges: tuple[_Row, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """The exchanges of one run with models, in the order they were made.

    `title` says of which run; `prompts` is the digest of the templates and the reference that the
    prompts were made of.
    """

    title: str
    prompts: str
    exchanges: tuple[Exchange, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """Who answered, in the order of their first answers."""
        return tuple(dict.fromkeys(exchange.model for exchange in self.exchanges))

    @property
    def stale(self) -> bool:
        """The answers are to other prompts than today's: they should be recorded anew."""
        return self.prompts != templates_digest()

    @property
    def date(self) -> str:
        """The day of the first answer, as YYYY-MM-DD; "" when it is not known."""
        return min((one.date for one in self.exchanges if one.date), default="")[:10]


def exchange_of(document: object) -> Exchange:
    """An exchange from what the store keeps of it.

    Raises:
        RecordStale: the document is no exchange.
    """
    try:
        return _Row.model_validate(document).exchange()
    except ValidationError as error:
        raise RecordStale(_wrong("The record of an exchange", error)) from None


def read_recording(path: Path) -> Recording:
    """The recording in a file.

    Raises:
        RecordStale: there is none, or it was made by a version that writes them differently.
    """
    try:
        with path.open("rb") as file:  # a device or a pipe tells no size
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise RecordStale(f"{path} is too large for a recording: name another file.")
        found = _File.model_validate_json(content)
    except OSError as error:
        raise RecordStale(
            f"The recording {path} cannot be read ({error.strerror}): check the path."
        ) from None
    except ValidationError as error:
        raise RecordStale(_wrong(str(path), error)) from None
    return Recording(found.title, found.prompts, tuple(row.exchange() for row in found.exchanges))


def write_recording(path: Path, title: str, exchanges: Sequence[Exchange]) -> None:
    """Keep a run's exchanges in a file; the prompts stay out of it."""
    rows = [asdict(exchange) for exchange in exchanges]
    for row in rows:
        del row["messages"], row["reply_digest"]
    document = {"schema": SCHEMA, "title": title, "prompts": templates_digest(), "exchanges": rows}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _wrong(what: str, error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    return f"{what} is not as this version writes it ({where}: {first['msg']}): record it anew."
