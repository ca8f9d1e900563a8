"""Why a policy is taken out: the eleven kinds, and the record of one ejection.

Every kind but `STALE` is latched: the policy stays out on this host until a person enables it
again. Stale signals are no policy's fault, so what decided before decides again once they are
fresh; the event is counted and dumped like the others.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

MAX_REASON_CHARS = 200


class EjectionKind(StrEnum):
    """What was wrong; `docs/live-safety.md` has the triggers, bounds and reactions."""

    ERROR = "error"
    SLOW = "slow"
    STALL = "stall"
    CRASH = "crash"
    IMBALANCE = "imbalance"
    STARVATION = "starvation"
    REGRESS = "regress"
    SLO = "slo"
    STALE = "stale"
    OPERATOR = "operator"
    EXPIRED = "expired"

    @property
    def latched(self) -> bool:
        """Whether only a person lets the policy back in."""
        return self is not EjectionKind.STALE


@dataclass(frozen=True, slots=True)
class Ejection:
    """One ejection.

    Attributes:
        reason: what was seen, in this program's own words and numbers.
        digest: of the policy that was taken out; of the built-in one when none decided.
        sequence: the snapshot sequence under which it ran.
        number: this host's latest decision.
        enable_seq: how often a policy went live on this host before.
        unix_s: wall-clock time.
    """

    kind: EjectionKind
    reason: str
    digest: str
    sequence: int
    number: int
    enable_seq: int
    unix_s: float

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


def read_ejection(text: str, digest: str) -> Ejection:
    """The ejection in a latch file; one that does not parse is an operator's, for safety.

    Args:
        text: the file's contents.
        digest: what its name says; the contents are not believed about it.
    """
    try:
        body = json.loads(text)
        return Ejection(
            kind=EjectionKind(body["kind"]),
            reason=_shown(str(body["reason"])[:MAX_REASON_CHARS]),
            digest=digest,
            sequence=int(body["sequence"]),
            number=int(body["number"]),
            enable_seq=int(body["enable_seq"]),
            unix_s=float(body["unix_s"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return Ejection(EjectionKind.OPERATOR, "a latch that does not parse", digest, 0, 0, 0, 0.0)


def _shown(reason: str) -> str:
    """Without what would steer a terminal, or cannot be printed."""
    return "".join(one if one.isascii() and one.isprintable() else "?" for one in reason)
