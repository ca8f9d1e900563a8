"""Applies the SEARCH/REPLACE blocks of a reply to a policy: each fits exactly once, or none counts.

    <<<<<<< SEARCH
    lines of the policy as they are
    =======
    what stands there instead
    >>>>>>> REPLACE

All blocks speak of the same text, the one that the model was shown. A block's lines are looked for
as they are, then without regard to white space at the ends and between words; the replacement is
indented as far as what it replaces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from evolver.corrections import MAX_ATTEMPTS
from evolver.proposer import ProposalRequest
from evolver.reply import Flaw, ReplyFlawed, checked_size, defines_hook, plain, policy_in

MAX_BLOCKS = 40
MAX_DIVIDERS = 8  # of one block: each may be the one that counts, and a policy may hold some itself
_SEARCH = re.compile(r" {0,3}<{5,9} ?SEARCH\s*$")
_DIVIDER = re.compile(r" {0,3}={5,9}\s*$")
_REPLACE = re.compile(r" {0,3}>{5,9} ?REPLACE\s*$")


@dataclass(frozen=True, slots=True)
class Edit:
    """One block: the lines between its marks, dividers included; `dividers` are their places."""

    lines: tuple[str, ...]
    dividers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Change:
    """Lines from `start` to before `stop` become `lines`; `block` is the edit's number."""

    start: int
    stop: int
    lines: tuple[str, ...]
    block: int


def edited_text(request: ProposalRequest) -> str:
    """The text that edits are made to: of the latest shown try that was one, else the parent's."""
    shown = request.feedback.attempts[-MAX_ATTEMPTS:]
    tries = [attempt.text for attempt in shown if not attempt.unusable]
    return tries[-1] if tries else request.parent.text


def policy_from_edits(reply: str, text: str, *, cut: bool = False) -> str:
    """The policy that a reply's blocks make of `text`; a reply may also give a whole policy.

    Args:
        reply: of the model.
        text: what the model was shown.
        cut: the reply is known to lack its end.

    Raises:
        ReplyFlawed: a block does not fit exactly once, or there is neither block nor policy.
    """
    edits = edits_in(plain(reply))
    if not edits:
        return _whole_policy(reply, cut)
    if cut:
        raise ReplyFlawed(Flaw.CUT)
    if len(edits) > MAX_BLOCKS:
        raise ReplyFlawed(f"it has more than {MAX_BLOCKS} edits; give the whole policy instead")
    if len(edits) == 1 and (policy := _new_file(edits[0])):
        return checked_size(policy)
    lines = plain(text).split("\n")
    changes = sorted(
        (_change(edit, lines, number) for number, edit in enumerate(edits, 1)),
        key=lambda change: (change.start, change.stop),
    )
    return checked_size("\n".join(_applied(changes, lines)))


def edits_in(reply: str) -> list[Edit]:
    """Every SEARCH/REPLACE block, in order.

    Raises:
        ReplyFlawed: a block lacks its divider or its end.
    """
    edits = list[Edit]()
    block: list[str] | None = None
    for line in reply.split("\n"):
        if _SEARCH.match(line):
            if block is not None:
                break
            block = []
        elif block is not None and _REPLACE.match(line):
            edits.append(_edit(block, len(edits) + 1))
            block = None
        elif block is not None:
            block.append(line)
    if block is not None:
        raise ReplyFlawed(f"edit {len(edits) + 1} lacks its line >>>>>>> REPLACE")
    return edits


def _edit(lines: Sequence[str], number: int) -> Edit:
    dividers = tuple(place for place, line in enumerate(lines) if _DIVIDER.match(line))
    if not dividers:
        raise ReplyFlawed(f"edit {number} lacks its line ======= between old and new")
    if len(dividers) > MAX_DIVIDERS:
        raise ReplyFlawed(f"edit {number} has {len(dividers)} lines =======, and one is wanted")
    return Edit(tuple(lines), dividers)


