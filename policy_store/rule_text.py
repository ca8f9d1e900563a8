"""From the text of an approval rule to the rule, and from the rule to a plain sentence.

The text is TOML. What is unknown, of a wrong type or out of range is refused with its line and
how to mend it: a rule that says less than its author thinks approves more.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence

from policy_store.errors import RuleRefused
from policy_store.records import Origin
from policy_store.rules import ANYTHING, CONSTANTS, WEEKDAYS, Action, Rule, Terms
from sandbox.language.kinds import hooks

MAX_CHARS = 4096
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_GATE = re.compile(r"[a-z][a-z0-9_]{0,39}")
KEYS = (
    "name", "action", "weight", "touches", "most_a_day", "sealed_units", "evidence_hours",
    "may_be_missing", "origins", "hours_utc", "weekdays", "replace", "gain_percent",
    "trial",
)  # fmt: skip
GAIN_KEYS = ("active", "human")
TRIAL_KEYS = ("promote_after_requests", "end_after_hours")
EXAMPLE = """name = "constants-to-canary"
action = "canary"          # approve, shadow or canary
weight = 0.05              # of traffic, for a canary
touches = "constants"      # constants, anything, or hooks: ["route", "priority"]
most_a_day = 4             # approvals in any 24 hours, over all runs
sealed_units = 8           # stretches of time that the search did not see
evidence_hours = 24        # measured at most so long ago
origins = ["mutator", "llm"]
hours_utc = [8, 17]        # from 8:00 until 17:00
weekdays = ["mon", "tue", "wed", "thu", "fri"]

[gain_percent]             # where the 95 % interval has to begin
active = 3.0               # against the active policy
human = 0.5                # against the best that people wrote

