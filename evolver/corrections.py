"""What a model is told about a try that came to nothing: refused, faulty, a twin or unusable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from evolver.moves import Move
from evolver.prompt_lines import fenced, harmless, listed
from evolver.proposer import Attempt
from evolver.task import Refusal

MAX_REFUSALS = 12
HEAD_CHARACTERS, TAIL_CHARACTERS = 500, 3500  # of a reply: what it gives stands at its end
MAX_ATTEMPTS = 3  # the latest ones; each may be a whole file

Message = dict[str, str]
Fill = Callable[..., str]
"""Fills the template of this name with these parts."""

MENDS: Mapping[str, str] = MappingProxyType(
    {
        "fuel": (
            "A hook spent its fuel: loops within loops over instances, shapes or replicas cost "
            "most. Work out once what does not change within a loop, break early, and bound loops "
            "by what there is, not by what there could be."
        ),
        "zero-division": "It divided by zero: ratio(a, b, otherwise) says what to take then.",
        "index": (
            "It used an index out of range: rows can be fewer than thought, and there may be none "
            "(window.classes at the first plan, plan.replicas before it). Ask len() first, or loop."
        ),
        "overflow": (
            "An integer left the range of 2**53: something grows without end, or an infinity or a "
            "huge float was made an integer. Use clip() before int(), or stay with floats."
        ),
        "not-a-number": (
            "It made an integer of NaN, or passed NaN where a number is needed: signals can be "
            "missing and means over nothing are NaN. Ask is_missing(x) and say what counts then."
        ),
        "scratch": "It took more numbers for lists and zeros() than one call has (SCRATCH_FLOATS).",
        "other": (
            "It used a None as if it were there, changed a list while looping over it, or gave a "
            "toolkit function what it does not take, such as TP below 1."
        ),
        "invalid-decision": (
            "It answered what cannot be done. A route is the id of a row that was shown, HOLD or "
            "(not route_decode) REJECT. A plan has replicas of shapes that exist, takes no more "
            "GPUs than pool.present, and has roles that both prefill and decode."
        ),
        "timeout": (
            "It took too long by the clock: every decision does much work, or planners run far too "
            "often. Make hooks per request cheaper first."
        ),
        "memory": "Its process needed too much memory.",
        "crash": "Its process ended. Write it more plainly.",
        "refused": "It was not admitted where it was to run.",
    }
)
"""How to mend each fault that a simulation can report, by its name."""

_UNKNOWN = (
    "Look for inputs that the code does not expect: nothing running, missing signals, no rows."
)


def conversation(
    attempts: Sequence[Attempt], move: Move, direction: str, fill: Fill
) -> list[Message]:
    """The latest tries as the model's own words, each with what was wrong with it."""
    messages = list[Message]()
    first = max(len(attempts) - MAX_ATTEMPTS, 0)
    for index in range(first, len(attempts)):
        base = "your latest whole file above" if _has_file(attempts[first : index + 1]) else ""
        base = base or "the file of the policy to improve"
        whole = move is not Move.DIFF
        answer = fill("answer_whole") if whole else fill("answer_edits", base=base)
        messages.append({"role": "assistant", "content": _said(attempts[index], move)})
        told = direction if index == len(attempts) - 1 else ""
        wrong = _wrong(attempts[index], told, answer.strip(), fill)
        messages.append({"role": "user", "content": wrong})
    return messages


def _has_file(attempts: Sequence[Attempt]) -> bool:
    return any(not attempt.unusable for attempt in attempts)


def _said(attempt: Attempt, move: Move) -> str:
    if attempt.unusable:
        return _shortened(attempt.text) or "(nothing)"
    told = "With my edits the file is:\n\n" if move is Move.DIFF else ""
    return told + fenced(attempt.text)


def _shortened(reply: str) -> str:
    if len(reply) <= HEAD_CHARACTERS + TAIL_CHARACTERS:
        return reply
    return f"{reply[:HEAD_CHARACTERS]}\n[...]\n{reply[-TAIL_CHARACTERS:]}"


def _wrong(attempt: Attempt, direction: str, answer: str, fill: Fill) -> str:
    if attempt.unusable:
        return fill("repair_unusable", reason=harmless(attempt.unusable), answer=answer)
    if attempt.refusals:
        return fill("repair_refused", refusals=_refusals(attempt.refusals), answer=answer)
    if attempt.fault:
        fault = harmless(attempt.fault)
        return fill("repair_fault", fault=fault, mend=mend_of(attempt.fault), answer=answer)
    twin = harmless(attempt.twin, 80) or "an earlier candidate"
    told = direction and f"\n{direction}\n"
    return fill("repair_twin", twin=twin, direction=told, answer=answer)


def _refusals(refusals: Sequence[Refusal]) -> str:
    lines = [f"line {r.line}: {r.reason} {r.mend} [{r.code}]" for r in refusals[:MAX_REFUSALS]]
    if len(refusals) > MAX_REFUSALS:
        lines.append(f"and {len(refusals) - MAX_REFUSALS} more of the kind")
    return listed(lines)


def mend_of(fault: str) -> str:
    """What to do about a fault, by the first known name in it."""
    words = fault.replace(":", " ").replace(",", " ").split()
    return next((MENDS[word] for word in words if word in MENDS), _UNKNOWN)
