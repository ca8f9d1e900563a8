"""Rows of a search as an engine writes them: people's policies, candidates, a proof."""

import hashlib
import random

from evolver.library import read

HUMANS = {"round_robin": 1.81, "power_of_two": 1.24, "least_loaded": 1.16,
          "least_predicted_completion": 1.0}  # fmt: skip
WRITER, TUNER = "openai/claude diff", "tuner"
IDEAS = ("count what waits as work", "charge a prompt for the step it lengthens",
         "leave room before the cache is full", "follow the prefix while loads are even",
         "count the delay that a request brings to those beside it")  # fmt: skip
UNBOUNDED = {"line": 12, "code": "loop", "reason": "while has no bound.", "mend": "Use range."}
KEPT = {"name": "ttft_p99_s", "passed": True, "sentence": "p99 time to first token -6.2 %."}


class Rows:
    """Collects rows, each a little later than the one before."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, dict[str, object]]] = []

    def add(self, kind: str, seconds: float, **data: object) -> None:
        told = {"sequence": len(self.rows), "generation": 0, "candidate": None, "seconds": seconds}
        self.rows.append((kind, told | data))


def digest_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def tell_run(store, clock, trace: str, *, improved: bool) -> str:
    """Keep a finished run; its id."""
    run = store.runs.start_run("evolve", {
        "trace_name": trace, "seed": 1, "cluster": {"name": "four-engines"}, "code": "7" * 64,
        "model": "openai/claude", "limits": {"evaluations": 30.0},
        "inputs": {"trace": {"path": f"{trace}.csv"}, "seed": 1, "load": 0.8},
    }).id  # fmt: skip
    told, best = Rows(), 1.0
    told.add("run_started", 0.0, title=trace, objective="Mean end-to-end time.",
             evaluation_cost=100, arms=[WRITER, TUNER], windows={
             "training": [f"w{k:02d}" for k in range(5, 14)],
             "validation": [f"w{k:02d}" for k in range(5)],
             "sealed": [f"w{k:02d}" for k in range(14, 24)]})  # fmt: skip
    for name, score in HUMANS.items():
        told.add("human_scored", 3.0, candidate=digest_of(name), name=name, score=score,
                 proposer="human", parents=[], active=name == "least_loaded",
                 text=read(name))  # fmt: skip
    for generation in range(1, 4):
        best = _generation(told, generation, best, random.Random(f"{trace}{generation}"))
    gain = 1.0 - best if improved else 0.004
    _end(told, best, gain, improved)
    store.runs.append_events(run, told.rows)
    clock.later(seconds=64)
    store.runs.finish_run(run, "improved" if improved else "no_change", {
        "reason": _reason(gain, improved), "best_human": "least_predicted_completion",
        "evaluations": 27.0, "seconds": 64.0, "tokens": 98_925, "price_usd": 0.61, "gain": gain,
    })  # fmt: skip
    return run


def _generation(told: Rows, generation: int, best: float, chance: random.Random) -> float:
    for k in range(5):
        at, ask = 8.0 + 15 * (generation - 1) + 3 * k, f"{generation}.{k}.0"
        name, score = (
            f"diff-{generation}{k}",
            best * (0.95 if k == 4 else 0.99 + 0.03 * chance.random()),
        )
        who = {"proposer": WRITER, "arm": WRITER, "ask": ask, "idea": IDEAS[k]}
        told.rows.append(("model_exchange", {
            "model": "openai/claude", "ask": ask, "prompt_version": 2, "prompt_digest": "c" * 64,
            "messages": [], "reply": "", "finish": "stop", "tokens_in": 5100 + 7 * k,
            "tokens_out": 1400 + 31 * k, "price_usd": 0.04, "price_known": True, "seconds": 2.5,
            "error": None}))  # fmt: skip
        if k == 1:
            refusals = [UNBOUNDED]
            told.add("candidate_refused", at, proposer=WRITER, generation=generation,
                     refusals=refusals)  # fmt: skip
        elif k == 3:
            told.add("candidate_dropped", at, generation=generation, rung="screen", score=1.21,
                     bar=1.1, reason="slower", **who)  # fmt: skip
        else:
            told.add("evaluated", at, cost=200, jobs=1, rung="training")
            parent = "least_predicted_completion" if generation == 1 else f"diff-{generation - 1}4"
            told.add("candidate_scored", at, candidate=digest_of(name), name=name, score=score,
                     parent_score=best, generation=generation, parents=[digest_of(parent)],
                     text=read("least_predicted_completion"), **who)  # fmt: skip
            best = min(best, score) if k == 4 else best
    told.add("generation_done", 20.0 * generation, generation=generation, best_score=best,
             best_human_score=1.0, tokens=33_000 * generation, price_usd=0.2 * generation,
             evaluations=9.0 * generation, arms={})  # fmt: skip
    return best


def _end(told: Rows, best: float, gain: float, improved: bool) -> None:
    for k in (0, 2, 4):
        told.add("finalist", 58.0, candidate=digest_of(f"diff-3{k}"), name=f"diff-3{k}",
                 score=best * (1.03 - k / 200), generation=3)  # fmt: skip
    told.add("candidate_chosen", 59.0, candidate=digest_of("diff-34"), name="diff-34", score=best,
             human="least_predicted_completion", human_score=1.0, generation=3)  # fmt: skip
    told.add("sealed_opened", 59.5, windows=[f"w{k}" for k in range(14, 24)], humans=list(HUMANS))
    interval = {"gain": gain, "low": gain - 0.013, "high": gain + 0.012}
    rival = {"name": "least_predicted_completion", "roles": ["best_human"], "windows": 10,
             "p_value": 0.00098, **interval}  # fmt: skip
    told.add("run_finished", 64.0, candidate=digest_of("diff-34"), tried=24, finalists=3,
             outcome="improved" if improved else "no_change", reason=_reason(gain, improved),
             evaluations=27.0, tokens=98_925, price_usd=0.61, rivals=[rival], gates=[KEPT],
             **interval)  # fmt: skip


def _reason(gain: float, improved: bool) -> str:
    if not improved:
        return "No candidate is better than least_predicted_completion on the sealed windows."
    return (f"Better than least_predicted_completion by {100 * (gain - 0.013):.1f} to "
            f"{100 * (gain + 0.012):.1f} % on 10 sealed windows, p = 0.00098.")  # fmt: skip
