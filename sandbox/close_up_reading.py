"""Reads a close-up back from a document that anybody may have written: strictly, or not at all."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from sandbox.close_up import (
    BINS,
    CLOSE_UP_SCHEMA,
    MOST_BYTES,
    MOST_GAINS,
    MOST_INSTANCES,
    MOST_LOSSES,
    MOST_TENANTS,
    MOST_WINDOWS,
    NO_INSTANCE,
    OTHER_TENANTS,
    QUANTILES,
    CloseUp,
    CloseUpRefused,
    Conduct,
    Request,
    Window,
)
from sandbox.identity import canonical_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

LARGEST = 2.0**53  # every number of a close-up is below
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_.+:-]{1,60}")


def read_close_up(document: Mapping[str, object]) -> CloseUp:
    """The record of a document, each of its parts within its bounds.

    Raises:
        CloseUpRefused: it is no close-up of this version.
    """
    from pydantic import ValidationError

    try:
        text = canonical_json(dict(document))
        if len(text) > MOST_BYTES:
            raise CloseUpRefused(_refusal("it is larger than one can be"))
        record = _adapter().validate_json(text, strict=True)
        same = canonical_json(record.document()) == text
    except (ValidationError, ValueError, TypeError, RecursionError) as error:
        raise CloseUpRefused(_refusal("its parts are others")) from error
    if not same or record.schema != CLOSE_UP_SCHEMA:
        raise CloseUpRefused(_refusal("it says something that none holds"))
    _check(record)
    return record


@functools.cache
def _adapter() -> TypeAdapter[CloseUp]:
    from pydantic import TypeAdapter

    return TypeAdapter(CloseUp)


def _refusal(why: str) -> str:
    return f"The document is no close-up of this version, {why}: look closely again."


def _require(holds: bool, else_: str) -> None:
    if not holds:
        raise CloseUpRefused(_refusal(else_))


def _check(record: CloseUp) -> None:
    digests = all(_DIGEST.fullmatch(one) for one in (record.candidate, record.active))
    _require(digests, "a digest is none")
    _require(0 < len(record.windows) <= MOST_WINDOWS, "its windows are too many or none")
    _require(all(abs(x) < LARGEST for x in _numbers(record.document())), "a number is too large")
    for window in record.windows:
        _check_window(window)


def _numbers(value: object) -> Iterable[float]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield value


def _check_window(window: Window) -> None:
    _require(bool(_NAME.fullmatch(window.name)), "a window's name is none")
    _require(0.0 <= window.start_s < window.stop_s, "a window ends before it begins")
    _require(window.bin_s > 0.0 and window.requests >= 0, "a window has no length")
    sides = (window.candidate, window.active)
    for side in sides:
        _check_conduct(side)
    _require(len({len(side.series.e2e_s) for side in sides}) == 1, "series of two lengths")
    _require(len({len(side.instance_share) for side in sides}) == 1, "two counts of instances")
    _require(len(window.losses) <= MOST_LOSSES, "too many losses")
    _require(len(window.gains) <= MOST_GAINS, "too many gains")
    for one in (*window.losses, *window.gains):
        _check_request(one)
    _check_tenants(window)


def _check_conduct(side: Conduct) -> None:
    for values in (side.e2e_s, side.ttft_s, side.tpot_s):
        _require(len(values) in (0, QUANTILES), "quantiles of another number")
        _require(list(values) == sorted(values), "quantiles out of order")
        _require(not values or values[0] >= 0.0, "a time below zero")
    counts = (
        side.finished, side.rejected, side.unfinished, side.held, side.preempted, side.moved,
        side.reconfigurations, side.faults,
    )  # fmt: skip
    _require(min(counts) >= 0, "a count below zero")
    _require(min(side.reconfigurations_per_hour, side.fuel_per_decision) >= 0, "a rate below zero")
    _require((side.objective_s or 0.0) >= 0.0, "a time below zero")
    _require(len(side.instance_share) <= MOST_INSTANCES, "too many instances")
    _shares(side.instance_share)
    series = side.series
    columns = (
        series.e2e_s, series.running, series.waiting, series.busiest_share, series.kv_use,
        series.reconfigurations, series.instances,
    )  # fmt: skip
    bins = {len(column) for column in columns}
    _require(len(bins) == 1 and 0 < min(bins) <= BINS, "series of another length")
    _require(all((x or 0) >= 0 for column in columns for x in column), "a value below zero")
    _shares(series.busiest_share)
    _shares(series.kv_use)


def _check_request(one: Request) -> None:
    _require(min(one.row, one.prompt_tokens, one.output_tokens) >= 0, "a count below zero")
    _require(one.class_number >= 0, "a class below zero")
    for fate in (one.candidate, one.active):
        lengths = (len(fate.running), len(fate.waiting))
        _require(lengths[0] == lengths[1] <= MOST_INSTANCES, "two counts of instances")
        _require(all(n >= 0 for n in (*fate.running, *fate.waiting)), "a count below zero")
        _require(min(fate.held, fate.preempted, fate.moved) >= 0, "a count below zero")
        _require(fate.instance >= NO_INSTANCE, "an instance that there is not")
        _require(all((x or 0.0) >= 0.0 for x in (fate.e2e_s, fate.ttft_s)), "a time below zero")


def _check_tenants(window: Window) -> None:
    numbers = [tenant.number for tenant in window.tenants]
    _require(len(numbers) <= MOST_TENANTS + 1, "too many tenants")
    _require(len(set(numbers)) == len(numbers), "a tenant twice")
    _require(all(number >= OTHER_TENANTS for number in numbers), "a tenant that there is not")
    for one in window.tenants:
        _shares((one.share_of_requests, one.candidate_share, one.active_share))
        times = (one.candidate_e2e_s, one.active_e2e_s)
        _require(all((x or 0.0) >= 0.0 for x in times), "a time below zero")


def _shares(values: Iterable[float | None]) -> None:
    _require(all(0.0 <= (x or 0.0) <= 1.0 for x in values), "a share out of range")
