"""Finds the one policy in what a model answered, however much it talks around it."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from enum import StrEnum

from evolver.model_stream import MAX_REPLY_CHARACTERS
from sandbox import contract
from sandbox.language.trees import tree_of

MAX_POLICY_BYTES = 16 * 1024
MAX_IDEA_CHARACTERS = 120

HOOKS = frozenset(
    name
    for name, value in vars(contract).items()
    if callable(value) and not isinstance(value, type) and value.__module__ == contract.__name__
)
_ASCII = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2010": "-",
        "\u2011": "-",
        "\u2012": "-",
        "\u2013": "-",
        "\u2014": "-",
        "\u2212": "-",
        "\u00d7": "*",
        "\u2264": "<=",
        "\u2265": ">=",
        "\u2260": "!=",
        "\u2192": "->",
        "\u2026": "...",
        "\u00a0": " ",
        "\u202f": " ",
        "\ufeff": None,
        "\u200b": None,
    }
)
# Possessive: a long line that is no fence is else cut up in every way there is.
_FENCE = re.compile(r" {0,3}(`{3,}+|~{3,}+)\s*+([\w+-]*+)[^`]*+$")
_PYTHON = frozenset({"python", "py", "python3"})


class Flaw(StrEnum):
    """Why no policy could be taken from a reply."""

    EMPTY = "it is empty"
    NO_CODE = "it holds no fenced block of Python"
    SEVERAL = "it holds several policies, and one is wanted"
    UNCLOSED = "its code block never ends"
    CUT = "it was cut off at the token limit, so answer more briefly"
    TOO_LONG = "its policy is longer than 16 KiB"


class ReplyFlawed(ValueError):
    """The reply holds no usable policy; `flaw` says why, as part of a sentence."""

    def __init__(self, flaw: str) -> None:
        super().__init__(flaw)
        self.flaw = flaw


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a reply."""

    language: str
    text: str
    closed: bool


def policy_in(reply: str, *, cut: bool = False) -> str:
    """The policy's text in ASCII, ending in one newline; the verifier judges it, not we.

    Of several fenced blocks the only one that defines a hook counts; without any fence the whole
    reply counts when it is Python that defines a hook. A block may lack its end, unless the reply
    is known to be `cut` off.

    Raises:
        ReplyFlawed: no policy, or no single one.
    """
    text = plain(reply)
    if not text.strip():
        raise ReplyFlawed(Flaw.EMPTY)
    return checked_size(_chosen(blocks_in(text), text, cut))


def checked_size(policy: str) -> str:
    """The policy with one newline at its end.

    Raises:
        ReplyFlawed: it is longer than a policy may be.
    """
    policy = policy.strip("\n") + "\n"
    if len(policy) > MAX_POLICY_BYTES:
        raise ReplyFlawed(Flaw.TOO_LONG)
    return policy


def idea_of(policy: str) -> str:
    """First line of the policy's docstring, shortened; "" when there is none."""
    tree = _parsed(policy)
    claim = (ast.get_docstring(tree) or "") if tree else ""
    first = claim.strip().partition("\n")[0].strip()
    return first[:MAX_IDEA_CHARACTERS]


def blocks_in(text: str) -> list[Block]:
    """Every fenced block, in order; the last one may lack its end."""
    found: list[Block] = []
    fence, language, lines = "", "", list[str]()
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence and mark and mark[1].startswith(fence) and not mark[2]:
            found.append(Block(language, "\n".join(lines), True))
            fence, lines = "", []
        elif fence:
            lines.append(line)
        elif mark:
            fence, language = mark[1], mark[2].lower()
    if fence:
        found.append(Block(language, "\n".join(lines), False))
    return found


def _chosen(blocks: list[Block], text: str, cut: bool) -> str:
    """The text of the one block that counts."""
    candidates = [b for b in blocks if b.language in _PYTHON]
    candidates = candidates or [b for b in blocks if not b.language]
    if not candidates:
        if not cut and defines_hook(text):
            return text
        raise ReplyFlawed(Flaw.NO_CODE)
    if len(candidates) > 1:
        candidates = _without_repeats([b for b in candidates if defines_hook(b.text)])
        if len(candidates) != 1:
            raise ReplyFlawed(Flaw.SEVERAL if candidates else Flaw.NO_CODE)
    (block,) = candidates
    if not block.closed and (cut or not defines_hook(block.text)):
        raise ReplyFlawed(Flaw.UNCLOSED)
    return block.text


def _without_repeats(blocks: list[Block]) -> list[Block]:
    return list({block.text.strip(): block for block in blocks}.values())


def defines_hook(text: str) -> bool:
    """Whether the text is Python with a hook of the contract at its top level."""
    tree = _parsed(text)
    return tree is not None and any(
        isinstance(node, ast.FunctionDef) and node.name in HOOKS for node in tree.body
    )


def _parsed(text: str) -> ast.Module | None:
    try:
        return tree_of(text, foreign=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def plain(reply: str) -> str:
    """Without the model's visible thoughts; ASCII, with other characters as question marks."""
    text = reply[:MAX_REPLY_CHARACTERS].replace("\r\n", "\n").replace("\r", "\n")
    thoughts, end, rest = text.rpartition("</think>")
    if end and thoughts.lstrip().startswith("<think>"):
        text = rest
    text = text.translate(_ASCII)
    return "".join(c if c in "\n\t" or " " <= c <= "~" else "?" for c in text)
