"""What a policy is compared with line by line: the active one, its parent, any other."""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from policy_store.errors import StoreError
from policy_store.records import PolicyDetails
from policy_store.review.diff_view import Diff, Layout, diff_of
from policy_store.review.provenance import Provenance
from policy_store.review.situation import BUILT_IN
from policy_store.store import PolicyStore
from sandbox.changes import changes
from sandbox.errors import SandboxError
from sandbox.language.canonical import stripped, text_of
from sandbox.policies import default_source

ACTIVE, PARENT, DEFAULT = "active", "parent", "default"
Constants = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class View:
    """How a person wants to see a diff; the fields are those of an address."""

    against: str = ""
    layout: Layout = Layout.UNIFIED
    bare: bool = False
    window: str = ""

    def query(self, **changed: object) -> str:
        """The address of the same page seen otherwise; `None` leaves a field out."""
        fields = {
            "against": self.against, "view": self.layout.value, "comments": "hide" * self.bare,
            "window": self.window,
        } | changed  # fmt: skip
        usual = {"view": Layout.UNIFIED.value}
        return "?" + urlencode({k: v for k, v in fields.items() if v and usual.get(k) != v})


@dataclass(frozen=True, slots=True)
class Text:
    """One side of a comparison.

    Attributes:
        digest: of the stored version; None for one that is not in the store.
    """

    title: str
    text: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two texts and what differs.

    Attributes:
        sentence: from the syntax trees; empty where a side is no policy.
        constants: name, old and new value, where they differ; empty texts where there is none.
    """

    old: Text
    new: Text
    diff: Diff
    sentence: str
    constants: tuple[tuple[str, str, str], ...]


def side_of(details: PolicyDetails, title: str = "") -> Text:
    """A stored version as a side."""
    version = details.version
    return Text(title or version.name, details.source.text, version.parameters, version.digest)


def usual(details: PolicyDetails, active: str | None, provenance: Provenance | None) -> str:
    """What a policy is compared with unless somebody chooses."""
    if active != details.version.digest:
        return ACTIVE
    return PARENT if has_parent(details, provenance) else DEFAULT


def has_parent(details: PolicyDetails, provenance: Provenance | None) -> bool:
    """Whether the text that it was made from is kept anywhere."""
    return bool(details.version.parents) or bool(provenance and len(provenance.line) > 1)


def other_side(
    store: PolicyStore,
    details: PolicyDetails,
    active: str | None,
    provenance: Provenance | None,
    against: str,
) -> Text:
    """The text to compare with.

    Raises:
        StoreError: there is no such policy, or it is damaged.
    """
    if against == PARENT and details.version.parents:
        return side_of(store.show(details.version.parents[0]))
    if against == PARENT and provenance is not None and len(provenance.line) > 1:
        parent = provenance.line[1]
        return Text(parent.name, as_run(parent.text, parent.parameters))
    if against == DEFAULT or (against == ACTIVE and active is None):
        return Text(BUILT_IN, default_source().canonical, default_source().parameters())
    if against == PARENT:
        raise StoreError("What it was made from is not kept: compare it with another policy.")
    return side_of(store.show(active if against == ACTIVE and active else against))


def compared(old: Text, new: Text, bare: bool) -> Comparison:
    """What became of `old` in `new`."""
    return Comparison(
        old, new, diff_of(old.text, new.text, bare=bare),
        sentence_of(old.text, new.text, old.parameters, new.parameters),
        _constants(old.parameters, new.parameters),
    )  # fmt: skip


def sentence_of(old: str, new: str, before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """The change in plain words, from syntax trees alone; empty where one is no policy.

    Args:
        old, new: texts.
        before, after: their constants.
    """
    return _sentence(old, new, tuple(before.items()), tuple(after.items()))


@functools.lru_cache(maxsize=512)
def _sentence(old: str, new: str, before: Constants, after: Constants) -> str:
    """Texts do not change, and neither does what is said of them."""
    try:
        return changes(old, new, dict(before), dict(after)).sentence()
    except SandboxError:
        return ""


def as_run(text: str, parameters: Mapping[str, float]) -> str:
    """The canonical text of a candidate, its constants as they were set; else the text itself."""
    try:
        tree = stripped(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError, SandboxError):
        return text
    for node in tree.body:
        named = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if isinstance(node, ast.Assign) and named:
            name = getattr(node.targets[0], "id", "")
            if name in parameters:
                node.value = ast.copy_location(ast.Constant(parameters[name]), node.value)
    return text_of(tree)


def _constants(
    old: Mapping[str, float], new: Mapping[str, float]
) -> tuple[tuple[str, str, str], ...]:
    def shown(values: Mapping[str, float], name: str) -> str:
        return f"{values[name]:g}" if name in values else ""

    names = sorted({*old, *new})
    return tuple(
        (name, shown(old, name), shown(new, name))
        for name in names
        if old.get(name) != new.get(name)
    )
