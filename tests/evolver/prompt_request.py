"""A small proposal request, as the search would make one."""

from dataclasses import dataclass, replace

from evolver.archive import Member
from evolver.proposer import Attempt, Feedback, ProposalRequest
from evolver.task import Refusal, WindowResult


@dataclass(frozen=True)
class Tunable:
    name: str
    value: float
    low: float
    high: float
    integer: bool


@dataclass(frozen=True)
class Program:
    canonical: str
    claim: str = ""
    tunables: tuple = (Tunable("KNEE", 0.85, 0.5, 0.99, False), Tunable("TOP", 4, 1, 16, True))
    hooks: tuple = ("route",)
    fields_read: frozenset = frozenset({"Instance.id"})

    def annotated(self):
        return self.canonical

    def digest(self, parameters=None):
        return "d" * 64

    def parameters(self):
        return {t.name: t.value for t in self.tunables}


SOURCE = (
    '"""First instance below the knee."""\nKNEE = 0.85\nTOP = 4\n\n'
    "def route(request, instances, memory):\n    return instances[0].id\n"
)
PHASES = {
    "waiting_mean_s": 1.25, "prefill_mean_s": 0.25, "decode_mean_s": 0.75, "slowed_mean_s": 0.25,
    "preemption_mean_s": 0.125, "e2e_mean_s": 2.5,
}  # fmt: skip


def member(text=SOURCE, score=0.97, digest="a" * 64, seconds=2.5):
    results = {
        "t1": WindowResult("t1", seconds, {**PHASES, "ttft_p99_s": 0.8125, "rejected": 3.0}),
        "t0": WindowResult("t0", 1e6, {"ttft_p99_s": float("nan")}, "timeout"),
    }
    return Member(
        digest=digest,
        name="best",
        program=Program(text),
        parameters={"KNEE": 0.8123456, "TOP": 16.0},
        results=results,
        score=score,
        niche=(0,),
        origin="mutator",
        idea="",
        parents=(),
        generation=3,
    )


def request(*attempts, **feedback):
    parts = {
        "objective_text": (
            "Geometric mean over windows of mean end-to-end seconds.\n"
            "Hooks that count here, others are refused: admit, priority, route."
        ),
        "setting_lines": ("2 routers", "| pool | GPUs |", "| --- | --- |", "| 0 | 4 |"),
        "window_lines": ("requests 12000, rate_rps 8.25", "prompt_tokens: mean 1024.5"),
        "score_lines": ("queueing 41 %, prefill 22 %, decode 37 %",),
        "tried_and_failed": ("Hold when all instances are busy.",),
        "worked": ("Count late requests twice.",),
    }
    seed = feedback.pop("seed", 5)
    other = member(SOURCE.replace("0].id", "1].id"), 1.0, "b" * 64, seconds=2.25)
    return ProposalRequest(
        member(), (other,), Feedback(attempts=attempts, **(parts | feedback)), rng_seed=seed
    )


def refused(text=SOURCE):
    refusal = Refusal(6, "unknown-field", "Instance has no field load.", "Use queued_requests.")
    return Attempt(text, (refusal,))


__all__ = ["SOURCE", "Attempt", "member", "refused", "replace", "request"]
