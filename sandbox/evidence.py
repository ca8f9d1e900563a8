"""What a replay proved about a candidate: one immutable record with a digest of its own.

The digest is SHA-256 over the canonical JSON (sorted keys, shortest floats), so two runs that
measured the same have the same evidence, and a changed digit is another record. A measurement
that does not exist is None (null), never NaN.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from sandbox.errors import SandboxError
from sandbox.identity import canonical_json, text_digest
from sandbox.profile_standing import ProfileStanding
from sandbox.signal_profiles import FULL
from sandbox.stats import Interval, relative_gain

if TYPE_CHECKING:
    from pydantic import TypeAdapter

EVIDENCE_SCHEMA, SIGNALS_SCHEMA, STANDING_SCHEMA = 2, 3, 4
Metrics = Mapping[str, float | None]


class EvidenceRefused(SandboxError):
    """A document that is no evidence of this schema, or says more than a record holds."""


class Outcome(StrEnum):
    """The verdict in one word."""

    IMPROVED = "improved"
    NO_CHANGE = "no_change"  # not better than the active policy or the best human
    INCONCLUSIVE = "inconclusive"  # the interval holds zero, or the effect is below the error
    NOT_ENOUGH = "not_enough_evidence"  # too few sealed windows
    REJECTED = "rejected"  # a gate failed


class GateStatus(StrEnum):
    """What became of one gate."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    NOT_RUN = "not_run"


class Role(StrEnum):
    """Why a policy is in the comparison."""

    CANDIDATE = "candidate"
    ACTIVE = "active"
    BEST_HUMAN = "best_human"  # best on the validation windows
    BEST_HUMAN_HINDSIGHT = "best_human_hindsight"  # best on the sealed windows themselves
    BEST_HUMAN_TUNED = "best_human_tuned"  # best there of those with constants tuned by the run
    BEST_HUMAN_UNTUNED = "best_human_untuned"  # best there of the others


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition of approval."""

    name: str
    status: GateStatus
    reason: str


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Where a run's time went, in seconds; the parts are exclusive."""

    scheduling_s: float
    reconfiguration_s: float
    serving_s: float

    @property
    def total_s(self) -> float:
        """Sum of the parts."""
        return math.fsum((self.scheduling_s, self.reconfiguration_s, self.serving_s))


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy in the comparison; it is listed once, under the first of its roles."""

    role: Role
    name: str
    digest: str
    time: TimeSplit
    fuel_per_decision: float
    also: tuple[Role, ...] = ()  # its other roles


@dataclass(frozen=True, slots=True)
class WindowEvidence:
    """One window and what every contender measured on it.

    Attributes:
        name: of the window.
        unit: windows with the same unit are seeds or augmentations of one stretch of time.
        sealed: the search did not see it.
        start_s: first second of the trace it covers, warm-up excluded.
        stop_s: end of it.
        load: share of the static plan's capacity that arrives.
        seed: of the run.
        objective: by role; a training window's variants were run by those it was worth for.
        metrics: by role, then by name.
        variant: another condition of its unit, made from it.
    """

    name: str
    unit: str
    sealed: bool
    start_s: float
    stop_s: float
    load: float
    seed: int
    objective: Mapping[Role, float]
    metrics: Mapping[Role, Metrics] = field(default_factory=dict)
    variant: bool = False

    def __post_init__(self) -> None:
        metrics = {
            role: MappingProxyType({name: _measured(v) for name, v in values.items()})
            for role, values in self.metrics.items()
        }
        object.__setattr__(self, "metrics", MappingProxyType(metrics))
        object.__setattr__(self, "objective", MappingProxyType(dict(self.objective)))

    def __hash__(self) -> int:
        return hash(canonical_json(_plain(self)))


@dataclass(frozen=True, slots=True)
class Effect:
    """The candidate against one other policy over windows of one kind.

    `interval` is in log-ratio, positive when the candidate is better; `p_value` is of the one-sided
    sign-flip test; `comparisons` is how many candidates the interval is corrected for.
    """

    against: Role
    metric: str
    sealed: bool
    interval: Interval
    p_value: float
    comparisons: int = 1

    def sentence(self) -> str:
        """The effect in words and numbers."""
        low, mean, high = (
            100.0 * relative_gain(x)
            for x in (self.interval.low, self.interval.mean, self.interval.high)
        )
        kind = "sealed" if self.sealed else "training"
        return (
            f"{self.metric} {mean:+.1f} % better than {self.against.value} "
            f"({100 * self.interval.confidence:g} % interval {low:+.1f} .. {high:+.1f} %, "
            f"{self.interval.windows} {kind} windows, p = {self.p_value:.2g})"
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that a verdict rests on.

    Attributes:
        outcome: verdict in one word.
        verdict: verdict in one sentence.
        source_digest: of the candidate's canonical source.
        contenders: candidate first.
        gates: in the order they were tried.
        windows: every window that was scored, sealed ones marked.
        effects: the intervals.
        profile: step-time profile and its provenance.
        cluster: name of the cluster that was simulated.
        simulator_version: of the simulator.
        contract_version: of the policy contract.
        fuel_price_ns: what one unit of fuel costs, per engine and host class.
        seed: of the run.
        loads: the loads that were tried.
        candidates_tried: legal candidates that the run tried; this one is the best of them.
        finalists: those that were compared on the validation windows.
        signals: the signal profile that every contender ran under. A record under another than
            the simulator's own knowledge is of schema 3; all others are of 2 and do not name it.
        standing: how far the profile could be believed on this cluster when it was made; None
            where nobody had measured that. A record that has one is of schema 4.
    """

    outcome: Outcome
    verdict: str
    source_digest: str
    contenders: tuple[Contender, ...]
    gates: tuple[Gate, ...]
    windows: tuple[WindowEvidence, ...]
    effects: tuple[Effect, ...]
    profile: str
    cluster: str
    simulator_version: str
    contract_version: int
    fuel_price_ns: float
    seed: int
    loads: tuple[float, ...]
    candidates_tried: int
    finalists: int
    schema: int = EVIDENCE_SCHEMA
    signals: str = FULL.name
    standing: ProfileStanding | None = None

    def __post_init__(self) -> None:
        schema = EVIDENCE_SCHEMA if self.signals == FULL.name else SIGNALS_SCHEMA
        schema = schema if self.standing is None else STANDING_SCHEMA
        object.__setattr__(self, "schema", schema)

    @property
    def digest(self) -> str:
        """Address of this record: 64 hex digits."""
        return text_digest(self.to_json())

    @property
    def sealed_units(self) -> int:
        """Independent stretches of time that the search did not see."""
        return len({window.unit for window in self.windows if window.sealed})

    def document(self) -> dict[str, object]:
        """The record as plain JSON values."""
        left_out = {"signals"} if self.schema == EVIDENCE_SCHEMA else set()
        left_out |= {"standing"} if self.standing is None else set()
        names = [name for name in self.__dataclass_fields__ if name not in left_out]
        return {name: _plain(getattr(self, name)) for name in names}

    def to_json(self) -> str:
        """Canonical JSON: equal records give equal texts.

        Raises:
            ValueError: a number that must exist is NaN or infinite.
        """
        return canonical_json(self.document())

    @classmethod
    def from_json(cls, text: str | bytes) -> Evidence:
        """The record that `to_json` wrote.

        Raises:
            EvidenceRefused: not JSON, another schema, a field missing, unknown or of a wrong type.
        """
        return _read(text)

    def lines(self) -> list[str]:
        """The record for people: verdict, effects, gates, time, then one line per window."""
        lines = [f"{self.outcome.value}: {self.verdict}"]
        lines.append(
            f"  best of {self.candidates_tried} candidates tried and {self.finalists} finalists; "
            f"{self.sealed_units} sealed units were opened for it alone"
        )
        lines += [f"  {effect.sentence()}" for effect in self.effects]
        lines += [f"  gate {g.name}: {g.status.value} ({g.reason})" for g in self.gates]
        lines += [f"  {self.standing.sentence()}"] if self.standing is not None else []
        lines += [_contender_line(contender) for contender in self.contenders]
        lines += [_window_line(window) for window in self.windows]
        lines.append(
            f"  {self.cluster}, profile {self.profile}, signals {self.signals}, simulator "
            f"{self.simulator_version}, seed {self.seed}, evidence {self.digest[:12]}"
        )
        return lines


