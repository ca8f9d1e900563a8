"""One thing to look at, drawn for each place of a batch, so that a model is not asked twice alike.

The list is made of what the problem exercises and of what the parent measured: hooks it leaves to
the default, where its time goes, windows that others win, constants at the end of their range,
signals it does not read yet. Equal seeds draw equal directions.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence

from evolver.archive import Member
from evolver.prompt_lines import harmless, number, percent
from evolver.proposer import ProposalRequest
from evolver.reference import hook_names, signals
from evolver.task import Tunable

HOOKS = "Hooks that count here"
SILENT = "Signals that say nothing here"
"""Lines of a description that begin so name the hooks to search, and the signals to leave out."""

EDGE = 0.03  # of its range within which a constant sits at the end of it
SIGNALS_NAMED = 3
_NAMES_ONLY = frozenset({"id", "seed", "request", "instance", "index", "keep"})  # tell nothing
CAUSES_NAMED = 3
WINDOWS_NAMED = 3
WORTH_A_TRY = 0.005  # a smaller loss on a window may be chance

CAUSES: Mapping[str, str] = {
    "waiting_mean_s": "waiting for the first token (queues, holding, other prompts)",
    "prefill_mean_s": "computing its own prompt (which engine, what is cached)",
    "decode_mean_s": "decoding as if alone (which shape, which GPU)",
    "slowed_mean_s": "decoding slower than alone (batch size, interference, transfers)",
    "preemption_mean_s": "decoding that preemption interrupted (KV pressure)",
}
"""Metrics that say where a request's time goes, in words."""

_FLEET = {
    "reconfiguration_s": "GPUs that load an engine (too many or too dear changes of the plan)",
    "scheduling_s": "GPUs that idle while a plan is computed (too much planning)",
}


def direction(request: ProposalRequest) -> str:
    """A direction and a few signals nobody reads yet, as a paragraph; the seed decides."""
    rng = random.Random(request.rng_seed)
    hooks = hooks_that_count(request)
    kinds = [found for kind in _KINDS if (found := kind(request, hooks))]
    chosen = rng.choice(rng.choice(kinds))
    about = [hook for hook in hooks if hook in _words(chosen)]
    unread = sorted(_unread(request, about or hooks))
    some = rng.sample(unread, min(SIGNALS_NAMED, len(unread)))
    end = "" if chosen.endswith((".", "?")) else "."
    names = f" Signals it does not read yet, among others: {', '.join(some)}." if some else ""
    return f"Look here first: {chosen}{end}{names}"


def _words(line: str) -> set[str]:
    """Names in a line, as `route` and `Instance.tp`."""
    return {word.strip(".") for word in re.findall(r"[\w.]+", line)}


def hooks_that_count(request: ProposalRequest) -> tuple[str, ...]:
    """Hooks that the description of the problem names; those of the parent where it names none."""
    feedback = request.feedback
    lines = (*feedback.setting_lines, *feedback.objective_text.splitlines())
    words = {word for line in lines if line.startswith(HOOKS) for word in _words(line)}
    named = tuple(hook for hook in hook_names() if hook in words)
    return named or tuple(_defined(request.parent))


def _defined(parent: Member) -> frozenset[str]:
    return frozenset(getattr(parent.program, "hooks", ()))


def _missing_hooks(request: ProposalRequest, hooks: Sequence[str]) -> list[str]:
    missing = [hook for hook in hooks if hook not in _defined(request.parent)]
    return [f"{hook}, which it leaves to the default policy; write one." for hook in missing]


def _own_hooks(request: ProposalRequest, hooks: Sequence[str]) -> list[str]:
    own = [hook for hook in hooks if hook in _defined(request.parent)]
    return [f"its {hook}; keep the rest and find a different rule for this one." for hook in own]


