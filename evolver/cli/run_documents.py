"""Runs as plain JSON values, for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from evolver.cli.policy_report import moment
from evolver.cli.run_compare import differences
from evolver.run_accounts import (
    GAINS,
    called,
    earned,
    family,
    gain_at,
    lineage,
    reached,
    reasons,
    searched,
    until_end,
)
from evolver.run_history import RunHistory, Scored, Step


def listed(history: RunHistory) -> dict[str, object]:
    """One run in short."""
    run, summary = history.run, history.run.summary or {}
    return {
        "run": run.id,
        "started_at": moment(run.started_at),
        "finished_at": moment(run.finished_at) if run.finished_at else None,
        "pruned_at": moment(run.pruned_at) if run.pruned_at else None,
        "trace": run.config.get("trace_name"),
        "verdict": run.verdict,
        "resumable": run.verdict is None,
        "evaluations": summary.get("evaluations", history.spent.evaluations),
        "seconds": summary.get("seconds", history.spent.seconds),
        "tokens": summary.get("tokens", history.spent.tokens),
        "price_usd": summary.get("price_usd", history.spent.price_usd),
        "gain_in_search": searched(history),
        "gain_proved": history.outcome.get("gain"),
        "policy": summary.get("policy"),
    }


def run_document(history: RunHistory) -> dict[str, object]:
    """One run in full, texts included; prompts and answers are left to the raw events."""
    return {
        **listed(history),
        "title": history.title,
        "windows": dict(history.windows),
        "config": dict(history.run.config),
        "outcome": _said(history),
        "limits": asdict(history.limits) if history.limits else None,
        "generations": history.generations,
        "curve": [_step(history, step) for step in until_end(history)],
        "baselines": [_scored(one) for one in history.baselines],
        "candidates": [_scored(one) for one in history.scored],
        "winner": history.winner.digest if history.winner else None,
        "lineage": [
            {"policy": one.scored.digest, "beside": list(one.beside)} for one in lineage(history)
        ],
        "family": sorted(family(history)),
        "proposers": [asdict(line) for line in earned(history)],
        "finalists": [asdict(one) for one in history.finalists],
        "reasons": [asdict(reason) for reason in reasons(history)],
        "rejected": [asdict(one) for one in history.rejected],
        "models": [asdict(line) for line in called(history.calls)],
    }


def _said(history: RunHistory) -> dict[str, object]:
    told = ("outcome", "reason", "gain", "low", "high")
    return {name: history.outcome.get(name) for name in told}


def _step(history: RunHistory, step: Step) -> dict[str, object]:
    return {**asdict(step.spent), "score": step.score, "gain": gain_at(history, step),
            "leads": step.name, "generation": step.generation}  # fmt: skip


def _scored(one: Scored) -> dict[str, object]:
    spent = asdict(one.spent)
    return {**asdict(one), "spent": spent, "gain": one.gain}


def comparison_document(histories: Sequence[RunHistory]) -> dict[str, object]:
    """Runs side by side."""
    return {
        "runs": [listed(history) for history in histories],
        "differences": {name: list(values) for name, values in differences(histories)},
        "reached": [
            {"gain": gain, "spent": [_spent(history, gain) for history in histories]}
            for gain in GAINS
        ],
        "curves": [[_step(history, step) for step in until_end(history)] for history in histories],
    }


def _spent(history: RunHistory, gain: float) -> dict[str, object] | None:
    found = reached(history, gain)
    return asdict(found) if found is not None else None