def _contender_line(contender: Contender) -> str:
    time = contender.time
    roles = ", ".join(role.value for role in (contender.role, *contender.also))
    return (
        f"  {roles} {contender.name} ({contender.digest[:12]}): "
        f"{time.scheduling_s:.1f} s scheduling + {time.reconfiguration_s:.1f} s reconfiguring + "
        f"{time.serving_s:.1f} s serving, fuel {contender.fuel_per_decision:.0f} a decision"
    )


def _window_line(window: WindowEvidence) -> str:
    scores = ", ".join(f"{role.value} {value:.3f} s" for role, value in window.objective.items())
    mark = "sealed " if window.sealed else ""
    kind = f"variant {window.name} of {window.unit}" if window.variant else f"window {window.name}"
    return f"  {mark}{kind} at load {window.load:g}, seed {window.seed}: {scores}"


def _measured(value: float | None) -> float | None:
    """Plain float, or None for what was not measured."""
    return float(value) if value is not None and math.isfinite(value) else None


def _plain(value: object) -> object:
    """Dataclasses, tuples and mappings as what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, StrEnum) else value


@functools.cache
def _adapter() -> TypeAdapter[Evidence]:
    from pydantic import TypeAdapter

    return TypeAdapter(Evidence)


def _read(text: str | bytes) -> Evidence:
    from pydantic import ValidationError

    try:
        document = json.loads(text)
        evidence = _adapter().validate_python(document)
        same = canonical_json(document) == evidence.to_json()
    except (ValidationError, ValueError, RecursionError) as error:
        raise EvidenceRefused(
            "The document is no evidence record of this version; evaluate the policy again."
        ) from error
    if not same:
        raise EvidenceRefused(
            "The document says something that an evidence record of this version does not hold; "
            "evaluate the policy again."
        )
    return evidence
