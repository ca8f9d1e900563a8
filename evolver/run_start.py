"""All that a run begins with, as the store keeps it: enough to begin it again, and to go on."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel, ValidationError

from evolver.budget import Limits
from evolver.errors import RecordStale
from evolver.loop import Memory
from evolver.model_settings import ModelSettings
from evolver.recordings import Recording
from evolver.task import Human

FORMAT = 1
_DRAWS = ("numpy", "cmaes")  # libraries with which another version may propose something else


@dataclass(frozen=True, slots=True)
class Writers:
    """Who writes candidates.

    Attributes:
        models: each brings its moves.
        mutator: the built-in one takes part.
        recording: answers of models in an earlier run; given instead of asking them, by their
            names in that run, or else in their order.
    """

    models: tuple[ModelSettings, ...] = ()
    mutator: bool = True
    recording: Recording | None = None


@dataclass(frozen=True, slots=True)
class RunStart:
    """What a run is given, beside its problem.

    Attributes:
        problem: facts that tell two problems apart; compared when a run goes on.
        inputs: how the caller came to the problem, for the caller to come to it again.
    """

    limits: Limits
    humans: tuple[Human, ...]
    memory: Memory
    writers: Writers
    problem: Mapping[str, object]
    inputs: Mapping[str, object] = field(default_factory=dict)

    def config(self) -> dict[str, object]:
        """As plain JSON values, without keys."""
        return {
            "format": FORMAT,
            "code": code_digest(),
            **self.problem,
            "limits": asdict(self.limits),
            "humans": [asdict(human) for human in self.humans],
            "veterans": [asdict(human) for human in self.memory.veterans],
            "worked": list(self.memory.worked),
            "failed": list(self.memory.failed),
            "model": ", ".join(model.model for model in self.writers.models) or None,
            "models": [_without_key(model) for model in self.writers.models],
            "mutator": self.writers.mutator,
            "recording": self.writers.recording.title if self.writers.recording else None,
            "inputs": dict(self.inputs),
        }

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> RunStart:
        """What `config` was made from.

        Raises:
            RecordStale: another version made it.
        """
        if config.get("format") != FORMAT or config.get("code") != code_digest():
            raise RecordStale(
                "The run was begun by another version of this program: a run goes on only with "
                "the version that began it; start a new one."
            )
        try:
            own = _Config.model_validate({name: config[name] for name in config if name in _OWN})
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise RecordStale(
                f"The run's record cannot be read ({where}: {first['msg']}): start anew."
            ) from None
        return cls(
            own.limits,
            own.humans,
            Memory(own.veterans, own.worked, own.failed),
            Writers(own.models, own.mutator),
            {key: config[key] for key in config if key not in _OWN},
            own.inputs,
        )


class _Config(BaseModel):
    """What a run was given, as it comes back from a store."""

    limits: Limits
    humans: tuple[Human, ...]
    veterans: tuple[Human, ...]
    worked: tuple[str, ...]
    failed: tuple[str, ...]
    models: tuple[ModelSettings, ...]
    mutator: bool
    inputs: dict[str, Any]


_OWN = frozenset(
    ("format", "code", "limits", "humans", "veterans", "worked", "failed", "model", "models",
     "mutator", "recording", "inputs")
)  # fmt: skip


def _without_key(model: ModelSettings) -> dict[str, object]:
    return {name: value for name, value in asdict(model).items() if name != "api_key"}


@functools.cache
def code_digest() -> str:
    """SHA-256 of what a run's course depends on: search, sandbox and traces, and what draws."""
    digest = hashlib.sha256()
    for name in _DRAWS:
        digest.update(f"{name} {version(name)}\0".encode())
    for package in ("evolver", "sandbox", "telemetry"):
        for name, content in sorted(_sources(resources.files(package), package)):
            digest.update(name.encode() + b"\0" + content + b"\0")
    return digest.hexdigest()


def _sources(folder: Any, name: str) -> list[tuple[str, bytes]]:  # noqa: ANN401 - Traversable
    """Python, templates and tables; what people are shown is no part of a run's course."""
    found = []
    for entry in folder.iterdir():
        path = f"{name}/{entry.name}"
        if entry.is_dir() and entry.name not in ("__pycache__", "cli"):
            found += _sources(entry, path)
        elif entry.name.endswith((".py", ".md", ".json", ".toml")):
            found.append((path, entry.read_bytes()))
    return found
