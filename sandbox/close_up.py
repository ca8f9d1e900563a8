"""How two policies fared on the same windows, request by request: what a mean does not show.

A record for people: it proves nothing and decides nothing. It holds numbers only, no name,
identifier or text of a trace; tenants, classes and instances go by number. `close_up_window` makes
it from two outcomes, `close_up_reading` reads it back from a document that may be hostile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import cast

from sandbox.errors import SandboxError

CLOSE_UP_SCHEMA = 1
MOST_BYTES = 256 << 10  # of the canonical JSON
MOST_WINDOWS = 3
QUANTILES = 33  # the minimum, 31 in between at equal distance, the maximum
BINS = 60
MOST_LOSSES, MOST_GAINS = 10, 3
MOST_INSTANCES = 64
MOST_TENANTS = 16  # with the most requests; the others are told together
OTHER_TENANTS = -1
NO_INSTANCE = -1


class CloseUpRefused(SandboxError):
    """A document that is no close-up of this schema, or says more than one holds."""


class Why(StrEnum):
    """Why a window was looked at closely."""

    WORST = "worst"  # of the windows the one where the candidate does worst against the active one
    TYPICAL = "typical"  # the one in the middle
    BEST = "best"
    LAST_HOUR = "last_hour"  # what a gateway recorded last


class End(StrEnum):
    """How a request ended."""

    FINISHED = "finished"
    REJECTED = "rejected"
    UNFINISHED = "unfinished"  # when the run ended
    NEVER_CAME = "never_came"  # what it waits for did not end


@dataclass(frozen=True, slots=True)
class Series:
    """A window under one policy over time, one value a bin, all bins equally long.

    Attributes:
        e2e_s: mean end-to-end time of the finished requests that arrived in the bin; None without
            one.
        running, waiting: requests that have their first token and not their last; that are in the
            house without a first token. Means over the bin.
        busiest_share: share of the tokens of the bin's arrivals that the busiest instance served;
            None without any.
        reconfigurations: in the bin.
        kv_use: share of the KV cache of all instances in use at the bin's end, 0 .. 1; None
            while there is no instance.
        instances: that serve at the bin's end.
    """

    e2e_s: tuple[float | None, ...]
    running: tuple[float, ...]
    waiting: tuple[float, ...]
    busiest_share: tuple[float | None, ...]
    reconfigurations: tuple[int, ...]
    kv_use: tuple[float | None, ...]
    instances: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Conduct:
    """What one policy did in a window.

    Attributes:
        objective_s: mean end-to-end time as evidence charges it; None when nothing can be measured.
        e2e_s, ttft_s, tpot_s: quantiles of finished requests, `QUANTILES` of them from minimum to
            maximum; none when nothing finished.
        finished, rejected, unfinished: requests; held, preempted, moved: how often.
        reconfigurations, reconfigurations_per_hour: of the whole run, its warm-up included.
        fuel_per_decision: units, a mean.
        faults: decisions that failed and were taken by the default.
        instance_share: share of the served tokens by instance number, 0 first.
        series: over time.
    """

    objective_s: float | None
    e2e_s: tuple[float, ...]
    ttft_s: tuple[float, ...]
    tpot_s: tuple[float, ...]
    finished: int
    rejected: int
    unfinished: int
    held: int
    preempted: int
    moved: int
    reconfigurations: int
    reconfigurations_per_hour: float
    fuel_per_decision: float
    faults: int
    instance_share: tuple[float, ...]
    series: Series


@dataclass(frozen=True, slots=True)
class Tenant:
    """What one tenant got under each policy.

    Attributes:
        number: in the trace, or `OTHER_TENANTS`.
        share_of_requests: of those that arrived.
        candidate_share, active_share: of the tokens served before the window's end.
        candidate_e2e_s, active_e2e_s: mean of finished requests; None without one.
    """

    number: int
    share_of_requests: float
    candidate_share: float
    active_share: float
    candidate_e2e_s: float | None
    active_e2e_s: float | None


@dataclass(frozen=True, slots=True)
class Fate:
    """What one policy decided about a request, and what it met.

    Attributes:
        entered_s: second of the window at which it came; calls of workflows come when others end.
            None when it never came.
        e2e_s, ttft_s: None without an end or a first token.
        instance: that served it last, or `NO_INSTANCE`.
        held, preempted, moved: how often.
        running, waiting: requests by instance number at the moment that it came, without itself.
    """

    end: End
    entered_s: float | None
    e2e_s: float | None
    ttft_s: float | None
    instance: int
    held: int
    preempted: int
    moved: int
    running: tuple[int, ...]
    waiting: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One request under both policies.

    Attributes:
        row: of the window's trace, its warm-up included.
        arrival_s: second of the window at which it was recorded to arrive.
        class_number: as in the cluster file, 1 first.
        lost_s: seconds longer under the candidate, as the objective charges them; below 0 for
            gains.
    """

    row: int
    arrival_s: float
    class_number: int
    prompt_tokens: int
    output_tokens: int
    lost_s: float
    candidate: Fate
    active: Fate


@dataclass(frozen=True, slots=True)
class Window:
    """One window under both policies.

    Attributes:
        name: of the scenario, as in evidence.
        sealed: the search did not see it.
        start_s, stop_s: where in the whole trace its measured part lies.
        bin_s: length of a bin of the series, which cover the measured part.
        requests: that count.
        losses, gains: by how much, largest first; rows appear once.
        tenants: where there are several, by number.
    """

    name: str
    why: Why
    sealed: bool
    start_s: float
    stop_s: float
    bin_s: float
    requests: int
    candidate: Conduct
    active: Conduct
    losses: tuple[Request, ...]
    gains: tuple[Request, ...]
    tenants: tuple[Tenant, ...] = ()


@dataclass(frozen=True, slots=True)
class CloseUp:
    """Up to three windows under a candidate and the policy that was active then.

    Attributes:
        candidate, active: digests of the policies that were simulated.
    """

    candidate: str
    active: str
    windows: tuple[Window, ...]
    schema: int = CLOSE_UP_SCHEMA

    def document(self) -> dict[str, object]:
        """The record as plain JSON values, to attach to a policy."""
        return cast("dict[str, object]", _plain(asdict(self)))

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> CloseUp:
        """The record that `document` gave.

        Raises:
            CloseUpRefused: another schema, too large, or something that no close-up says.
        """
        from sandbox.close_up_reading import read_close_up

        return read_close_up(document)


def json_schema() -> dict[str, object]:
    """What a document looks like, as JSON Schema."""
    from pydantic import TypeAdapter

    return TypeAdapter(CloseUp).json_schema()


def _plain(value: object) -> object:
    """Tuples as lists and words as plain text, as JSON gives them back."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, StrEnum) else value
