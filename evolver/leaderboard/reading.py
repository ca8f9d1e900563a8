"""Finds and reads scenario files, those that ship or one's own."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evolver import library
from evolver.errors import ExperimentRefused
from evolver.leaderboard.spec import ScenarioSpec

MOST_BYTES = 1 << 18
MOST_DEEP = 16  # tables and lists within each other
DEFAULT = "default"  # the built-in policy, as a baseline
_FOLDER = "scenarios"


def scenario_names() -> tuple[str, ...]:
    """Names of the scenarios that ship, sorted."""
    files = resources.files(__package__).joinpath(_FOLDER).iterdir()
    return tuple(sorted(file.name[:-5] for file in files if file.name.endswith(".toml")))


def read_scenario(name: str | Path) -> ScenarioSpec:
    """A scenario that ships, by name, or a file of one's own.

    Raises:
        ExperimentRefused: there is none, or it is wrong; says where.
    """
    return checked(_content(name), str(name))


def checked(content: Mapping[str, Any], name: str) -> ScenarioSpec:
    """The scenario of a file's content; raises `ExperimentRefused`."""
    if _is_deep(content):
        raise ExperimentRefused(
            f"The scenario {name} is nested more than {MOST_DEEP} deep; write it flat."
        )
    try:
        spec = ScenarioSpec.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        words = first["msg"].removeprefix("Value error, ")
        raise ExperimentRefused(f"The scenario {name} is wrong at {place}: {words}.") from None
    asked = {spec.system, spec.baseline.policy if spec.baseline.policy != DEFAULT else None}
    unknown = asked.difference((None, *library.names()))
    if unknown:
        raise ExperimentRefused(
            f"The scenario {name} names the policy {unknown.pop()}, which the library lacks; "
            "evolver policy list says what it has."
        )
    for control in spec.control:
        changed(spec, control.changes, f"control {control.name}")
    return spec


def changed(spec: ScenarioSpec, changes: Mapping[str, Any], name: str) -> ScenarioSpec:
    """The scenario with changes laid over it, as a control has them; nothing is published of it."""
    content = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for key in ("control", "expect", "headline"):
        content.pop(key, None)
    return checked(overlaid(content, changes), f"{spec.name} ({name})")


def overlaid(content: Any, changes: Mapping[str, Any]) -> Any:  # noqa: ANN401 - walks any TOML
    """Changes laid over a file's content; a key may be a path with dots.

    Raises:
        ExperimentRefused: a list has no element of that number.
    """
    found = list(content) if isinstance(content, list) else dict(content)
    for path, value in changes.items():
        if path.count(".") > MOST_DEEP:
            raise ExperimentRefused("Changes name a place too deep in the file; write it out.")
        key, _, rest = path.partition(".")
        inner = {rest: value} if rest else value
        at: Any = key
        if isinstance(found, list):
            if not (key.isdecimal() and int(key) < len(found)):
                raise ExperimentRefused(
                    f"Changes name element {key!r} of a list that has {len(found)}; count from 0."
                )
            at = int(key)
        before = found[at] if isinstance(found, list) else found.get(at)
        if isinstance(inner, Mapping):
            before = before if isinstance(before, dict | list) else {}
            found[at] = overlaid(before, inner)
        else:
            found[at] = inner
    return found


def _is_deep(content: object) -> bool:
    level = [content]
    for _ in range(MOST_DEEP):
        level = [inner for one in level for inner in _elements(one)]
    return bool(level)


def _elements(content: object) -> list[object]:
    if isinstance(content, Mapping):
        return list(content.values())
    return list(content) if isinstance(content, list | tuple) else []


def _content(name: str | Path) -> dict[str, Any]:
    try:
        if str(name) in scenario_names():
            folder = resources.files(__package__).joinpath(_FOLDER)
            text = folder.joinpath(f"{name}.toml").read_text("utf-8")
        else:
            path = Path(name)
            fits = path.suffix == ".toml" and path.is_file() and path.stat().st_size <= MOST_BYTES
            if not fits:
                raise ExperimentRefused(
                    f"There is no scenario {str(name)!r}; give a TOML file, or one of: "
                    f"{', '.join(scenario_names())}."
                )
            text = path.read_text("utf-8")
        return tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentRefused(
            f"The scenario {name} cannot be read ({type(error).__name__}); check the path."
        ) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ExperimentRefused(
            f"The scenario {name} is not TOML: {error}; mend that line."
        ) from None
