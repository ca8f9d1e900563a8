"""What really changed between two policies, found in their syntax trees alone.

Names of variables and helpers, comments, docstrings and the order of definitions are no change.
Where a hook is left out the built-in default's stands in for it, on either side.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from sandbox.change_words import number, sentence_of
from sandbox.language.kinds import hooks as contract_hooks
from sandbox.outline import HookOutline, Outline, Size, outline_of
from sandbox.policies import default_text


class ChangeKind(StrEnum):
    """How far a change goes."""

    NONE = "none"
    CONSTANTS = "constants"  # the same code with other values of its module constants
    STRUCTURE = "structure"


@dataclass(frozen=True, slots=True)
class Moved:
    """A module constant with another value; `hooks` are those that use it now."""

    name: str
    old: float
    new: float
    hooks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HookChange:
    """A hook that decides otherwise.

    Attributes:
        was_default, is_default: the policy left it to the built-in default, or does now.
        reads, reads_no_more: record fields, as `Instance.kv_used_tokens`, and `memory`.
        calls, calls_no_more: functions of the toolkit.
        numbers: written in the code, old and new, when nothing else in the code differs.
        before, after: of the hook with its helpers.
    """

    hook: str
    was_default: bool
    is_default: bool
    reads: tuple[str, ...]
    reads_no_more: tuple[str, ...]
    calls: tuple[str, ...]
    calls_no_more: tuple[str, ...]
    numbers: tuple[tuple[float, float], ...]
    before: Size
    after: Size


@dataclass(frozen=True, slots=True)
class Change:
    """Everything that differs between an old and a new policy.

    Attributes:
        hooks: those that decide otherwise, in the contract's order.
        moved: module constants on both sides with other values, parameters set apart included.
        constants_added, constants_removed: name and value, as text, of the others.
        tables_changed: names of tables, flags and computed constants that are made otherwise.
        reads, reads_no_more: fields that the policy as a whole reads now, or read before only.
        calls, calls_no_more: the same for the toolkit's functions.
        changed_before, changed_after: size of the hooks that changed, helpers counted once.
        before, after: size of both policies as written.
    """

    kind: ChangeKind
    hooks: tuple[HookChange, ...]
    moved: tuple[Moved, ...]
    constants_added: tuple[tuple[str, str], ...]
    constants_removed: tuple[tuple[str, str], ...]
    tables_changed: tuple[str, ...]
    reads: tuple[str, ...]
    reads_no_more: tuple[str, ...]
    calls: tuple[str, ...]
    calls_no_more: tuple[str, ...]
    changed_before: Size
    changed_after: Size
    before: Size
    after: Size

    @property
    def hooks_added(self) -> tuple[str, ...]:
        """Hooks that the default decided before."""
        return tuple(one.hook for one in self.hooks if one.was_default and not one.is_default)

    @property
    def hooks_removed(self) -> tuple[str, ...]:
        """Hooks that the default decides now."""
        return tuple(one.hook for one in self.hooks if one.is_default and not one.was_default)

    @property
    def hooks_changed(self) -> tuple[str, ...]:
        """Hooks that the policy has on both sides."""
        return tuple(one.hook for one in self.hooks if one.is_default == one.was_default)

    def sentence(self) -> str:
        """One to three plain sentences, in words that no policy can choose but for names."""
        return sentence_of(self)

    def as_data(self) -> dict[str, object]:
        """The change as plain JSON values, its sentence included."""
        return {**asdict(self), "kind": self.kind.value, "sentence": self.sentence()}


@dataclass(frozen=True, slots=True)
class _Side:
    """One policy with the default's hooks where it has none of its own.

    Attributes:
        values: of its own constants that a tuner may move.
        uses: for each hook its constants by name, of whoever wrote the hook; text where they are
            computed, tables or flags.
    """

    own: Outline
    hooks: Mapping[str, HookOutline]
    values: Mapping[str, float]
    uses: Mapping[str, Mapping[str, float | str]]

    @classmethod
    def of(cls, text: str | None, parameters: Mapping[str, float] | None) -> _Side:
        default = outline_of(default_text())
        own = default if text is None else outline_of(text)
        hooks = {name: own.hooks.get(name, default.hooks[name]) for name in contract_hooks()}
        mine, defaults = _values(own, parameters or {}), _values(default, {})
        uses = {
            name: _used(hook, own.derived, mine)
            if name in own.hooks
            else _used(hook, default.derived, defaults)
            for name, hook in hooks.items()
        }
        return cls(own, hooks, mine, uses)

    @property
    def constants(self) -> frozenset[tuple[str, float | str]]:
        """Every constant that any hook uses, with its value."""
        return frozenset(one for used in self.uses.values() for one in used.items())

    def users(self, name: str, value: float) -> tuple[str, ...]:
        """Hooks that use a constant of this value."""
        return tuple(hook for hook, used in self.uses.items() if used.get(name) == value)

    def all_reads(self) -> frozenset[str]:
        """Fields that any hook reads."""
        return frozenset().union(*(hook.reads for hook in self.hooks.values()))

    def all_tools(self) -> frozenset[str]:
        """Toolkit functions that any hook calls."""
        return frozenset().union(*(hook.tools for hook in self.hooks.values()))


def _values(outline: Outline, given: Mapping[str, float]) -> dict[str, float]:
    return {name: float(given.get(name, one.value)) for name, one in outline.constants.items()}


def _used(
    hook: HookOutline, derived: Mapping[str, str], values: Mapping[str, float]
) -> dict[str, float | str]:
    return {
        name: values[name] if name in values else derived[name] for name in sorted(hook.constants)
    }


def changes(
    old: str | None,
    new: str | None,
    old_parameters: Mapping[str, float] | None = None,
    new_parameters: Mapping[str, float] | None = None,
) -> Change:
    """What became of `old` in `new`; None is the built-in default.

    Args:
        old, new: source texts, canonical or as written.
        old_parameters, new_parameters: values set apart from the texts.

    Raises:
        PolicyRefused: a text is no policy.
    """
    before, after = _Side.of(old, old_parameters), _Side.of(new, new_parameters)
    hooks = tuple(
        _hook_change(name, before, after)
        for name in before.hooks
        if before.hooks[name].fingerprint != after.hooks[name].fingerprint
    )
    changed = [one.hook for one in hooks]
    moved = _moved(before, after)
    tables = {
        name
        for hook, used in before.uses.items()
        for name, value in used.items()
        if isinstance(value, str) and after.uses[hook].get(name, value) != value
    }
    told = {one.name for one in moved} | tables
    added, removed = _named(before, after, told), _named(after, before, told)
    kind = ChangeKind.STRUCTURE if hooks else ChangeKind.CONSTANTS if moved else ChangeKind.NONE
    return Change(
        kind, hooks, moved, added, removed, tuple(sorted(tables)),
        *_both_ways(before.all_reads(), after.all_reads()),
        *_both_ways(before.all_tools(), after.all_tools()),
        _size(before, changed), _size(after, changed), before.own.size, after.own.size,
    )  # fmt: skip


def _hook_change(name: str, before: _Side, after: _Side) -> HookChange:
    old, new = before.hooks[name], after.hooks[name]
    numbers = zip(old.numbers, new.numbers, strict=True) if old.shape == new.shape else ()
    return HookChange(
        name, name not in before.own.hooks, name not in after.own.hooks,
        *_both_ways(old.reads, new.reads), *_both_ways(old.tools, new.tools),
        tuple(pair for pair in numbers if pair[0] != pair[1]), old.size, new.size,
    )  # fmt: skip


def _both_ways(
    old: Collection[str], new: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is in `new` only, then what is in `old` only."""
    return tuple(sorted(set(new) - set(old))), tuple(sorted(set(old) - set(new)))


def _moved(before: _Side, after: _Side) -> tuple[Moved, ...]:
    """A name is one constant on both sides when both policies define it, or a hook uses both."""
    pairs = {
        (name, before.values[name], after.values[name])
        for name in before.values.keys() & after.values.keys()
    }
    for hook, used in before.uses.items():
        for name in used.keys() & after.uses[hook].keys():
            old, new = used[name], after.uses[hook][name]
            if isinstance(old, float) and isinstance(new, float):
                pairs.add((name, old, new))
    return tuple(
        Moved(name, old, new, after.users(name, new))
        for name, old, new in sorted(pairs)
        if old != new
    )


def _named(before: _Side, after: _Side, told: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Constants of `after` that `before` does not have; the other way round, those removed."""
    fresh = sorted(after.constants - before.constants, key=lambda one: one[0])
    return tuple(
        (name, value if isinstance(value, str) else number(value))
        for name, value in fresh
        if name not in told
    )


def _size(side: _Side, hooks: Iterable[str]) -> Size:
    parts = frozenset().union(*(side.hooks[name].parts for name in hooks))
    return sum((size for _, size in parts), Size())
