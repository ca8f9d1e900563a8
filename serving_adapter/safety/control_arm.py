"""The arms of a comparison: sessions that the policy decides, and as it were without it.

The live policy is compared with what comes after it on a small share of sessions. A canary decides
a share itself and is compared with the active policy on another one of equal size. Which arm a
session is in follows from its number and, without a canary, the epoch of its arrival, so it stays
the same for all decisions of a request and, within an epoch, for the whole session. The arms run at
the same time over the same engines; only the first answer of a session in an epoch is an
observation, because the draw of the arm is per session and epoch.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from serving_adapter.decision import Arm
from serving_adapter.facts import RequestFacts
from serving_adapter.request_log import RequestOutcome, RequestRecord

_MASK = 2**64 - 1
_EPOCH = 0xD6E8FEB86659FD93  # odd, so that no two epochs draw alike


@dataclass(frozen=True, slots=True)
class Observation:
    """What became of one request.

    Attributes:
        unit: what drew the arm; see `unit_of`.
        digest: of the policy under comparison when the request was decided.
        failed: refused or not answered in full, and not by the client's doing.
        ttft_s: NaN where there is none to speak of.
        at_s: when it ended, on the host's clock.
    """

    arm: Arm
    unit: int
    digest: str
    failed: bool
    ttft_s: float
    e2e_s: float
    at_s: float = 0.0


def unit_of(facts: RequestFacts, epoch_s: float) -> int:
    """64 bits that are the same for what shares an arm: a session in one epoch, or one request."""
    if facts.session < 0:
        (bits,) = struct.unpack("<Q", struct.pack("<d", facts.arrived_s))
        return _mixed(_mixed(bits) ^ facts.prefix_key & _MASK)
    epoch = int(facts.arrived_s // epoch_s) if epoch_s > 0 else 0
    return _mixed(facts.session ^ epoch * _EPOCH & _MASK)


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of all sessions each arm gets; together at most 1."""

    policy: float
    control: float

    @property
    def of_control(self) -> float:
        """The control's share of what is compared."""
        return self.control / (self.policy + self.control)

    def arm(self, unit: int) -> Arm:
        """The arm that a unit draws.

        The arms are at the two ends, so a canary that gets more keeps the sessions that it has.
        """
        place = unit / 2.0**64
        if place < self.control:
            return Arm.CONTROL
        return Arm.POLICY if place >= 1.0 - self.policy else Arm.NONE


def shares_of(weight: float | None, control: float) -> Shares:
    """The arms beside a canary of that weight (None: without one), when `control` is usual.

    Nothing is compared without a control, so a canary that decides everything is watched for all
    but its outcomes.
    """
    if weight is None:
        return Shares(1.0 - control, control)
    return Shares(weight, min(weight, 1.0 - weight))


def _mixed(value: int) -> int:
    """SplitMix64's finalizer (Steele, Lea, Flood, OOPSLA 2014): equidistributed 64 bits."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


def observation_of(
    facts: RequestFacts, record: RequestRecord, epoch_s: float
) -> Observation | None:
    """What a request that has ended says about its arm; None when it says nothing.

    What the client did (leaving, asking for what no engine accepts) is no policy's doing.
    """
    untold = (RequestOutcome.ABANDONED, RequestOutcome.CLIENT_ERROR)
    if record.arm is Arm.NONE or record.outcome in untold:
        return None
    return Observation(
        arm=record.arm,
        unit=unit_of(facts, epoch_s),
        digest=record.compared,
        failed=record.outcome is not RequestOutcome.OK,
        ttft_s=record.ttft_s if record.stream else math.nan,
        e2e_s=record.e2e_s,
        at_s=facts.arrived_s + record.e2e_s,
    )