def _causes(request: ProposalRequest, _: Sequence[str]) -> list[str]:
    found = []
    for causes, whole in ((CAUSES, "e2e_mean_s"), (_FLEET, "total_s")):
        total = _mean(request.parent, whole)
        shares = {name: _mean(request.parent, name) / total for name in causes if total > 0.0}
        known = {name: share for name, share in shares.items() if share > 0.02}
        what = "the mean request's time" if whole == "e2e_mean_s" else "the GPUs' time"
        top = sorted(known, key=known.__getitem__, reverse=True)[:CAUSES_NAMED]
        found += [f"{percent(known[n])} of {what} goes into {causes[n]}." for n in top]
    return found


def _windows(request: ProposalRequest, _: Sequence[str]) -> list[str]:
    """Windows on which one of the other policies is best, the greatest loss first."""
    losses = {}
    for window, result in sorted(request.parent.results.items()):
        others = [o.results[window].objective for o in request.others if window in o.results]
        loss = 1.0 - min(others) / result.objective if others else 0.0
        if loss >= WORTH_A_TRY:
            losses[window] = loss
    worst = sorted(losses, key=losses.__getitem__, reverse=True)[:WINDOWS_NAMED]
    return [
        f"window {harmless(w, 40)}, where another policy takes {percent(losses[w])} less; find out "
        "what is special about it in the tables above."
        for w in worst
    ]


def _edges(request: ProposalRequest, _: Sequence[str]) -> list[str]:
    lines = []
    for tunable in request.parent.program.tunables:
        value = request.parent.parameters.get(tunable.name, tunable.value)
        end = _end(tunable, value)
        if end:
            lines.append(
                f"{tunable.name} was tuned to the {end} end of its range ({number(value)} of "
                f"{number(tunable.low)} .. {number(tunable.high)}): what it stands for should be "
                "stronger, gone, or said in another way."
            )
    return lines


def _end(tunable: Tunable, value: float) -> str:
    width = tunable.high - tunable.low
    if width <= 0.0:
        return ""
    if value - tunable.low <= EDGE * width:
        return "lower"
    return "upper" if tunable.high - value <= EDGE * width else ""


def _constants(request: ProposalRequest, _: Sequence[str]) -> list[str]:
    return [
        f"{tunable.name}: let something measured take its place, a signal or an average in memory, "
        "so that it fits every window."
        for tunable in request.parent.program.tunables
    ]


def _shape(request: ProposalRequest, _: Sequence[str]) -> list[str]:
    """Directions that need nothing but the text."""
    found = [
        "what could go. Say the same in fewer lines, drop terms that hardly change a decision, and "
        "spend what that frees on one idea that is missing.",
        "the requests that suffer most, not the mean one: what would have told them apart in time?",
        "what it decides when load is low and when it is high; it need not be the same rule.",
    ]
    if "memory[" not in request.parent.text:
        found.append("memory, which it does not use: what has happened lately foretells load.")
    return found


def _worked(request: ProposalRequest, _: Sequence[str]) -> list[str]:
    return [f"an idea that worked before: {harmless(idea)}" for idea in request.feedback.worked]


_KINDS: tuple[Callable[[ProposalRequest, Sequence[str]], list[str]], ...] = (
    _missing_hooks, _own_hooks, _causes, _windows, _edges, _constants, _shape, _worked,
)  # fmt: skip


def _unread(request: ProposalRequest, hooks: Sequence[str]) -> frozenset[str]:
    """Signals that these hooks could read, that say something here and the parent does not read."""
    read: frozenset[str] = getattr(request.parent.program, "fields_read", frozenset())
    known = {name for hook in hooks for name in signals(hook)} - read - _silent(request)
    return frozenset(name for name in known if name.partition(".")[2] not in _NAMES_ONLY)


def _silent(request: ProposalRequest) -> set[str]:
    """Names in lines such as `Signals that say nothing here, of Request: session, turn.`"""
    found = set[str]()
    for line in request.feedback.setting_lines:
        head, _, names = line.partition(":")
        if head.startswith(SILENT):
            record = head.rpartition(" ")[2]
            found.update(f"{record}.{name}" for name in _words(names))
    return found


def _mean(parent: Member, metric: str) -> float:
    values = [r.metrics.get(metric, math.nan) for _, r in sorted(parent.results.items())]
    known = [value for value in values if math.isfinite(value)]
    return math.fsum(known) / len(known) if known else 0.0
