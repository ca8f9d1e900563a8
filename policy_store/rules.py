"""Approval rules: what a person wrote, and how one rule judges one policy (pure).

A rule never approves what a person has to look at: a policy whose verdict is not `improved`, that
failed a gate, that was decided against or taken back before, or that has no measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from policy_store.gates import objection
from policy_store.lifecycle import State
from policy_store.people import likeness
from policy_store.records import Origin
from sandbox.changes import Change, ChangeKind
from sandbox.evidence import Evidence, GateStatus, Role
from sandbox.stats import relative_gain

CONSTANTS, ANYTHING = "constants", "anything"
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HUMANS = frozenset(role for role in Role if role.value.startswith("best_human"))


class Action(StrEnum):
    """What a rule does with a policy that meets it."""

    APPROVE = "approve"
    SHADOW = "shadow"
    CANARY = "canary"


@dataclass(frozen=True, slots=True)
class Terms:
    """What may become of a canary that a rule started, without a person.

    Attributes:
        promote_after_requests: compared ones; proven better after so many, it becomes the active
            policy. None: a person promotes.
        end_after_hours: neither better nor worse for so long, its trial ends, and it stays approved
            for a person to look at. None: it goes on.
    """

    promote_after_requests: int | None = None
    end_after_hours: float | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """What a rule asks for.

    Attributes:
        weight: share of traffic of a canary.
        gain_active, gain_human: least lower end of the interval, in % of the other's time, against
            the active policy, and against every policy that people wrote.
        touches: `constants`, `anything`, or names of hooks.
        most_a_day: approvals in any 24 hours, over all runs.
        may_be_missing: gates that need not have run.
        hours: first and last (excluded) hour of the day in UTC; None is all day.
        replace: a trial of another policy may be ended for this one.
        trial: what may become of its canary.
    """

    name: str
    action: Action
    touches: str | tuple[str, ...]
    gain_active: float
    most_a_day: int
    weight: float | None = None
    gain_human: float = 0.0
    sealed_units: int = 1
    evidence_hours: float = 168.0
    may_be_missing: tuple[str, ...] = ()
    origins: tuple[Origin, ...] = (Origin.MUTATOR, Origin.LLM)
    hours: tuple[int, int] | None = None
    weekdays: tuple[str, ...] = WEEKDAYS
    replace: bool = False
    trial: Terms = Terms()

    @property
    def actor(self) -> str:
        """Who decides, as the audit log names it."""
        return f"rule:{self.name}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule looks at.

    Attributes:
        policy: its full digest.
        evidence: latest measurements; None when this version cannot read any.
        doubts: what earlier measurements say against it, which later ones do not take back.
        measured_at: when they came in.
        measured_from: when measuring began.
        active_since: since when the active policy has been active; None for ever.
        elsewhere: searches compare with the active policy of the usual deployment, and another one
            is active here.
        change: from the active policy; None when one of the texts cannot be read.
        against: what was decided against it or took it back, in the audit's words.
        installed_by, installed_at: of the rule.
        approved_today: by the rule, in the last 24 hours.
        holder: name of another policy in the trial place that the rule needs.
    """

    policy: str
    state: State
    origin: Origin
    author: str
    evidence: Evidence | None
    doubts: tuple[str, ...]
    measured_at: datetime | None
    measured_from: datetime | None
    active_since: datetime | None
    elsewhere: bool
    change: Change | None
    against: tuple[str, ...]
    installed_by: str
    installed_at: datetime
    approved_today: int
    holder: str | None
    now: datetime


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that has to hold, whether it does, and why in one sentence."""

    name: str
    holds: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a rule says about a policy, condition by condition."""

    rule: str
    conditions: tuple[Condition, ...]

    @property
    def fires(self) -> bool:
        """Whether every condition holds."""
        return all(one.holds for one in self.conditions)

    @property
    def failed(self) -> tuple[Condition, ...]:
        """The conditions that do not hold."""
        return tuple(one for one in self.conditions if not one.holds)

    def sentence(self) -> str:
        """The outcome in words."""
        if self.fires:
            return (
                f"Rule {self.rule} applies: every one of {len(self.conditions)} conditions holds."
            )
        more = len(self.failed) - 1
        also = f" {more} more condition{'s do' if more > 1 else ' does'} not hold." if more else ""
        return f"Rule {self.rule} does not apply. {self.failed[0].reason}{also}"


