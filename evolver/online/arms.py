"""All arms of one pair under one seed: evolving, policies that stay, references, no evolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evolver.candidates import seed_for
from evolver.online.course import Course, Point
from evolver.online.pairs import Ground
from evolver.online.past import past_of, stretch_known
from evolver.online.splits import measured
from evolver.online.statics import Objective, Static, on_stretches, planners, tune_all
from evolver.online.thinking import LOST, MARGIN, Charges, Thinker, Thought, Trials, regret
from evolver.recordings import Recording
from evolver.task import Human
from sandbox.kernel.state import FINISHED
from sandbox.simulation import Mode, Outcome
from sandbox.source import PolicySource

FACTORS = (1.0, 0.3, 3.0)  # of what proposing costs; the first is the claim, the others the sweep


@dataclass(frozen=True, slots=True)
class Effort:
    """What may be spent.

    Attributes:
        evaluations: candidates of one search while the trace goes on.
        tries: settings of constants of each policy of the library, tuned on the past; those of
            the reference that knows the whole trace are as many as the evolving arm tried in all.
        factors: of the charges; the first is the one that is claimed with.
    """

    evaluations: int = 8
    tries: int = 12
    charges: Charges = field(default_factory=Charges)
    factors: tuple[float, ...] = FACTORS


@dataclass(slots=True)
class Arms:
    """Runs the arms of a pair; each course begins anew, and the past is the same in all."""

    ground: Ground
    mode: Mode
    seed: int
    effort: Effort
    recording: Recording | None = None
    _thoughts: dict[tuple[object, ...], Thought | None] = field(default_factory=dict, init=False)
    _regrets: dict[tuple[object, ...], Regret | None] = field(default_factory=dict, init=False)
    _known: tuple[Human, ...] = field(default=(), init=False)
    _spent: int = field(default=0, init=False)

    def run(self) -> dict[str, Any]:
        """Numbers of every arm by name, and what evolving did on the way."""
        humans, trials = planners(), Trials()
        start = self._begun()
        past = past_of(start)
        pieces = past.pieces if past is not None else ()
        tuned = tune_all(humans, on_stretches(pieces, trials), self.effort.tries, self.seed)
        self._known = tuple(static.human for static in tuned)
        arms: dict[str, Any] = {"no evolution": self._static(None)}
        for static in tuned:
            arms[f"past:{static.name}"] = self._static(static.source)
        factors = self.effort.factors if self.mode == "backlog" else self.effort.factors[:1]
        for factor in factors:
            name = "evolving" if factor == factors[0] else f"evolving x{factor:g}"
            arms[name] = self._evolving(tuned[0].source, factor)
        each = max(self.effort.tries, self._spent // len(humans))
        arms["whole"] = self._best(tune_all(humans, self._whole(trials), each, self.seed))
        arms["regimes"] = self._by_regime(max(each // len(self.ground.spec.regime), 4))
        return {
            "pair": self.ground.name, "mode": self.mode, "seed": self.seed,
            "chosen": f"past:{tuned[0].name}", "tries_whole": each, "arms": arms,
        }  # fmt: skip

    def _begun(self) -> Course:
        """A course at the end of the past, where everything begins to be measured."""
        course = Course(self.ground, self.mode, self.seed)
        course.to_trace_time(self.ground.spec.past_s)
        return course

    def _static(self, source: PolicySource | None) -> dict[str, Any]:
        course = self._begun()
        since = course.points[-1]
        if source is not None:
            course.enter(Trials().load(source, source.parameters()), source.name)
        outcome = course.finish()
        return measured(course, outcome, since)

    def _best(self, tuned: Sequence[Static]) -> dict[str, Any]:
        return {**self._static(tuned[0].source), "policy": tuned[0].name}

    def _whole(self, trials: Trials) -> Objective:
        """The objective of the measured part itself, known in hindsight."""

        def objective(source: PolicySource, parameters: Mapping[str, float]) -> float:
            course = self._begun()
            since = course.points[-1]
            course.enter(trials.load(source, parameters), source.name)
            return _objective_s(course, course.finish(), since)

        return objective

    def _by_regime(self, tries: int) -> dict[str, Any]:
        """For each regime the policy that is best on it, tuned on it in hindsight."""
        known = self._begun()
        known.finish()
        course, chosen = self._begun(), []
        since = course.points[-1]
        begin_s = self.ground.spec.past_s
        for regime in self.ground.spec.regime:
            stretch = stretch_known(known, begin_s, regime.until_s)
            if stretch is not None:
                objective = on_stretches([stretch], Trials())
                tuned = tune_all(planners(), objective, tries, self.seed)
                best = tuned[0]
                chosen.append(best.name)
                if course.to_trace_time(begin_s):
                    course.enter(Trials().load(best.source, best.source.parameters()), best.name)
            begin_s = regime.until_s
        return {**measured(course, course.finish(), since), "policies": chosen}

    def _evolving(self, first: PolicySource, factor: float) -> dict[str, Any]:
        """From the best on the past: search on the past, enter when it has been paid for."""
        course = self._begun()
        since = course.points[-1]
        charges = replace(self.effort.charges, factor=factor)
        control = Control(course, self._think, self._regret, charges, first)
        outcome = control.to_the_end()
        if factor == self.effort.factors[0]:
            self._spent = sum(step["proposed"] for step in control.steps)
        return {**measured(course, outcome, since), "steps": control.steps}

    def _think(self, course: Course, active: PolicySource) -> Thought | None:
        """Search at the monitoring point of a course; equal histories give equal thoughts."""
        key = _history(course)
        if key not in self._thoughts or self.recording is not None:
            past = past_of(course)
            thinker = Thinker(self._known, self.effort.evaluations, self.recording)
            seed = seed_for(self.seed, round(course.now_s))
            self._thoughts[key] = None if past is None else thinker.think(past, active, seed)
        return self._thoughts[key]

    def _regret(self, course: Course, active: PolicySource, former: PolicySource) -> Regret | None:
        """What the policy in force loses against the one before it, by what is known now."""
        key = _history(course)
        if key not in self._regrets:
            past = past_of(course)
            self._regrets[key] = None if past is None else regret(active, former, past)
        return self._regrets[key]


def _history(course: Course) -> tuple[object, ...]:
    return course.now_s, *((entry.time_s, entry.digest) for entry in course.entries)


Regret = tuple[float, float]
Think = Callable[[Course, PolicySource], Thought | None]
LookBack = Callable[[Course, PolicySource, PolicySource], Regret | None]


@dataclass(slots=True)
class Control:
    """The control plane on simulated time; `steps` say what it did.

    At monitoring points it begins a search on what is past, if none is under way and the last one
    began long enough ago. What a search finds enters at the first monitoring point after its
    charge has passed; until then the old policy serves. What entered is on probation: at every
    monitoring point until the next search it is compared with the policy before it on what is
    known by then, and that one returns if it would save the margin.
    """

    course: Course
    think: Think
    look_back: LookBack
    charges: Charges
    active: PolicySource
    steps: list[dict[str, Any]] = field(default_factory=list, init=False)
    _former: PolicySource | None = field(default=None, init=False)
    _due: tuple[float, Thought] | None = field(default=None, init=False)
    _next_s: float = field(default=0.0, init=False)
    _busy_s: float = field(default=0.0, init=False)

    def to_the_end(self) -> Outcome:
        """Run the course with this control plane in the loop."""
        self.enter_first()
        self.turn()
        while self.course.advance():
            self.turn()
        return self.course.finish()

    def enter_first(self) -> None:
        """The policy to begin with enters."""
        self._enter(self.active, self.active.name)

    def turn(self) -> None:
        """What is done at one monitoring point."""
        now_s = self.course.now_s
        if self._due is not None and now_s >= self._due[0]:
            self._arrive(self._due[1])
            self._due = None
        if self._due is not None or now_s < self._busy_s:
            return
        if now_s >= self._next_s:
            self._begin(now_s)
        elif self._former is not None and now_s > self.course.entries[-1].time_s:
            self._look_back(self._former, now_s)

    def _begin(self, now_s: float) -> None:
        thought = self.think(self.course, self.active)
        if thought is None:
            return
        self._former = None
        charge_s = self.charges.seconds(thought.replies, thought.steps)
        self._due = (now_s + charge_s, thought)
        self._next_s = now_s + self.course.ground.spec.think_every_s
        self.steps.append({
            "begun_s": now_s, "charge_s": charge_s, "entered_s": None, "returned_s": None,
            "policy": thought.name, "gain": thought.gain, "proposed": thought.proposed,
            "replies": thought.replies, "steps": thought.steps,
        })  # fmt: skip

    def _arrive(self, thought: Thought) -> None:
        if thought.policy is not None:
            self._former, self.active = self.active, thought.policy
            self._enter(thought.policy, thought.name)
            self.steps[-1]["entered_s"] = self.course.now_s

    def _look_back(self, former: PolicySource, now_s: float) -> None:
        found = self.look_back(self.course, self.active, former)
        if found is None:
            return
        lost, steps = found
        self._busy_s = now_s + self.charges.seconds(0, steps)
        if lost > MARGIN:
            self.active, self._former = former, None
            self._enter(former, former.name)
            self.steps[-1]["returned_s"] = now_s

    def _enter(self, source: PolicySource, name: str) -> None:
        self.course.enter(Trials().load(source, source.parameters()), name)


def _objective_s(course: Course, outcome: Outcome, since: Point) -> float:
    """Of the measured part: total time of a backlog, mean end-to-end time of open arrivals."""
    numbers = measured(course, outcome, since)
    if course.mode == "open":
        return float(numbers["e2e_mean_s"])
    lost = float((outcome.state != FINISHED).mean())
    return float(numbers["total_s"]) * (1.0 + LOST * lost)
