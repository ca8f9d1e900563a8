"""Turns a proposal request into the messages a model reads, from templates and generated parts.

The system message is the same for a whole run, so that providers can cache it: contract, toolkit,
default policy and language as the code has them, then what the run is about. What differs from
place to place comes after it, the most volatile last: the parent, what it measured, what others
do, and one direction drawn from the request's seed.

The templates lie in `prompts/v<version>/`; a record of answers that a change makes stale is told by
`templates_digest`. Golden files show what a change does to a prompt; they are written anew by
`EVOLVER_UPDATE_GOLDEN=1 pytest tests/evolver/test_prompt.py`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from importlib import resources
from string import Template

from evolver.archive import Member
from evolver.corrections import Message, conversation
from evolver.directions import direction
from evolver.moves import Move
from evolver.prompt_lines import Cell, fenced, harmless, listed, number, percent, table
from evolver.proposer import Feedback, ProposalRequest
from evolver.reference import bounds, contract_text, default_policy_text, toolkit_text
from evolver.serving_evidence import difference

__all__ = [
    "PROMPT_VERSION",
    "Message",
    "messages_for",
    "system_text",
    "task_text",
    "templates_digest",
]

Lines = tuple[str, ...]

PROMPT_VERSION = 2
MAX_OTHERS = 2
MAX_OTHER_CHARACTERS = 6000  # a longer policy is no quick look
MAX_FAILED = 12
MAX_WORKED = 8
MAX_IDEA_CHARACTERS = 240
WORTH_A_WORD = 5e-4  # a smaller difference is none


def messages_for(request: ProposalRequest, move: Move = Move.REWRITE) -> list[Message]:
    """System message, task, and the earlier tries of this request with what was wrong with them."""
    if move is Move.CROSSOVER and not request.others:
        move = Move.REWRITE
    attempts = request.feedback.attempts
    drawn = direction(request)
    told = "" if attempts else drawn  # a later try's seed draws another one
    messages = [
        {"role": "system", "content": system_text(request.feedback)},
        {"role": "user", "content": task_text(request, move, told)},
    ]
    return messages + conversation(attempts, move, drawn, _fill)


def system_text(feedback: Feedback) -> str:
    """Reference and description of the run: the same for every request of a run."""
    lines = tuple(feedback.objective_text.splitlines())
    return _system(lines, feedback.setting_lines, feedback.window_lines)


@functools.lru_cache(maxsize=4)
def _system(objective: Lines, setting: Lines, window: Lines) -> str:
    run = _fill(
        "run",
        objective=listed(objective) or "- Lower is better.",
        setting=listed(setting) or "(not described)",
        window=listed(window) or "(not described)",
    )
    return _fill("system", **_reference(), run=run.strip())


@functools.cache
def templates_digest() -> str:
    """SHA-256 over all templates and over what the code contributes to every prompt.

    A record of answers made under another digest is answers to other questions.
    """
    digest = hashlib.sha256()
    for name in _template_names():
        digest.update(f"{name}\0{_template(name).template}\0".encode())
    for name, text in sorted(_reference().items()):
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


def _reference() -> dict[str, str]:
    return {
        "contract": contract_text(),
        "toolkit": toolkit_text(),
        "default": default_policy_text(),
        **bounds(),
    }


def task_text(request: ProposalRequest, move: Move, told: str = "") -> str:
    """Parent, its measurements, other policies, what worked and what did not, and the wish."""
    parent, feedback = request.parent, request.feedback
    return _fill(
        "task",
        score=number(parent.score),
        parent=fenced(parent.text),
        constants=listed(_constants(parent)) or "(none)",
        scores=listed(feedback.score_lines or _objectives(parent)),
        others=_others(request, move).rstrip(),
        worked=_ideas(feedback.worked, MAX_WORKED) or "(nothing is known yet)",
        failed=_ideas(feedback.tried_and_failed, MAX_FAILED) or "(nothing yet)",
        direction=told and f"\n{told}\n",
        move=_fill(move.value).strip(),
    )


def _ideas(lines: Sequence[str], most: int) -> str:
    """The leading ideas, each once."""
    return listed(harmless(line, MAX_IDEA_CHARACTERS) for line in [*dict.fromkeys(lines)][:most])


def _others(request: ProposalRequest, move: Move) -> str:
    if move is Move.CROSSOVER:
        return _second(request.parent, request.others[0])
    if move is Move.DIFF:
        return ""
    shown = [o for o in request.others if len(o.text) <= MAX_OTHER_CHARACTERS][:MAX_OTHERS]
    return "".join(
        _fill(
            "other",
            score=number(other.score),
            standing=_standing(request.parent, other),
            source=fenced(other.text),
        ).rstrip()
        for other in shown
    )


def _second(first: Member, second: Member) -> str:
    rows: list[tuple[Cell, ...]] = []
    heads = ("window", "A", "B", "better", "A less B where it is most, in seconds")
    for window in sorted(set(first.results) & set(second.results)):
        one, two = first.results[window], second.results[window]
        a, b = one.objective, two.objective
        rows.append((harmless(window, 40), a, b, _better(a, b), difference(one, two)))
    return _fill(
        "second",
        score=number(second.score),
        first_score=number(first.score),
        source=fenced(second.text),
        duel=listed(table(heads, rows)) or "(not on the same windows)",
    )


def _better(a: float, b: float) -> str:
    if abs(a / b - 1.0) < WORTH_A_WORD:
        return "equal"
    return f"A by {percent(1.0 - a / b)}" if a < b else f"B by {percent(1.0 - b / a)}"


def _standing(parent: Member, other: Member) -> str:
    """On how many windows the other one is better, and where most."""
    both = sorted(set(parent.results) & set(other.results))
    gains = {w: 1.0 - other.results[w].objective / parent.results[w].objective for w in both}
    wins = [w for w in both if gains[w] >= WORTH_A_WORD]
    if not wins:
        return "It is better on no window; it is here because it works in another way."
    most = max(wins, key=gains.__getitem__)
    return (
        f"It is better on {len(wins)} of {len(both)} windows, most on {harmless(most, 40)} "
        f"({percent(gains[most])})."
    )


def _constants(member: Member) -> Iterable[str]:
    for tunable in member.program.tunables:
        value = member.parameters.get(tunable.name, tunable.value)
        kind = ", whole" if tunable.integer else ""
        tuned = f", tuned to {number(value)}" if value != tunable.value else ""
        yield (
            f"{tunable.name} = {number(tunable.value)}{tuned} "
            f"({number(tunable.low)} .. {number(tunable.high)}{kind})"
        )


def _objectives(member: Member) -> tuple[str, ...]:
    """What a task without words of its own has to show."""
    rows = [
        (harmless(window, 40), result.objective, harmless(result.fault or "", 60))
        for window, result in sorted(member.results.items())
    ]
    return table(("window", "objective", "fault"), rows)


def _fill(name: str, **parts: str) -> str:
    return _template(name).substitute(parts)


def _template_names() -> list[str]:
    files = resources.files("evolver").joinpath("prompts", f"v{PROMPT_VERSION}").iterdir()
    return sorted(file.name.removesuffix(".md") for file in files if file.name.endswith(".md"))


@functools.cache
def _template(name: str) -> Template:
    folder = resources.files("evolver").joinpath("prompts", f"v{PROMPT_VERSION}")
    return Template(folder.joinpath(f"{name}.md").read_text(encoding="utf-8"))
