"""A change between two policies in one to three plain sentences."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from sandbox.outline import Size

if TYPE_CHECKING:
    from sandbox.changes import Change, HookChange, Moved

MOST_NAMES = 4  # of each kind; the rest is counted
NUMERALS = ("no", "one", "two", "three", "four", "five", "six")
SAME = "Nothing that decides changed; only names, comments or their order can differ."


def sentence_of(change: Change) -> str:
    """The sentences that a person reads before the diff."""
    if not change.hooks:
        return _constants_only(change.moved) if change.moved else SAME
    said = _one_hook(change) if len(change.hooks) == 1 else _several_hooks(change)
    if change.moved:
        said += f" {_upper(listed(_moves(change.moved)))}."
    return said


def number(value: float) -> str:
    """A number as short as it can be without becoming another one."""
    return next(
        (text for digits in (4, 6, 9) if float(text := f"{value:.{digits}g}") == value),
        repr(value),
    )


def listed(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """Names in a row, with `and` before the last; those beyond `most` are counted."""
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _constants_only(moved: Sequence[Moved]) -> str:
    if len(moved) == 1:
        one = moved[0]
        return f"Only {one.name} moved, from {number(one.old)} to {number(one.new)}."
    return f"Only constants moved: {listed(_moves(moved, ''))}."


def _moves(moved: Sequence[Moved], verb: str = "moved ") -> list[str]:
    return [f"{one.name} {verb}from {number(one.old)} to {number(one.new)}" for one in moved]


def _one_hook(change: Change) -> str:
    hook = change.hooks[0]
    clauses = [_deed(hook), *_size(hook.before, hook.after), *_constants(change)]
    return f"{'; '.join(clauses)}."


def _deed(hook: HookChange) -> str:
    """What became of a hook, in one clause or two."""
    reads = _gained(hook.reads, hook.reads_no_more, "reads")
    calls = _gained(hook.calls, hook.calls_no_more, "calls")
    both = f"{reads}, and {calls}" if reads and calls else reads or calls
    if hook.is_default and not hook.was_default:
        return f"{hook.hook} is left to the built-in default now" + (both and f": it {both}")
    if hook.was_default and not hook.is_default:
        head = f"{hook.hook} is the policy's own now, no longer the built-in default's"
        return head + (both and f": it {both}")
    if hook.numbers:
        pairs = [f"{number(old)} is now {number(new)}" for old, new in hook.numbers]
        pairs = list(dict.fromkeys(pairs))
        what = "another number" if len(pairs) == 1 else "other numbers"
        return f"{hook.hook} has {what} in its code: {listed(pairs)}"
    return f"{hook.hook} {both or 'reads the same fields and decides otherwise'}"


def _gained(new: Sequence[str], old: Sequence[str], verb: str) -> str:
    names, gone = _fields(new, (*new, *old)), _fields(old, (*new, *old))
    if names and gone:
        return f"now also {verb} {listed(names)} and no longer {listed(gone)}"
    if names:
        return f"now also {verb} {listed(names)}"
    return f"no longer {verb} {listed(gone)}" if gone else ""


def _fields(names: Sequence[str], beside: Collection[str]) -> list[str]:
    """Fields without their record, but where two records have one of that name."""
    bare = [name.rpartition(".")[2] for name in beside]
    return [
        name if bare.count(name.rpartition(".")[2]) > 1 else name.rpartition(".")[2]
        for name in names
    ]


def _several_hooks(change: Change) -> str:
    said = []
    if change.hooks_changed:
        said.append(f"{listed(change.hooks_changed, 11)} changed")
    if change.hooks_added:
        verb = "is" if len(change.hooks_added) == 1 else "are"
        said.append(
            f"{listed(change.hooks_added, 11)} {verb} the policy's own now, no longer the "
            "built-in default's"
        )
    if change.hooks_removed:
        verb = "is" if len(change.hooks_removed) == 1 else "are"
        said.append(f"{listed(change.hooks_removed, 11)} {verb} left to the built-in default now")
    reads = _gained(change.reads, change.reads_no_more, "reads")
    reads = reads or "reads the same fields in all"
    sizes = _size(change.changed_before, change.changed_after)
    rest = "; ".join([reads, *sizes, *_constants(change)])
    return f"{'; '.join(said)}. The policy {rest}."


def _size(old: Size, new: Size) -> list[str]:
    same = old.lines == new.lines
    lines = f"still {old.lines} lines" if same else f"{old.lines} to {new.lines} lines"
    counts = [_count(new.loops - old.loops, "loop", "loops"),
              _count(new.branches - old.branches, "branch", "branches")]  # fmt: skip
    return [", ".join([lines, *(count for count in counts if count)])]


def _count(more: int, one: str, many: str) -> str:
    if not more:
        return ""
    size = abs(more)
    word = NUMERALS[size] if size < len(NUMERALS) else str(size)
    return f"{word} {'more' if more > 0 else 'fewer'} {one if size == 1 else many}"


def _constants(change: Change) -> list[str]:
    said = []
    if change.constants_added:
        names = [f"{name} ({_short(text)})" for name, text in change.constants_added]
        said.append(f"new constant{'s' if len(names) > 1 else ''} {listed(names)}")
    else:
        said.append("no new constant")
    if change.constants_removed:
        said.append(f"no more {listed([name for name, _ in change.constants_removed])}")
    if change.tables_changed:
        said.append(f"another value of {listed(change.tables_changed)}")
    return said


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:21]}..."


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
