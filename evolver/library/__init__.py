"""Policies people wrote: the baselines to beat and the systems of the field, one file each.

The files are written in the language of `sandbox/contract.py`; they are data to this package,
read as text and verified like any other policy, never imported.
"""

from __future__ import annotations

from importlib import resources

__all__ = ["baselines", "names", "read", "systems"]

_BASELINES = (
    "round_robin",
    "least_loaded",
    "power_of_two",
    "least_predicted_completion",
    "prefix_affinity",
    "shortest_predicted_first",
    "static_plan",
    "periodic_replanning",
    "threshold_trigger",
)


def names() -> tuple[str, ...]:
    """Every policy of the library: the baselines in their order, then the systems by name."""
    return _BASELINES + systems()


def baselines() -> tuple[str, ...]:
    """Rules of thumb in the order they are shown: routing, queue order, planning."""
    return _BASELINES


def systems() -> tuple[str, ...]:
    """Published systems, by name."""
    files = (entry.name for entry in resources.files(__name__).iterdir())
    found = {name[:-3] for name in files if name.endswith(".py") and not name.startswith("_")}
    return tuple(sorted(found.difference(_BASELINES)))


def read(name: str) -> str:
    """Source text of one policy; `KeyError` naming the known ones when there is none."""
    if name not in names():
        message = f"the library has no policy {name!r}; it has {', '.join(names())}"
        raise KeyError(message)
    return resources.files(__name__).joinpath(f"{name}.py").read_text(encoding="utf-8")
