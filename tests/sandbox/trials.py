"""One fuzzed program, tried: engines and plain Python side by side on hostile inputs."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import plain_python as plain
import random_inputs as inputs

from sandbox.engine import load_policy
from sandbox.errors import PolicyFault
from sandbox.frame import FUEL, SCRATCH, Caller
from sandbox.language.kinds import PLANNER_HOOKS, hooks

SPENT = ("fault", FUEL), ("fault", SCRATCH)
WRITTEN = {
    "schedule": {"new_plan", "cluster"}, "migrate": {"moves"}, "prewarm": {"entries"},
    "branches": {"branches"}, "tune": {"instance"},
}  # fmt: skip
"""Records that a hook may write to."""


@dataclass
class Report:
    """What came of trials: violations in words, and how often each end was met."""

    violations: list = field(default_factory=list)
    ends: Counter = field(default_factory=Counter)


class Engine:
    """A loaded policy whose every array lies between guards."""

    def __init__(self, loaded, hook):
        self.name, self.hook = loaded.engine, hook
        self.caller = Caller(loaded)
        self.guards = inputs.guard(self.caller)

    def call(self, given):
        """End of the call, fuel it used, what it was given afterwards, and what it did wrong."""
        after = given.copied()
        turned = {"rotation": after.rotation} if after.rotation else {}
        try:
            value = getattr(self.caller, self.hook)(
                **after.rows, memory=after.memory, fuel=after.fuel, **turned
            )
            end = "answer", value
        except PolicyFault as fault:
            end = "fault", fault.kind
        wrong = []
        if not all(one.intact() for one in [*after.guards, *self.guards]):
            wrong.append(f"{self.name}: wrote outside its arguments")
        for name, rows in given.rows.items():
            kept = name not in WRITTEN.get(self.hook, ()) and rows.tobytes()
            if kept is not False and kept != after.rows[name].tobytes():
                wrong.append(f"{self.name}: wrote to {name}, which it may only read")
        return end, self.caller.fuel_used, after, wrong


def tried(source, hook, seed, calls, compiled=False):
    """Run a verified program on random inputs in every way there is.

    Args:
        calls: how many inputs.
        compiled: compare machine code too, which takes time to make.
    """
    report = Report()
    names = ["interpreted", "compiled"] if compiled else ["interpreted"]
    engines = [Engine(load_policy(source, engine=name, only={hook}), hook) for name in names]
    reference = plain.PlainPolicy(source)
    rng = inputs.seeded(seed, "inputs")
    for _ in range(calls):
        given = inputs.inputs_for(hook, rng)
        outcomes = [engine.call(given) for engine in engines]
        for _, _, _, wrong in outcomes:
            report.violations += wrong
        report.violations += disagreements(outcomes)
        report.violations += _over_the_bound(source, given, outcomes[0])
        end, _, after, _ = outcomes[0]
        report.ends[end[1] if end[0] == "fault" else "answer"] += 1
        if end not in SPENT:
            report.violations += _unlike_python(reference, given, end, after)
        if report.violations:
            break
    return report


def disagreements(outcomes):
    """Law 5: the engines leave the same answer or fault, fuel, memory and rows."""
    first, others = outcomes[0], outcomes[1:]
    for other in others:
        if repr(first[:2]) != repr(other[:2]):
            yield f"engines: {first[:2]} interpreted, {other[:2]} compiled"
        elif _bits(first[2].memory) != _bits(other[2].memory):
            yield "engines: they leave different memory"
        for name, rows in first[2].rows.items():
            if rows.tobytes() != other[2].rows[name].tobytes():
                yield f"engines: they leave different {name}"


def _bits(memory):
    return np.where(np.isnan(memory), np.nan, memory).tobytes()


def _over_the_bound(source, given, outcome):
    """Law 7: no call costs more than the verifier said."""
    end, fuel_used, _, _ = outcome
    if given.hook in PLANNER_HOOKS or not given.counted or given.fuel < source.cost[given.hook]:
        return
    if fuel_used > source.cost[given.hook] and not (end == SPENT[0] and fuel_used <= given.fuel):
        yield f"fuel: {fuel_used} used, {source.cost[given.hook]} at most was promised"


def _unlike_python(reference, given, end, after):
    """The interpreted engine decides as plain Python does."""
    try:
        outcome = reference.call(given.hook, given.rows, given.memory, given.rotation)
    except plain.plain.WrongKind as wrong:
        yield f"kinds: {wrong}"
        return
    written = WRITTEN.get(given.hook, ())
    differing = plain.differences(outcome, end, after.rows, after.memory, written)
    if differing:
        yield f"plain Python: {', '.join(differing)}"


__all__ = ["hooks", "tried"]
