"""Events and results as they come back from a store, checked since anybody may edit them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evolver.errors import RecordStale
from evolver.journal import Event, EventKind
from evolver.task import WindowResult

RESULT, EXCHANGE = "result", "model_exchange"  # kinds of rows beside the events
_KINDS = frozenset(kind.value for kind in EventKind)
_Count = Annotated[int, Field(ge=0, le=10**9)]
_Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
_T = TypeVar("_T", bound=BaseModel)
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class Row(Protocol):
    """One stored row of a run."""

    @property
    def kind(self) -> str:
        """What it is about."""

    @property
    def payload(self) -> Any:  # noqa: ANN401 - whatever JSON there is
        """Its data."""


class _Event(BaseModel):
    """The part of an event that all kinds share; the rest is compared with what is made anew."""

    model_config = ConfigDict(strict=True, extra="allow")

    sequence: _Count
    generation: _Count
    candidate: str | None
    seconds: _Seconds


class _Result(BaseModel):
    """What one candidate did on one window."""

    model_config = ConfigDict(strict=True, extra="forbid")

    digest: str
    window: str
    objective: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    metrics: dict[str, _Finite]
    fault: str | None
    fingerprint: str
    remarks: list[str]

    def result(self) -> WindowResult:
        return WindowResult(
            self.window, self.objective, self.metrics, self.fault, self.fingerprint,
            tuple(self.remarks),
        )  # fmt: skip


def recorded_events(rows: Iterable[Row]) -> Iterator[Event]:
    """The events among the rows of a run, in order.

    Raises:
        RecordStale: a row is no event, or its time is before that of the row before.
    """
    until_s = 0.0
    for row in rows:
        if row.kind in _KINDS:
            found = _checked(_Event, row)
            if found.seconds < until_s:
                raise RecordStale(f"{_about(row)} (time goes back): begin a new run.")
            until_s = found.seconds
            yield Event(
                found.sequence, EventKind(row.kind), found.generation, found.candidate,
                found.model_extra or {}, found.seconds,
            )  # fmt: skip


def recorded_results(rows: Iterable[Row]) -> Iterator[tuple[tuple[str, str], WindowResult]]:
    """The results among the rows of a run, by the candidate's digest and the window.

    Raises:
        RecordStale: a row is no result.
    """
    for row in rows:
        if row.kind == RESULT:
            found = _checked(_Result, row)
            yield (found.digest, found.window), found.result()


def _checked(kind: type[_T], row: Row) -> _T:
    try:
        return kind.model_validate(row.payload)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise RecordStale(f"{_about(row)} ({where}: {first['msg']}): begin a new run.") from None


def _about(row: Row) -> str:
    return f"The record of the run is damaged in a row of kind {row.kind}"
