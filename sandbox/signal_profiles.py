"""Signal profiles: what the door that a policy will run behind lets it know.

A policy is proved in a simulator that knows everything exactly; a live door fills fewer fields,
later, and with error. Under a profile the simulator shows what that door shows, so that evidence
speaks of what can be had live. See docs/signals.md.
"""

from __future__ import annotations

from collections.abc import Collection

from sandbox.errors import SandboxError
from sandbox.signal_doors import DOORS, FULL, SignalProfile

__all__ = [
    "FULL",
    "SignalProfile",
    "UnknownSignals",
    "fields_of_hooks",
    "missing_for",
    "objection_to",
    "richer",
    "signal_profile",
    "signal_profile_names",
]


class UnknownSignals(SandboxError):
    """There is no signal profile of that name; the message lists them."""


def signal_profile_names() -> tuple[str, ...]:
    """Every profile by name, the simulator's own first."""
    return tuple(DOORS)


def signal_profile(name: str) -> SignalProfile:
    """A profile by name.

    Raises:
        UnknownSignals: there is none.
    """
    if name not in DOORS:
        raise UnknownSignals(
            f"There is no signal profile {name!r}; give one of: {', '.join(DOORS)}."
        )
    return DOORS[name]


def fields_of_hooks(text: str, hooks: Collection[str]) -> frozenset[str]:
    """Record fields that these hooks of a policy read, as `Instance.kv_used_tokens`.

    Raises:
        PolicyRefused: the text is no policy.
    """
    from sandbox.outline import MEMORY, outline_of

    asked = [one.reads for name, one in outline_of(text).hooks.items() if name in hooks]
    return frozenset().union(*asked) - {MEMORY}


def missing_for(text: str, profile: SignalProfile) -> frozenset[str]:
    """Fields that a policy reads, in a hook that this door asks, and the door never fills.

    Raises:
        PolicyRefused: the text is no policy.
    """
    return fields_of_hooks(text, profile.hooks) & profile.missing


def richer(text: str, proved: SignalProfile, door: SignalProfile) -> frozenset[str]:
    """Fields that a policy reads behind this door, and had in its proof only.

    Raises:
        PolicyRefused: the text is no policy.
    """
    return missing_for(text, door) & proved.known


def objection_to(text: str, proved: str, door: SignalProfile) -> str:
    """Why a proof does not speak for a policy behind a door, in one sentence; empty when it does.

    Args:
        text: the policy's.
        proved: name of the profile that its evidence was made with.
        door: where it is to run.

    Raises:
        PolicyRefused: the text is no policy.
    """
    if proved not in DOORS:
        return f"It was proved with signals {proved[:64]!r}, which are not known here."
    fields = sorted(richer(text, DOORS[proved], door))
    if not fields:
        return ""
    return (
        f"It was proved with signals {proved}, and reads what the door {door.name} does not tell: "
        f"{', '.join(fields)}."
    )