def judge(rule: Rule, facts: Facts, *, asked: bool = False) -> Judgement:
    """Hold one policy against one rule.

    Args:
        asked: a person asks for it now, so that older measurements count as well.
    """
    judged = []
    for name, ask in _CONDITIONS:
        if name == "after" and asked:
            continue
        holds, reason = ask(rule, facts)
        judged.append(Condition(name, holds, reason))
    return Judgement(rule.name, tuple(judged))


def _waiting(_: Rule, facts: Facts) -> tuple[bool, str]:
    return facts.state is State.EVALUATED, f"The policy is {facts.state.value.replace('_', ' ')}."


def _clean(_: Rule, facts: Facts) -> tuple[bool, str]:
    if not facts.against:
        return True, "Nobody has decided against it or taken it back."
    words = " and ".join(word.replace("_", " ") for word in facts.against)
    return False, f"It was {words} before, so a person has to look at it."


def _verdict(_: Rule, facts: Facts) -> tuple[bool, str]:
    against = objection(facts.evidence, facts.policy)
    if facts.doubts and not against:
        return False, f"Earlier measurements said otherwise. {facts.doubts[-1]}"
    return not against, against or "Its verdict is improved, and no gate failed."


def _gates(rule: Rule, facts: Facts) -> tuple[bool, str]:
    gates = facts.evidence.gates if facts.evidence else ()
    if not gates:
        return False, "No gate was tried."
    missing = [
        gate.name for gate in gates
        if gate.status is GateStatus.NOT_RUN and gate.name not in rule.may_be_missing
    ]  # fmt: skip
    if missing:
        return False, f"Not run, and the rule asks for it: {', '.join(missing)}."
    passed = sum(gate.status is GateStatus.PASS for gate in gates)
    return passed > 0, f"{passed} of {len(gates)} gates passed, the rest may be missing."


def _gain_active(rule: Rule, facts: Facts) -> tuple[bool, str]:
    return _gain(facts.evidence, frozenset({Role.ACTIVE}), rule.gain_active, "the active policy")


def _gain_human(rule: Rule, facts: Facts) -> tuple[bool, str]:
    return _gain(facts.evidence, HUMANS, rule.gain_human, "the best that people wrote")


def _gain(
    evidence: Evidence | None, roles: frozenset[Role], least: float, whom: str
) -> tuple[bool, str]:
    """The lowest end over everybody in these roles, each listed under the first of theirs."""
    contenders = evidence.contenders if evidence else ()
    firsts = {one.role for one in contenders if roles & {one.role, *one.also}}
    effects = evidence.effects if evidence else ()
    lows = [one.interval.low for one in effects if one.sealed and one.against in firsts]
    if not lows:
        return False, f"It was not compared with {whom} on sealed windows."
    low = 100.0 * relative_gain(min(lows))
    words = f"Against {whom} the interval begins at {low:+.2f} %, and {least:g} % are asked for."
    return low >= least, words


def _active(_: Rule, facts: Facts) -> tuple[bool, str]:
    """A comparison with what was active then says nothing about what is active now."""
    if facts.measured_from is None:
        return False, "It was not measured."
    if facts.elsewhere:
        return False, "It was compared with what is active in the usual deployment, not here."
    same = facts.active_since is None or facts.active_since <= facts.measured_from
    return same, (
        "The active policy is the one it was compared with."
        if same
        else "Another policy became active after its measuring began: evolve again."
    )


