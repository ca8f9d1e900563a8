"""What decides now, as one immutable value: the policies in their places, under one sequence."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from serving_adapter.activation import Ready
from serving_adapter.decision import BUILT_IN_DIGEST, Author


@dataclass(frozen=True, slots=True)
class Live:
    """What decides now. `active` is None for the built-in default, and after an ejection.

    Attributes:
        expires_unix_s: when the statement that put the policies live ends, on the wall clock.
        canary: decides `weight` of the sessions.
        shadow: is asked beside what decides, and decides nothing.
    """

    sequence: int = 0
    active: Ready | None = None
    last_good: Ready | None = None
    expires_unix_s: float = math.inf
    canary: Ready | None = None
    weight: float = 0.0
    shadow: Ready | None = None

    @property
    def policies(self) -> tuple[Ready, ...]:
        """All in place, those that decide first, in the order in which they are asked."""
        places = (self.canary, self.active, self.last_good, self.shadow)
        return tuple(ready for ready in places if ready is not None)

    @property
    def chain(self) -> tuple[tuple[Author, Ready], ...]:
        """Who is asked for a request that no comparison takes elsewhere, one after the other."""
        places = ((Author.ACTIVE, self.active), (Author.LAST_GOOD, self.last_good))
        return tuple((author, ready) for author, ready in places if ready is not None)

    def without(self, digests: Collection[str]) -> Live:
        """The same without these policies, and the same object when there is none of them."""
        kept = {
            place: None if ready is not None and ready.digest in digests else ready
            for place, ready in (("active", self.active), ("last_good", self.last_good),
                                 ("canary", self.canary), ("shadow", self.shadow))
        }  # fmt: skip
        if all(getattr(self, place) is ready for place, ready in kept.items()):
            return self
        return Live(self.sequence, expires_unix_s=self.expires_unix_s, weight=self.weight, **kept)

    @property
    def deciding(self) -> Ready | None:
        """The first policy that will be asked."""
        return self.active or self.last_good

    @property
    def compared(self) -> Ready | None:
        """The policy that is compared with the control arm: one that really decides."""
        ready = self.canary or self.deciding
        return ready if ready is not None and ready.router is not None else None

    @property
    def digest(self) -> str:
        """Of the first policy that will be asked."""
        ready = self.deciding
        return ready.digest if ready else BUILT_IN_DIGEST