[trial]                    # of a canary; left out, a person promotes and ends it
promote_after_requests = 500  # compared ones: proven better then, it becomes the active policy
end_after_hours = 24       # neither better nor worse until then: its trial ends
"""


def read_rule(text: str) -> Rule:
    """The rule that a text says.

    Raises:
        RuleRefused: with the line and how to mend it.
    """
    return _Reader(text).rule()


class _Reader:
    """One text, its values taken out by name; what is asked for and not there is refused."""

    def __init__(self, text: str) -> None:
        self.text = text
        _check_characters(text)
        self.values = _parsed(text)
        self.gain = self._table("gain_percent", "active")
        self.trial = self._table("trial", "promote_after_requests")
        self._only(self.values, KEYS)
        self._only(self.gain, GAIN_KEYS)
        self._only(self.trial, TRIAL_KEYS)

    def rule(self) -> Rule:
        """Every value, checked."""
        action = Action(self.word("action", tuple(Action)))
        return Rule(
            name=self.name(),
            action=action,
            touches=self.touches(),
            gain_active=self.number("active", 0.0, 90.0, self.gain),
            most_a_day=self.whole("most_a_day", 1, 100),
            weight=self.weight(action),
            gain_human=self.number("human", 0.0, 90.0, self.gain, 0.0),
            sealed_units=self.whole("sealed_units", 1, 10_000, 1),
            evidence_hours=self.number("evidence_hours", 0.1, 8760.0, self.values, 168.0),
            may_be_missing=self.gates(),
            origins=self.origins(),
            hours=self.hours(),
            weekdays=self.words("weekdays", WEEKDAYS, WEEKDAYS),
            replace=self.replace(),
            trial=self.terms(action),
        )

    def refused(self, key: str, what: str, mend: str) -> RuleRefused:
        """A refusal at the line of a key; at the end of the text when it is not there."""
        found = re.search(rf"(?m)^[ \t]*\[*[ \t]*[\"']?{re.escape(key)}\b", self.text)
        line = self.text.count("\n", 0, found.start() if found else len(self.text.rstrip())) + 1
        return RuleRefused(line, f"{key} {what}: {mend}.")

    def name(self) -> str:
        """The rule's name, which the audit log carries."""
        value = self.asked("name", self.values)
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            mend = 'write up to 40 small letters, digits and dashes, as in "constants-to-canary"'
            raise self.refused("name", "is no name", mend)
        return value

    def asked(self, key: str, values: Mapping[str, object]) -> object:
        """A value that has to be there."""
        if key not in values:
            raise self.refused(key, "is missing", "see the example in docs/rules.md")
        return values[key]

    def word(self, key: str, allowed: Sequence[str]) -> str:
        """One of some words."""
        value = self.asked(key, self.values)
        if not isinstance(value, str) or value not in allowed:
            raise self.refused(key, f"is {_shown(value)}", f"write one of {', '.join(allowed)}")
        return value

    def words(self, key: str, allowed: Sequence[str], otherwise: Sequence[str]) -> tuple[str, ...]:
        """Some of some words, each once, in the order of those allowed."""
        value = self.values.get(key, list(otherwise))
        listed = value if isinstance(value, list) else []
        known = [one for one in listed if isinstance(one, str) and one in allowed]
        if not listed or len(known) != len(listed) or len(set(known)) != len(known):
            mend = f"write a list of some of {', '.join(allowed)}"
            raise self.refused(key, f"is {_shown(value)}", mend)
        return tuple(one for one in allowed if one in known)

    def number(
        self,
        key: str,
        least: float,
        most: float,
        values: Mapping[str, object],
        otherwise: float | None = None,
    ) -> float:
        """A finite number in a range."""
        value = self.asked(key, values) if otherwise is None else values.get(key, otherwise)
        fine = type(value) in (int, float) and least <= value <= most  # type: ignore[operator]  # a number
        if not fine or not math.isfinite(float(value)):  # type: ignore[arg-type]  # a number
            mend = f"write a number from {least:g} to {most:g}"
            raise self.refused(key, f"is {_shown(value)}", mend)
        return float(value)  # type: ignore[arg-type]  # a number

    def whole(self, key: str, least: int, most: int, otherwise: int | None = None) -> int:
        """A whole number in a range."""
        return self.whole_in(self.values, key, least, most, otherwise)

    def whole_in(
        self,
        values: Mapping[str, object],
        key: str,
        least: int,
        most: int,
        otherwise: int | None = None,
    ) -> int:
        """The same in a table."""
        value = self.asked(key, values) if otherwise is None else values.get(key, otherwise)
        if type(value) is not int or not least <= value <= most:
            mend = f"write a whole number from {least} to {most}"
            raise self.refused(key, f"is {_shown(value)}", mend)
        return value

    def weight(self, action: Action) -> float | None:
        """Of a canary, and of nothing else."""
        if action is Action.CANARY:
            return self.number("weight", 0.0001, 1.0, self.values)
        if "weight" in self.values:
            raise self.refused("weight", f"has no meaning for {action.value}", "remove it")
        return None

    def touches(self) -> str | tuple[str, ...]:
        """What may change."""
        value = self.asked("touches", self.values)
        if isinstance(value, str) and value in (CONSTANTS, ANYTHING):
            return value
        if isinstance(value, list):
            return self.words("touches", tuple(hooks()), ())
        mend = f'write "{CONSTANTS}", "{ANYTHING}" or a list of hooks'
        raise self.refused("touches", f"is {_shown(value)}", mend)

    def gates(self) -> tuple[str, ...]:
        """Names of gates; which there are depends on the traffic, so any may be named."""
        value = self.values.get("may_be_missing", [])
        names = value if isinstance(value, list) and len(value) <= 40 else [None]
        if not all(isinstance(one, str) and _GATE.fullmatch(one) for one in names):
            mend = 'write a list of gates, as in ["fairness"]'
            raise self.refused("may_be_missing", f"is {_shown(value)}", mend)
        return tuple(dict.fromkeys(names))

    def origins(self) -> tuple[Origin, ...]:
        """Whose policies."""
        usual = (Origin.MUTATOR, Origin.LLM)
        return tuple(Origin(one) for one in self.words("origins", tuple(Origin), usual))

    def hours(self) -> tuple[int, int] | None:
        """From one hour until before another; over midnight where the second is smaller."""
        value = self.values.get("hours_utc")
        if value is None:
            return None
        fine = isinstance(value, list) and len(value) == 2
        fine = fine and all(type(one) is int and 0 <= one <= 24 for one in value)  # type: ignore[attr-defined]  # a list
        if not fine or value[0] == value[1] or value[0] == 24:  # type: ignore[index]  # a list of two
            mend = "write two different hours from 0 to 24, as in [8, 17]"
            raise self.refused("hours_utc", f"is {_shown(value)}", mend)
        return (value[0], value[1])  # type: ignore[index]  # a list of two

    def replace(self) -> bool:
        """Whether another trial may be ended."""
        value = self.values.get("replace", False)
        if not isinstance(value, bool):
            raise self.refused("replace", f"is {_shown(value)}", "write true or false")
        return value

    def terms(self, action: Action) -> Terms:
        """What may become of a canary, and of nothing else."""
        if self.trial and action is not Action.CANARY:
            raise self.refused("trial", f"has no meaning for {action.value}", "remove it")
        requests, hours = (self.trial.get(key) for key in TRIAL_KEYS)
        if requests is not None:
            requests = self.whole_in(self.trial, TRIAL_KEYS[0], 20, 1_000_000)
        if hours is not None:
            hours = self.number(TRIAL_KEYS[1], 0.01, 8760.0, self.trial)
        return Terms(requests, hours)

    def _table(self, key: str, first: str) -> Mapping[str, object]:
        """A table, empty where it is left out."""
        found = self.values.get(key, {})
        if not isinstance(found, dict):
            raise self.refused(key, "is no table", f"write [{key}], then {first}")
        return found

    def _only(self, values: Mapping[str, object], known: Sequence[str]) -> None:
        for key in values:
            if key not in known:
                shown = key if _GATE.fullmatch(key) else _shown(key)
                raise self.refused(shown, "is not known", f"use only {', '.join(known)}")


