"""Small fitted profiles, numbers only, from which traces of any length are generated.

Profiles ship as JSON beside this module. Each was made by ``evolver trace fit FILE -o OUT``,
which calls `telemetry.fit.fit_file`; each names the source and licence of what it was fitted to.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from telemetry.capacity import CapacityKind
from telemetry.errors import ProfileError
from telemetry.quantiles import Table, is_table

SCHEMA = 1
MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Mix:
    """What one tenant sends in one segment.

    Attributes:
        tenant: index into the profile's tenants; share: of the segment's open arrivals.
        prompt_tokens, output_tokens: quantiles at `LEVELS`.
        rank_correlation: Spearman's, between prompt and output.
    """

    tenant: int
    share: float
    prompt_tokens: Table
    output_tokens: Table
    rank_correlation: float


@dataclass(frozen=True, slots=True)
class Sessions:
    """Closed-loop sessions: an open arrival is a session's first call, the rest follow its chain.

    Attributes:
        turns: quantiles of calls a session, one table for each range of the first prompt: up to
            each of ``turn_edges`` and above the last. think_s: of the delay after a call's finish.
        growth_tokens: of the change of the prompt from call to call, one table for each range of
            the prompt before: up to each of ``growth_edges`` and above the last.
        output_tokens: of the calls after the first.
        shared: of the part of a call's blocks that its parent had at the same place.
    """

    turn_edges: tuple[float, ...]
    turns: tuple[Table, ...]
    think_s: Table
    growth_edges: tuple[float, ...]
    growth_tokens: tuple[Table, ...]
    output_tokens: Table
    shared: Table

    def fits(self) -> bool:
        """Whether there is one table for each range between the edges."""
        return len(self.turns) == len(self.turn_edges) + 1 and (
            len(self.growth_tokens) == len(self.growth_edges) + 1)

    def tables(self) -> tuple[Table, ...]:
        """Every quantile table of the law."""
        return (*self.turns, self.think_s, *self.growth_tokens, self.output_tokens, self.shared)


@dataclass(frozen=True, slots=True)
class Reuse:
    """Prefix reuse between open arrivals.

    Attributes:
        shared: quantiles of the part of an arrival's blocks that occurred before, in a row from
            the first. lag: how many open arrivals back the last holder of that prefix was.
    """

    shared: Table
    lag: Table


@dataclass(frozen=True, slots=True)
class TrafficProfile:
    """A request trace in a few kilobytes.

    Attributes:
        requests, span_s, cv_iat, rate_rps: of the trace that was fitted, all requests.
        rates_rps, cvs: open arrivals a second and their inter-arrival CV, in equal pieces of the
            span; a longer trace goes through the pieces again.
        tenants: how many; online_share: of requests.
        segments: the mix in equal parts of the span. sessions, reuse: None when there are none.
        block_tokens: size of a prefix block, 0 when reuse is unknown.
    """

    name: str
    source: str
    licence: str
    requests: int
    span_s: float
    rate_rps: float
    cv_iat: float
    rates_rps: tuple[float, ...]
    cvs: tuple[float, ...]
    tenants: int
    online_share: float
    segments: tuple[tuple[Mix, ...], ...]
    sessions: Sessions | None
    reuse: Reuse | None
    block_tokens: int
    notes: tuple[str, ...] = ()
    schema: int = SCHEMA
    type: Literal["traffic"] = "traffic"

    def __post_init__(self) -> None:
        pieces = len(self.rates_rps)
        tables = [table for segment in self.segments for mix in segment
                  for table in (mix.prompt_tokens, mix.output_tokens)]
        tables += self.sessions.tables() if self.sessions else ()
        tables += (self.reuse.shared, self.reuse.lag) if self.reuse else ()
        laws = (
            pieces > 0 and len(self.cvs) == pieces and self.span_s > 0,
            all(0 <= rate < 1e7 for rate in self.rates_rps) and sum(self.rates_rps) > 0,
            all(0 < cv < 1e3 for cv in self.cvs) and bool(self.segments),
            all(is_table(table) for table in tables),
            all(0 <= mix.tenant < self.tenants and mix.share >= 0 and abs(
                mix.rank_correlation) <= 1 for segment in self.segments for mix in segment),
            self.sessions is None or self.sessions.fits(),
            self.block_tokens >= 0 and 0 <= self.online_share <= 1,
        )
        if self.schema != SCHEMA or not all(laws):
            raise ProfileError(f"Profile {self.name!r} has numbers out of range or another schema; "
                               "fit it again.")


@dataclass(frozen=True, slots=True)
class Level:
    """A number of nodes up, how long it lasts, and what it turns into.

    Attributes:
        up: nodes up. share: of the time spent here. hold_s: quantiles of the stay.
        next: pairs of (nodes up afterwards, probability).
    """

    up: int
    share: float
    hold_s: Table
    next: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Pool:
    """Nodes of one zone and model that come and go together: a semi-Markov chain on their number.

    Attributes:
        nodes: how many there are; gpus: in each; zone: code; model: name.
        levels: every number of nodes that was seen, ascending.
    """

    nodes: int
    gpus: int
    zone: int
    model: str
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class CapacityProfile:
    """A capacity trace in a few kilobytes.

    Attributes:
        kind: what up means, see `CapacityTrace`. span_s, gap_s, mean_up, losses_per_day: of the
            trace that was fitted.
    """

    name: str
    source: str
    licence: str
    kind: CapacityKind
    span_s: float
    gap_s: float
    mean_up: float
    losses_per_day: float
    pools: tuple[Pool, ...]
    notes: tuple[str, ...] = ()
    schema: int = SCHEMA
    type: Literal["capacity"] = "capacity"

    def __post_init__(self) -> None:
        levels = [level for pool in self.pools for level in pool.levels]
        laws = (
            bool(self.pools) and all(pool.levels and pool.gpus > 0 for pool in self.pools),
            all(is_table(level.hold_s) and level.hold_s[-1] > 0 for level in levels),
            all(0 <= level.up <= pool.nodes for pool in self.pools for level in pool.levels),
            all(any(level.up == to for level in pool.levels) and chance >= 0
                for pool in self.pools for at in pool.levels for to, chance in at.next),
            self.span_s > 0,
        )
        if self.schema != SCHEMA or not all(laws):
            raise ProfileError(f"Profile {self.name!r} has numbers out of range or another schema; "
                               "fit it again.")


Profile = TrafficProfile | CapacityProfile


def profile_names(type: Literal["traffic", "capacity"] | None = None) -> tuple[str, ...]:
    """Names of the shipped profiles, sorted, of one type or all."""
    return tuple(name for name, kind in sorted(_shipped().items()) if type in (None, kind))


def load_profile(name: str | Path) -> Profile:
    """A shipped profile by name, or one in a JSON file by path."""
    path = Path(name)
    if str(name) in _shipped():
        text = (resources.files("telemetry") / "profiles" / f"{name}.json").read_text("utf-8")
    elif path.suffix == ".json" and path.is_file() and path.stat().st_size <= MAX_BYTES:
        text = path.read_text("utf-8", errors="replace")
    else:
        raise ProfileError(f"There is no profile {str(name)!r}; give a JSON file of at most 1 MiB "
                           f"or one of {', '.join(profile_names())}.")
    return parse_profile(text)


def parse_profile(text: str) -> Profile:
    """A profile out of its JSON text; anything else raises `ProfileError`."""
    from pydantic import TypeAdapter, ValidationError  # heavy, and only needed here

    adapter: TypeAdapter[Profile] = TypeAdapter(Profile)
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        places = {".".join(str(step) for step in item["loc"][:3]) for item in error.errors()}
        raise ProfileError(f"This is no profile ({', '.join(sorted(places)[:3])}); "
                           "make one with evolver trace fit.") from None


def dump_profile(profile: Profile) -> str:
    """The profile as JSON text, numbers to five significant digits, one line a table."""
    return _laid_out(_rounded(asdict(profile))) + "\n"


@cache
def _shipped() -> dict[str, str]:
    """Name to type of the profiles beside this module; the type is read off the first bytes."""
    folder = resources.files("telemetry") / "profiles"
    return {entry.name.removesuffix(".json"): str(json.loads(entry.read_text("utf-8"))["type"])
            for entry in folder.iterdir() if entry.name.endswith(".json")}


def _rounded(value: Any) -> Any:  # noqa: ANN401 - walks any JSON
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def _laid_out(value: Any, depth: int = 0) -> str:  # noqa: ANN401 - walks any JSON
    """JSON with dictionaries and lists of them broken into lines, tables kept on one."""
    pad = " " * (depth + 1)
    if isinstance(value, dict):
        items = [f"{pad}{json.dumps(key)}: {_laid_out(item, depth + 1)}"
                 for key, item in value.items()]
        return "{\n" + ",\n".join(items) + "\n" + " " * depth + "}"
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        items = [pad + _laid_out(item, depth + 1) for item in value]
        return "[\n" + ",\n".join(items) + "\n" + " " * depth + "]"
    return json.dumps(value)
