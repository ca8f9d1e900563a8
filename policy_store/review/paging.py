"""Lists in pages: one item more than a page holds is asked for, to know whether another follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def page_of(found: Sequence[Item], most: int) -> tuple[Sequence[Item], Item | None]:
    """The items of one page, and the last of them where another page follows.

    Args:
        found: up to `most` + 1 items.
    """
    return found[:most], found[most - 1] if len(found) > most else None