def _check_characters(text: str) -> None:
    if len(text) > MAX_CHARS:
        raise RuleRefused(1, f"The text has over {MAX_CHARS} characters: shorten it.")
    for number, line in enumerate(text.split("\n"), 1):
        odd = next((c for c in line.rstrip("\r") if not c.isprintable() and c != "\t"), "")
        if odd:
            raise RuleRefused(number, f"Character U+{ord(odd):04X} cannot be seen: remove it.")


def _parsed(text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        what = str(error).split(" (at")[0][:120]
        raise RuleRefused(line, f"This is no TOML ({what}): write key = value.") from None
    except (RecursionError, ValueError, OverflowError):
        raise RuleRefused(1, "This TOML is nested too deeply or too large: keep it flat.") from None


def _shown(value: object) -> str:
    """A value as a refusal repeats it: short, and of nothing that cannot be seen."""
    if type(value) is int and abs(value) > 10**15:
        return "a very large number"
    if isinstance(value, dict | list) and value:
        return f"a {'table' if isinstance(value, dict) else 'list'} of {len(value)}"
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def sentence_of(rule: Rule) -> str:
    """The rule in plain English, every condition in it."""
    writers = _listed([_WRITERS[one] for one in rule.origins], "or")
    units = "sealed unit" if rule.sealed_units == 1 else "sealed units"
    missing = f" ({', '.join(rule.may_be_missing)} may be missing)" if rule.may_be_missing else ""
    return (
        f"{_does(rule)} when the interval of its gain begins at {rule.gain_active:g} % or more "
        f"against the active policy and at {rule.gain_human:g} % or more against the best that "
        f"people wrote, on {rule.sealed_units} {units} or more, measured at most "
        f"{rule.evidence_hours:g} h ago. Its verdict has to be improved, and no gate failed or "
        f"left out{missing}; it has to be by {writers}, and {_may_change(rule)}. {_when(rule)}."
        f"{_afterwards(rule.trial)}"
    )


def _does(rule: Rule) -> str:
    if rule.action is Action.APPROVE:
        return "Approves a policy, without starting it,"
    if rule.action is Action.SHADOW:
        return "Approves a policy and starts it as the shadow"
    share = f"{100 * (rule.weight or 0.0):g} % of traffic"
    return f"Approves a policy and starts it as the canary with {share}"


def _afterwards(terms: Terms) -> str:
    """What becomes of the canary."""
    said = ""
    if terms.promote_after_requests is not None:
        said += (
            " Proven better than its control on at least "
            f"{terms.promote_after_requests} requests, it becomes the active policy."
        )
    if terms.end_after_hours is not None:
        said += f" Neither better nor worse after {terms.end_after_hours:g} h, its trial ends."
    return said


def _when(rule: Rule) -> str:
    """Days, hours, how often, and beside what."""
    first, last = rule.hours or (0, 24)
    hours = "at any hour" if rule.hours is None else f"from {first}:00 until {last}:00 UTC"
    times = f"at most {'once' if rule.most_a_day == 1 else f'{rule.most_a_day} times'} in 24 hours"
    said = f"{_days(rule.weekdays)} {hours}, {times}"
    if rule.action is Action.APPROVE:
        return said
    place = rule.action.value
    if rule.replace:
        return f"{said}, and in place of another {place} where there is one"
    return f"{said}, and only while there is no other {place}"


def _days(days: Sequence[str]) -> str:
    if len(days) == len(WEEKDAYS):
        return "On any day"
    names = [_DAYS[WEEKDAYS.index(day)] for day in days]
    first = WEEKDAYS.index(days[0])
    if len(days) > 2 and tuple(days) == WEEKDAYS[first : first + len(days)]:
        return f"{names[0]} to {names[-1]}"
    return f"On {_listed(names)}"


_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WRITERS = {
    Origin.LIBRARY: "the library", Origin.MUTATOR: "the mutator", Origin.LLM: "a model",
    Origin.PERSON: "a person",
}  # fmt: skip


def _may_change(rule: Rule) -> str:
    if rule.touches == ANYTHING:
        return "it may change anything"
    if rule.touches == CONSTANTS:
        return "to change nothing but constants"
    return f"to change nothing but {_listed(rule.touches)}"


def _listed(words: Sequence[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
