"""The bounds under which a live policy is watched; every one is a setting."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from serving_adapter.errors import AdapterError


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveLimits:
    """Bounds in real seconds, counts and shares; `docs/live-safety.md` says what each is for.

    Attributes:
        poll_s: how often the watchdog looks.
        slow_p99_s: of processor time in a policy's call, over its latest `slow_decisions`. Wall
            time would blame the policy for a processor that others have taken away.
        slow_call_s: a single call with more processor time is late.
        slow_side_s: so is one that a side process did not answer within its deadline although it
            had this much processor time for it; without, the system did not let it run.
        slow_strikes_s: two late calls within it eject.
        hang_s: a call that has not returned after this wall time ejects, whatever comes of it.
        stall_s: a held request may be this old, or `stall_factor` times the control arm's p99
            wait if that is more, but never `stall_cap_s`.
        stall_idle_s: requests may be held this long while no engine has anything to do.
        share_factor: times the fair share of requests that one engine may get over `share_s`,
            once `share_requests` have been placed.
        kv_full, kv_free: one engine's KV use above the first while another's is below the second
            may last `kv_s`.
        starve_s: a tenant's usual wait must be longer than this, and `starve_factor` times that of
            other tenants for requests alike, among `starve_requests` of each within
            `starve_window_s`. One that sends over `starve_greed` times an equal part may wait, as
            long as it gets half an equal part.
        starve_engine_s: an engine may stand idle this long while others of its kind have a queue to
            which the policy has added `starve_requests` meanwhile.
        slo_ttft_s, slo_e2e_s: what the operator promises; 0 for nothing. Without both the SLO guard
            is off.
        slo_attainment: share of requests that keep it, of the last `slo_window_s`.
        pause_s: for longer than this the process stood still; waits that this made are nobody's,
            and nothing is judged by them for `settle_s`.
        clock_grace_s: for how long a wall clock that leapt forward is not believed.
        stale_s: age at which signals are stale, when those of every engine are that old.
        control_share: sessions that the control arm decides; 0 turns it off.
        control_epoch_s: after this long every session draws its arm anew.
        alpha: probability of ejecting a policy as worse that is not, ever; the SLO guard, where it
            is on, takes half of it.
        effect: how much worse than the control arm is still accepted.
        shadow_share: decisions on which the default policy is asked too.
        behind_s: for how long a process may run an older sequence than its host has admitted.
    """

    poll_s: float = 0.02
    slow_p99_s: float = 0.001
    slow_decisions: int = 1000
    slow_call_s: float = 0.02
    slow_side_s: float = 0.001
    slow_strikes_s: float = 60.0
    hang_s: float = 1.0
    stall_s: float = 5.0
    stall_factor: float = 3.0
    stall_cap_s: float = 30.0
    stall_idle_s: float = 1.0
    share_factor: float = 3.0
    share_s: float = 60.0
    share_requests: int = 100
    kv_full: float = 0.98
    kv_free: float = 0.5
    kv_s: float = 10.0
    starve_s: float = 2.0
    starve_factor: float = 5.0
    starve_requests: int = 10
    starve_window_s: float = 60.0
    starve_greed: float = 1.5
    starve_engine_s: float = 10.0
    slo_ttft_s: float = 0.0
    slo_e2e_s: float = 0.0
    slo_attainment: float = 0.9
    slo_window_s: float = 60.0
    pause_s: float = 0.5
    settle_s: float = 2.0
    clock_grace_s: float = 600.0
    stale_s: float = 2.0
    control_share: float = 0.05
    control_epoch_s: float = 600.0
    alpha: float = 0.01
    effect: float = 0.02
    shadow_share: float = 0.01
    behind_s: float = 1.0

    def __post_init__(self) -> None:
        for known in fields(self):
            value = getattr(self, known.name)
            if not 0 <= value < math.inf:
                raise AdapterError(f"{known.name} is {value}: give a number that is not negative.")
        if not (self.control_share <= 0.5 and 0 < self.alpha < 1 and self.poll_s > 0):
            raise AdapterError(
                "control_share is at most 0.5, alpha between 0 and 1 and poll_s above 0: "
                "correct the limits."
            )
        if self.slo_attainment > 1:
            raise AdapterError("slo_attainment is a share of requests: give it 1 at most.")

    @property
    def has_slo(self) -> bool:
        """Whether the operator promises anything."""
        return self.slo_ttft_s > 0 or self.slo_e2e_s > 0

    @property
    def proof(self) -> float:
        """The evidence at which a comparison with the control counts as proven."""
        return (2.0 if self.has_slo else 1.0) / self.alpha


UNWATCHED_ARM = LiveLimits(control_share=0.0)
"""The default bounds with every request decided by the active policy."""
