"""Where a policy comes from: who wrote it, with what prompt and cost, as its run recorded it."""

from __future__ import annotations

import functools
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from policy_store.errors import UnknownRun
from policy_store.records import PolicyVersion, Run, RunEvent
from policy_store.runs import Runs

SCORED, TUNED, HUMAN = "candidate_scored", "tuned", "human_scored"
FINISHED, EXCHANGE = "run_finished", "model_exchange"
KINDS = (SCORED, TUNED, HUMAN, FINISHED, EXCHANGE)
MOST_ANCESTORS = 40


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A candidate that a policy was made from; `digest` is the run's, often not in the store."""

    digest: str
    name: str
    by: str
    idea: str
    score: float | None
    text: str
    parameters: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Asked:
    """What one question to a model was and cost; `price_usd` is None where nobody knows it."""

    model: str
    ask: str
    prompt_digest: str
    prompt_version: int | None
    tokens_in: int
    tokens_out: int
    price_usd: float | None
    tries: int


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a run's record says about one policy that it proposed.

    Attributes:
        searched_as: digest of the candidate in the run, whose constants are set apart.
        line: from the policy back to what people wrote.
        asked: the calls of models that made it and its ancestors, latest first.
        spent: of the whole run, in words.
        program: digest of the code that ran, empty where it is not known.
        commands: what each does, and the command to copy.
    """

    run: Run
    searched_as: str
    line: tuple[Ancestor, ...]
    asked: tuple[Asked, ...]
    spent: tuple[str, ...]
    program: str
    commands: tuple[tuple[str, str], ...]


def provenance_of(runs: Runs, version: PolicyVersion) -> Provenance | None:
    """What is known of how a policy was made; None for one that no run made."""
    if version.run is None:
        return None
    try:
        run = runs.get_run(version.run)
    except UnknownRun:
        return None
    if run.finished_at is None:
        return _read(runs, run, version.digest)
    return _finished(runs, version.run, version.digest)


@functools.lru_cache(maxsize=64)
def _finished(runs: Runs, run: str, policy: str) -> Provenance:
    """A finished run says the same for ever."""
    return _read(runs, runs.get_run(run), policy)


def _read(runs: Runs, run: Run, policy: str) -> Provenance:
    rows = runs.events(run.id, kinds=KINDS)
    members = {
        _text(row.payload, "candidate"): row.payload
        for row in reversed(rows)
        if row.kind in (SCORED, TUNED, HUMAN)
    }
    line = _line(members, _winner(run, rows, policy))
    asks = [_text(members[one.digest], "ask") for one in line]
    exchanges = [row.payload for row in rows if row.kind == EXCHANGE]
    asked = (_asked([x for x in exchanges if _text(x, "ask") == ask]) for ask in asks if ask)
    return Provenance(
        run=run,
        searched_as=line[0].digest if line else "",
        line=line,
        asked=tuple(one for one in asked if one),
        spent=_spent(run.summary or {}, all(x.get("price_known") is True for x in exchanges)),
        program=_text(run.config, "code"),
        commands=tuple(_commands(run, policy)),
    )


def _winner(run: Run, rows: Sequence[RunEvent], policy: str) -> str:
    """The candidate that was stored as this policy, with its constants written in."""
    if run.summary is None or run.summary.get("policy") != policy:
        return policy
    found = (_text(row.payload, "candidate") for row in rows if row.kind == FINISHED)
    return next(found, policy)


def _line(members: Mapping[str, Mapping[str, object]], first: str) -> tuple[Ancestor, ...]:
    found: list[Ancestor] = []
    digest = first
    while digest in members and len(found) < MOST_ANCESTORS:
        known = members[digest]
        if any(one.digest == digest for one in found):
            break
        found.append(_ancestor(digest, known))
        parents = known.get("parents")
        digest = str(parents[0]) if isinstance(parents, list) and parents else ""
    return tuple(found)


def _ancestor(digest: str, known: Mapping[str, object]) -> Ancestor:
    values = known.get("parameters")
    given = values if isinstance(values, dict) else {}
    numbers = {name: _number(given, name) for name in given}
    return Ancestor(
        digest=digest,
        name=_text(known, "name"),
        by=_text(known, "arm") or _text(known, "proposer"),
        idea=_text(known, "idea"),
        score=_number(known, "score"),
        text=_text(known, "text"),
        parameters={name: value for name, value in numbers.items() if value is not None},
    )


def _commands(run: Run, policy: str) -> Iterator[tuple[str, str]]:
    yield (
        "Does the whole run again and fails where any number comes out otherwise:",
        shlex.join(("evolver", "run", "replay", run.id)),
    )
    inputs = run.config.get("inputs")
    trace = inputs.get("trace") if isinstance(inputs, dict) else None
    if isinstance(inputs, dict) and isinstance(trace, dict) and _text(trace, "path"):
        words = ["evolver", "replay", _text(trace, "path"), "-p", policy[:12], "-p", "default"]
        words += ["--cluster", _text(inputs, "cluster")] if _text(inputs, "cluster") else []
        signals = _text(inputs, "signals")
        words += ["--signals", signals] if signals else []
        for name in ("seed", "load"):
            value = _number(inputs, name)
            words += [f"--{name}", f"{value:g}"] if value is not None else []
        yield "Replays this policy beside the default one on the whole trace:", shlex.join(words)


def _asked(tries: Sequence[Mapping[str, object]]) -> Asked | None:
    """One question with all its tries; the prompt is that of the last."""
    if not tries:
        return None
    last = tries[-1]
    known = all(one.get("price_known") is True for one in tries)
    return Asked(
        model=_text(last, "model"),
        ask=_text(last, "ask"),
        prompt_digest=_text(last, "prompt_digest"),
        prompt_version=int(_number(last, "prompt_version") or 0) or None,
        tokens_in=int(sum(_number(one, "tokens_in") or 0 for one in tries)),
        tokens_out=int(sum(_number(one, "tokens_out") or 0 for one in tries)),
        price_usd=sum(_number(one, "price_usd") or 0.0 for one in tries) if known else None,
        tries=len(tries),
    )


def _spent(summary: Mapping[str, object], priced: bool) -> tuple[str, ...]:
    said = []
    evaluations, seconds = _number(summary, "evaluations"), _number(summary, "seconds")
    tokens, price_usd = _number(summary, "tokens"), _number(summary, "price_usd")
    if evaluations is not None:
        said.append(f"{evaluations:,.0f} evaluations")
    if seconds is not None:
        said.append(f"{seconds:,.0f} s")
    if tokens:
        price = f"{price_usd or 0.0:.2f} USD" if priced else "at a price that nobody knows"
        said += [f"{tokens:,.0f} tokens", price]
    return tuple(said)


def _text(data: Mapping[str, object], name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else ""


def _number(data: Mapping[str, object], name: str) -> float | None:
    value = data.get(name)
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if usable and math.isfinite(value) else None  # type: ignore[arg-type]  # checked