def _touches(rule: Rule, facts: Facts) -> tuple[bool, str]:
    change = facts.change
    if change is None:
        return False, "What it changes cannot be told from its text."
    said = change.sentence()
    if rule.touches == ANYTHING:
        return True, f"Anything may change. {said}"
    if rule.touches == CONSTANTS:
        return change.kind is not ChangeKind.STRUCTURE, f"Only constants may change. {said}"
    hooks = {one.hook for one in change.hooks} | {name for m in change.moved for name in m.hooks}
    beyond = sorted(hooks - set(rule.touches))
    if beyond:
        return False, f"Only {', '.join(rule.touches)} may change, and {', '.join(beyond)} did."
    return True, f"Only {', '.join(rule.touches)} may change. {said}"


def _origin(rule: Rule, facts: Facts) -> tuple[bool, str]:
    allowed = ", ".join(origin.value for origin in rule.origins)
    return facts.origin in rule.origins, f"It is by {facts.origin.value}; allowed: {allowed}."


def _own_work(_: Rule, facts: Facts) -> tuple[bool, str]:
    own = facts.origin is Origin.PERSON and likeness(facts.author) == likeness(facts.installed_by)
    return not own, (
        "Who wrote it by hand installed the rule, too: somebody else has to approve it."
        if own
        else "Its author did not install the rule."
    )


def _sealed(rule: Rule, facts: Facts) -> tuple[bool, str]:
    units = facts.evidence.sealed_units if facts.evidence else 0
    asked = f"at least {rule.sealed_units} asked for"
    return units >= rule.sealed_units, f"It was proved on {units} sealed units, {asked}."


def _age(rule: Rule, facts: Facts) -> tuple[bool, str]:
    if facts.measured_at is None:
        return False, "It was not measured."
    hours = (facts.now - facts.measured_at) / timedelta(hours=1)
    return 0.0 <= hours <= rule.evidence_hours, (
        f"Its measurements are {hours:.1f} h old, at most {rule.evidence_hours:g} h allowed."
    )


def _after(_: Rule, facts: Facts) -> tuple[bool, str]:
    late = facts.measured_at is not None and facts.measured_at >= facts.installed_at
    return late, (
        "It was measured after the rule was installed."
        if late
        else "It was measured before the rule was installed, so only a command applies it."
    )


def _moment(rule: Rule, facts: Facts) -> tuple[bool, str]:
    now = facts.now
    day = WEEKDAYS[now.weekday()]
    first, last = rule.hours or (0, 24)
    inside = first <= now.hour < last if first < last else now.hour >= first or now.hour < last
    return day in rule.weekdays and inside, (
        f"It is {day} {now:%H:%M} UTC; allowed: {', '.join(rule.weekdays)} from {first}:00 until "
        f"{last}:00."
    )


def _daily(rule: Rule, facts: Facts) -> tuple[bool, str]:
    done = facts.approved_today
    return done < rule.most_a_day, (
        f"The rule approved {done} in the last 24 hours, at most {rule.most_a_day} allowed."
    )


def _place(rule: Rule, facts: Facts) -> tuple[bool, str]:
    if rule.action is Action.APPROVE:
        return True, "It needs no place: nothing starts."
    if facts.holder is None:
        return True, f"The {rule.action.value} place is free."
    return rule.replace, f"{facts.holder} is the {rule.action.value} now."


_CONDITIONS: tuple[tuple[str, Callable[[Rule, Facts], tuple[bool, str]]], ...] = (
    ("waits", _waiting), ("clean", _clean), ("verdict", _verdict), ("gates", _gates),
    ("gain over active", _gain_active), ("gain over people", _gain_human),
    ("compared with active", _active), ("touches", _touches), ("origin", _origin),
    ("own work", _own_work), ("sealed units", _sealed), ("age", _age), ("after", _after),
    ("hours", _moment), ("a day", _daily), ("place", _place),
)  # fmt: skip
