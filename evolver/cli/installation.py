"""Which of the five packages Python would import, seen without importing them."""

from __future__ import annotations

from importlib.machinery import PathFinder
from pathlib import Path

PACKAGES = ("evolver", "policy_store", "sandbox", "serving_adapter", "telemetry")
HERE = Path(__file__).resolve().parents[2]


def shadowed() -> list[str]:
    """A sentence for each package that comes from another folder than this one does."""
    sentences = []
    for name in PACKAGES:
        spec = PathFinder.find_spec(name)
        found = Path(spec.origin).resolve().parents[1] if spec and spec.origin else None
        if found != HERE:
            where = f"comes from {found}" if found else "is not there"
            sentences.append(
                f"The package {name} {where}, not from {HERE}: run evolver from another folder, "
                "or mend PYTHONPATH."
            )
    return sentences
