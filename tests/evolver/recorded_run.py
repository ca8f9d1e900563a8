"""A run of the search on the small problem, kept in a real store as the engine keeps its runs."""

from evolver.budget import Limits
from evolver.journal import EventKind
from evolver.loop import Search, SearchSettings

EXCHANGE = {
    "model": "openai/test", "prompt_version": 2, "prompt_digest": "0" * 64,
    "messages": [{"role": "user", "content": "SECRET PROMPT"}], "reply": "SECRET REPLY",
    "reply_digest": "1" * 64, "finish": "stop", "tokens_in": 1000, "tokens_out": 200,
    "price_usd": 0.02, "price_known": True, "seconds": 4.5, "error": None,
}  # fmt: skip
CONFIG = {
    "trace": "ab" * 32, "trace_name": "bowls-day", "cluster": {"name": "edge-8b"}, "load": {},
    "capacity": None, "mode": "open", "seed": 1, "limits": {"evaluations": 60.0}, "model": None,
}  # fmt: skip


class Keeper:
    """An event sink that keeps rows as the record of a run does; `stop_after` so many, it ends."""

    def __init__(self, stop_after=None):
        self.rows, self._most = [], stop_after

    def on_event(self, event):
        if len(self.rows) == self._most:
            raise KeyboardInterrupt
        payload = {"sequence": event.sequence, "generation": event.generation,
                   "candidate": event.candidate, "seconds": event.seconds, **event.data}
        self.rows.append((event.kind.value, payload))
        if event.kind is EventKind.GENERATION_DONE:
            failed = {**EXCHANGE, "error": "EndpointSlow", "reply": "", "price_usd": 0.0}
            self.rows += [("model_exchange", EXCHANGE), ("model_exchange", failed)]


def record_run(store, task, proposers, humans, *, seed=1, stop_after=None, **config):
    """Search, and keep everything; the id of the run."""
    run = store.runs.start_run("evolve", {**CONFIG, "seed": seed, **config}).id
    limits = Limits(evaluations=60)
    keeper = Keeper(stop_after)
    search = Search(task, proposers, humans, limits, SearchSettings(seed=seed, batch=12), (keeper,))
    try:
        result = search.run()
    except KeyboardInterrupt:
        return run
    finally:
        store.runs.append_events(run, keeper.rows)
    verdict = result.verdict
    store.runs.finish_run(run, verdict.outcome.value, {
        "reason": verdict.reason, "policy": None, "best_human": verdict.best_human.name,
        "evaluations": result.evaluations, "seconds": result.seconds, "tokens": result.tokens,
        "price_usd": result.price_usd})  # fmt: skip
    return run