def _whole_policy(reply: str, cut: bool) -> str:
    try:
        return policy_in(reply, cut=cut)
    except ReplyFlawed as flawed:
        if flawed.flaw is not Flaw.NO_CODE:
            raise
        raise ReplyFlawed("it holds neither SEARCH/REPLACE blocks nor a policy") from None


def _new_file(edit: Edit) -> str:
    """The replacement of an edit that searches for nothing, when it is a policy by itself."""
    before = edit.lines[: edit.dividers[0]]
    after = "\n".join(edit.lines[edit.dividers[0] + 1 :]).strip("\n") + "\n"
    return after if not any(line.strip() for line in before) and defines_hook(after) else ""


def _change(edit: Edit, lines: Sequence[str], number: int) -> _Change:
    """Where an edit goes; of several dividers that one counts whose old lines are in the text."""
    found = [
        _Change(*place, number)
        for divider in edit.dividers
        for place in _places(edit.lines[:divider], edit.lines[divider + 1 :], lines)
    ]
    if len(found) == 1:
        return found[0]
    if not any(line.strip() for line in edit.lines[: edit.dividers[0]]):
        raise ReplyFlawed(f"edit {number} searches for nothing; quote the lines that it replaces")
    if found:
        raise ReplyFlawed(
            f"the lines that edit {number} searches for stand in {len(found)} places; quote more "
            "lines around them"
        )
    raise ReplyFlawed(
        f"the lines that edit {number} searches for are not in the policy; quote them as they are"
    )


_Place = tuple[int, int, tuple[str, ...]]


def _places(old: Sequence[str], new: Sequence[str], lines: Sequence[str]) -> list[_Place]:
    """Every place where the old lines stand, with the new lines as they go there."""
    if not any(line.strip() for line in old):
        return []
    starts = range(len(lines) - len(old) + 1)
    exact = [at for at in starts if list(lines[at : at + len(old)]) == list(old)]
    if exact:
        return [(at, at + len(old), tuple(new)) for at in exact]
    return _near_places(_trimmed(old), _trimmed(new), lines)


def _near_places(old: Sequence[str], new: Sequence[str], lines: Sequence[str]) -> list[_Place]:
    """As `_places`, for lines that are equal but for white space, evenly shifted."""
    wanted = [_words(line) for line in old]
    words = [_words(line) for line in lines]
    found = list[_Place]()
    for at in range(len(lines) - len(old) + 1):
        if words[at : at + len(old)] == wanted:
            shifts = {
                _indent(line) - _indent(was)
                for line, was in zip(lines[at:], old, strict=False)
                if was.strip()
            }
            if len(shifts) == 1 and (moved := _shifted(new, shifts.pop())) is not None:
                found.append((at, at + len(old), moved))
    return found


def _applied(changes: Sequence[_Change], lines: Sequence[str]) -> list[str]:
    out, done, last = list[str](), 0, 0
    for change in changes:
        if change.start < done:
            raise ReplyFlawed(f"edits {last} and {change.block} change the same lines; join them")
        out += [*lines[done : change.start], *change.lines]
        done, last = change.stop, change.block
    return [*out, *lines[done:]]


def _trimmed(lines: Sequence[str]) -> list[str]:
    """Without blank lines at both ends."""
    full = [place for place, line in enumerate(lines) if line.strip()]
    return list(lines[full[0] : full[-1] + 1]) if full else []


def _shifted(lines: Sequence[str], by: int) -> tuple[str, ...] | None:
    """The lines moved right, or left where each has the room."""
    if any(_indent(line) + by < 0 for line in lines if line.strip()):
        return None
    return tuple(
        " " * (_indent(line) + by) + line.lstrip() if line.strip() else "" for line in lines
    )


def _words(line: str) -> tuple[str, ...]:
    return tuple(line.split())


def _indent(line: str) -> int:
    wide = line.expandtabs(4)
    return len(wide) - len(wide.lstrip())
