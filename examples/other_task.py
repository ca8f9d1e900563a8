"""Searches for something that is not about serving: a rule for which job a workshop does next.

    python examples/other_task.py [SEED]

Jobs come in all day, one machine does one at a time, and each minute that a job waits costs its
weight. People do the oldest first, or the shortest, or the most urgent. What is best has been known
since 1956 (W. E. Smith: weight over time); nobody tells the search. The methods of `Workshop` say
what the problem is, `Twister` writes candidates; the rest (islands, tuned constants, one choice,
its proof on days that nobody has seen) is the same as for serving.
"""

import ast
import functools
import hashlib
import heapq
import random
import sys

import numpy as np
from other_task_rules import NAMES, NotARule, Rule

from evolver import Human, Limits, Proposal, Search, SearchSettings, Split
from evolver.task import Description, Gate, Refusal, Refused, Rung, WindowResult, nobody

JOBS = 400  # a day
HUMANS = (
    Human("oldest first", "-arrived", active=True),
    Human("shortest first", "-minutes"),
    Human("most urgent first", "weight"),
)


class Workshop:
    """The task: mean weighted minutes of waiting, on days of random jobs."""

    worst_objective = 1e6
    days = {Split.TRAINING: 8, Split.VALIDATION: 8, Split.SEALED: 12}  # noqa: RUF012

    def describe(self):
        """Whatever a model would be told, and reports say."""
        objective = (
            "Minimise weighted waiting: of the jobs there, the one with the highest value is next"
        )
        return Description("a workshop", objective, (f"{JOBS} jobs a day, as many as it can do",))

    def windows(self, split):
        """Days to search on, to choose on and to prove on."""
        return tuple(f"{split}-{day}" for day in range(self.days[split]))

    def cascade(self):
        """A day that only tells rules apart, then two days, and all of them for what is better."""
        training = self.windows(Split.TRAINING)
        probe = Rung("probe", ("probe",), counts=False)
        return (probe, Rung("two days", training[:2]), Rung("all days", training[2:]))

    def variants(self):
        """The same days, with their jobs closer together."""
        return tuple(f"{day}/busier" for day in self.windows(Split.TRAINING))

    def unit(self, window):
        """A day and its variants count once."""
        return window.split("/")[0]

    def cost(self, window):  # noqa: ARG002
        """All days cost the same."""
        return 1

    def verify(self, text, name):  # noqa: ARG002
        """The rule, or why it is none."""
        try:
            return Rule(text)
        except NotARule as error:
            return Refused((Refusal(1, "rule", *error.args),))

    def evaluate(self, jobs, on_done=nobody):
        """Each rule on each of its days."""
        answers = []
        for index, job in enumerate(jobs):
            answers.append([work(job.program, job.parameters, day) for day in job.windows])
            on_done(index, answers[-1])
        return answers

    def niche(self, program, results):
        """Rules are kept side by side when the longest wait is another, or they have more knobs."""
        return (int(mean(results, "longest_wait")).bit_length(), min(len(program.tunables), 4))

    def score_lines(self, results, rivals=()):  # noqa: ARG002
        """Where it goes wrong."""
        worst = max(results.values(), key=lambda result: result.objective)
        return (f"worst: {worst.objective:.3g} weighted minutes, on {worst.window}",)

    def gates(self, candidate, human):
        """No win on the back of the many: the plain mean wait may be a quarter longer, no more."""
        change = mean(candidate, "mean_wait") / mean(human, "mean_wait") - 1.0
        return (Gate("mean_wait", change <= 0.25, f"The mean wait {change:+.0%}."),)


def mean(results, metric):
    """Mean of a metric over the days that have it."""
    values = [r.metrics[metric] for r in results.values() if metric in r.metrics]
    return sum(values) / max(len(values), 1)


@functools.cache
def jobs_of(window):
    """A day of jobs, one array for each number; minutes but for the weight."""
    day, _, busier = window.partition("/")
    draw = np.random.default_rng([*hashlib.sha256(day.encode()).digest()])
    minutes = np.ceil(draw.gamma(1.5, 8.0, JOBS))
    span = minutes.sum() / (1.0 if busier else 0.95)
    arrived = np.sort(draw.uniform(0.0, span, JOBS))
    return {"arrived": arrived, "minutes": minutes, "weight": draw.integers(1, 11, JOBS) * 1.0}


def work(rule, parameters, window):
    """Do a day's jobs: of those that wait, the one with the highest value is next."""
    jobs = jobs_of(window)
    urgency = rule.urgency(parameters, jobs)
    if not np.isfinite(urgency).all():
        return WindowResult(window, Workshop.worst_objective, fault="a value is no number")
    arrived, minutes, values = jobs["arrived"].tolist(), jobs["minutes"].tolist(), urgency.tolist()
    waiting, order, begun, clock, coming = [], bytearray(), [0.0] * JOBS, 0.0, 0
    for _ in range(JOBS):
        clock = clock if waiting else max(clock, arrived[coming])
        while coming < JOBS and arrived[coming] <= clock:
            heapq.heappush(waiting, (-values[coming], coming))
            coming += 1
        job = heapq.heappop(waiting)[1]
        begun[job] = clock
        clock += minutes[job]
        order += job.to_bytes(2, "big")
    wait = np.array(begun) - jobs["arrived"]
    objective = 1.0 + float(np.average(wait, weights=jobs["weight"]))
    metrics = {"mean_wait": float(wait.mean()), "longest_wait": float(wait.max())}
    return WindowResult(window, objective, metrics, fingerprint=hashlib.sha256(order).hexdigest())


class Twister:
    """The proposer: puts something else in place of one part of the parent."""

    name, waits = "twister", False

    def propose(self, request):
        """A child of one parent, perhaps with a part of another."""
        rng = random.Random(request.rng_seed)
        parent = Rule(request.parent.program.written(request.parent.parameters))
        donor = rng.choice((request.parent, *request.others)).program
        spot = rng.choice(parent.parts)
        old, leaf = ast.unparse(spot), rng.choice((*NAMES, "1", "5", "20"))
        new = rng.choice((ast.unparse(rng.choice(donor.parts)), leaf))
        changes = (
            new,
            f"({old}) {rng.choice('+-*/')} ({new})",
            f"({new}) if {leaf} {rng.choice('<>')} {rng.choice((2, 10, 50))} else ({old})",
        )
        change = rng.choice(changes)
        child = Swap(spot, ast.parse(change, mode="eval").body).visit(parent.tree)
        idea = f"{change} in place of {old}"
        return Proposal(ast.unparse(child), self.name, idea, (request.parent.digest,))


class Swap(ast.NodeTransformer):
    """Puts one part in place of another."""

    def __init__(self, old, new):
        self.old, self.new = old, new

    def visit(self, node):
        """The new part for the old one, all else as it is."""
        return self.new if node is self.old else self.generic_visit(node)


def main(seed):
    """Search, then print whom there was to beat, what was found, and whether that is proved."""
    settings = SearchSettings(seed=seed)
    run = Search(Workshop(), [Twister()], HUMANS, Limits(evaluations=200), settings).run()
    print("score (below 1 beats all people on the days of the search), rule")
    people = [member for member in reversed(run.members) if member.origin == "human"]
    for member in (*people, run.verdict.winner or run.members[0]):
        rule = member.program.written(member.parameters).strip()
        print(f"{member.score:6.3f}  {member.name}: {rule}")
    print(f"{run.verdict.outcome}: {run.verdict.reason}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
