"""Text that others wrote, shown as it is: nothing hides in it, runs backwards or goes on for ever.

Characters that cannot be seen, or that look like others, are followed or replaced by their number,
such as [U+202E]; long lines and long texts end with how much was left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from markupsafe import Markup, escape

MOST, LONGEST_LINE = 4096, 400  # characters of a text, and of one of its lines
STACKED = 2  # combining marks on one letter; more climb over the lines above

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters, marks and symbols that show as nothing.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_SELECTORS = re.compile("[\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_PLAIN = re.compile(r"[ -~\n\t]*")
_WORD = re.compile(r"\w+")


def seen(text: object, most: int = MOST) -> Markup:
    """A text of prose: names, claims, notes, reasons; letters of all scripts are welcome."""
    return cut(str(text), most, code=False)


def cut(text: str, most: int = LONGEST_LINE, *, code: bool) -> Markup:
    """A text no longer than a page bears; in code, no letter beyond ASCII goes unmarked."""
    kept, left = characters(text[:most], code=code), len(text) - most
    return kept + left_out(left) if left > 0 else kept


def left_out(count: int) -> Markup:
    """Says that characters are missing here."""
    return Markup('<span class="cut">[{} more characters]</span>').format(f"{count:,}")


def characters(text: str, *, code: bool) -> Markup:
    """The characters of a text, each of them to be seen."""
    if _PLAIN.fullmatch(text):
        return escape(text)
    return Markup("").join(_pieces(text, code=code))


def _pieces(text: str, *, code: bool) -> Iterator[Markup]:
    lookalikes = frozenset[int]() if code else _lookalikes(text)
    stacked = 0
    for place, char in enumerate(text):
        stacked = stacked + 1 if unicodedata.combining(char) else 0
        if "\x20" <= char <= "\x7e" or char in "\n\t":
            yield escape(char)
        elif _unseen(char) or stacked > STACKED:
            yield _odd(char, "")
        elif code or place in lookalikes:
            yield _odd(char, char)
        else:
            yield escape(char)


def _unseen(char: str) -> bool:
    category = unicodedata.category(char)
    odd_space = category == "Zs" and char != " "
    return category in _HIDDEN or odd_space or char in _BLANK or bool(_SELECTORS.match(char))


def _odd(char: str, shown: str) -> Markup:
    name = unicodedata.name(char, "a character without a name").lower()
    return Markup('<span class="odd" title="{}">{}[U+{:04X}]</span>').format(name, shown, ord(char))


def _lookalikes(text: str) -> frozenset[int]:
    """Places of letters that stand for others: styled ASCII, or a second script in a Latin word."""
    found = set()
    for word in _WORD.finditer(text):
        scripts = {place: _script(text[place]) for place in range(*word.span())}
        mixed = "LATIN" in scripts.values()
        for place, script in scripts.items():
            alien = mixed and script not in ("LATIN", "")
            styled = not text[place].isascii() and unicodedata.normalize("NFKC", text[place])
            if alien or (styled and styled.isascii() and styled.isalnum()):
                found.add(place)
    return frozenset(found)


def _script(char: str) -> str:
    """The first word of a letter's name, which is its script for those that can be confused."""
    return unicodedata.name(char, "").split(" ")[0] if char.isalpha() else ""
