"""`evolver doctor`: is everything here that the commands need, and who set what."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from evolver.cli.options import OutFile, Output, OutputOption, Quiet, screen_of
from evolver.cli.results import show_result

if TYPE_CHECKING:
    from sandbox.report import Report

OLDEST_PYTHON = (3, 11)
NEEDED = ("numpy", "numba", "RestrictedPython", "pydantic", "sqlalchemy", "alembic", "cmaes",
          "typer", "rich", "platformdirs", "aiohttp", "cryptography")  # fmt: skip
OPTIONAL = {"litellm": ("llm", "--model"), "openai": ("llm", "--model"), "ray": ("ray", "--ray"),
            "psycopg": ("postgres", "a store on PostgreSQL")}  # fmt: skip
# 1.82.7 and 1.82.8 were malicious uploads; releases before 1.84.0 have known holes.
LITELLM_OLDEST, LITELLM_REFUSED = (1, 84, 0), ("1.82.7", "1.82.8")
RESTRICTED_OLDEST = (9, 0)
KNOWN_SETTINGS = ("EVOLVER_HOME", "EVOLVER_STORE", "EVOLVER_ACCEPT_MISSING")


class Health(StrEnum):
    """What one check found."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, how it is, and what to do when it is wrong."""

    topic: str
    health: Health
    text: str
    remedy: str = ""


def doctor(
    context: typer.Context,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Check that everything the commands need is here.

    \b
    evolver doctor              exit code 1 when something is wrong
    evolver doctor -o json
    """
    screen = screen_of(context, quiet)
    findings = [finding for check in CHECKS for finding in check()]
    wrong = [finding for finding in findings if finding.health is Health.WRONG]
    show_result(
        screen, output, out,
        lambda: {"healthy": not wrong, "findings": [asdict(finding) for finding in findings]},
        lambda: _report(findings),
    )  # fmt: skip
    if wrong:
        raise typer.Exit(1)


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < OLDEST_PYTHON
    yield Finding("Python", Health.WRONG if old else Health.OK, f"{version}, {sys.executable}",
                  "install Python 3.11 or newer" if old else "")  # fmt: skip


def _packages() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    for name in (*NEEDED, *OPTIONAL):
        try:
            found = version(name)
        except PackageNotFoundError:
            optional = name in OPTIONAL
            health = Health.NOTE if optional else Health.WRONG
            extra, option = OPTIONAL.get(name, ("", ""))
            purpose = f"not installed, needed for {option} only" if optional else "not installed"
            yield Finding(
                name, health, purpose, f"pip install '{f'evolver[{extra}]' if optional else name}'"
            )
            continue
        problem = version_problem(name, found)
        yield Finding(name, Health.WRONG if problem else Health.OK, found, problem)


def version_problem(name: str, version: str) -> str:
    """What is wrong with a version of a package, and the remedy; empty when nothing is."""
    if name == "litellm" and version in LITELLM_REFUSED:
        return "this release was a malicious upload: pip uninstall litellm, and change your keys"
    if name == "litellm" and numbers(version) < LITELLM_OLDEST:
        return "releases before 1.84.0 have known holes: pip install 'litellm>=1.84.0'"
    if name == "RestrictedPython" and numbers(version) < RESTRICTED_OLDEST:
        return "releases before 9 have open holes: pip install 'restrictedpython>=9'"
    return ""


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version."""
    parts = []
    for part in version.split("."):
        digits = "".join(c for c in part if c.isdigit())
        if not digits or not part[0].isdigit():
            break
        parts.append(int(digits))
    return tuple(parts)


def _shadows() -> Iterator[Finding]:
    from evolver.cli.installation import HERE, PACKAGES, shadowed

    sentences = shadowed()
    for sentence in sentences:
        yield Finding("packages", Health.WRONG, sentence, "run evolver from another folder")
    if not sentences:
        yield Finding("packages", Health.OK, f"{', '.join(PACKAGES)} come from {HERE}")


def _settings() -> Iterator[Finding]:
    from sandbox.home import home

    origin = "environment" if os.environ.get("EVOLVER_HOME") else "default of the platform"
    yield Finding("EVOLVER_HOME", Health.OK, f"{home()} ({origin})")
    for name in sorted(os.environ):
        if name.startswith("EVOLVER_") and name not in KNOWN_SETTINGS:
            yield Finding(name, Health.NOTE, "set, but nothing reads it", f"unset {name}")
    place = home() if home().exists() else _existing(home())
    if not place.is_dir() or not os.access(place, os.W_OK):
        wrong = "cannot be written" if place.is_dir() else "is not a folder"
        yield Finding("EVOLVER_HOME", Health.WRONG, f"{place} {wrong}",
                      "export EVOLVER_HOME=FOLDER")  # fmt: skip


def _existing(path: Path) -> Path:
    """The nearest folder above that exists."""
    return next(parent for parent in path.parents if parent.exists())


def _store() -> Iterator[Finding]:
    from evolver.cli.policies import has_store, open_store, store_place
    from policy_store.errors import StoreError
    from policy_store.schema import HEAD

    if not has_store():
        yield Finding("store", Health.OK, f"none yet; {store_place()} is made when needed, or "
                      "EVOLVER_STORE names a PostgreSQL database")  # fmt: skip
        return
    try:
        with open_store() as store:
            where, verdict = store.where, store.audit.verify()
    except StoreError as error:
        yield Finding("store", Health.WRONG, str(error), "see the sentence before")
        return
    text = f"{where}, schema {HEAD}, {verdict.entries} audit entries"
    if verdict.intact:
        yield Finding("store", Health.OK, text)
    else:
        yield Finding("store", Health.WRONG, f"{text}: {verdict.reason}",
                      "evolver store verify")  # fmt: skip


def _keys() -> Iterator[Finding]:
    from evolver.cli.publishing import keys_folder, trust_path
    from policy_store.errors import KeyMissing, KeyProblem
    from policy_store.keys import load_signing_key, read_trusted
    from sandbox.home import home

    signing = None
    try:
        signing = load_signing_key(keys_folder(home())).public.id
        yield Finding("signing key", Health.OK, f"{signing} in {keys_folder(home())}")
    except KeyMissing:
        yield Finding("signing key", Health.OK, "none yet; the first activation makes one")
    except KeyProblem as error:
        yield Finding("signing key", Health.WRONG, str(error), "see the sentence before")
    try:
        trusted = [key.id for key in read_trusted(trust_path(home())).keys]
    except KeyProblem as error:
        yield Finding("trusted keys", Health.WRONG, str(error), "see the sentence before")
        return
    text = f"{', '.join(trusted) or 'none'} in {trust_path(home())}"
    if signing is None or signing in trusted:
        yield Finding("trusted keys", Health.OK, text)
        return
    remedy = "evolver keys export > key.json; evolver keys trust key.json"
    yield Finding("trusted keys", Health.NOTE, f"{text}: the signing key is not there", remedy)


def _snapshot() -> Iterator[Finding]:
    from evolver.cli.publishing import snapshot_path, trust_path
    from policy_store.errors import SnapshotMissing, StoreError
    from policy_store.keys import read_trusted
    from policy_store.snapshot import read_snapshot
    from sandbox.home import home

    try:
        snapshot = read_snapshot(snapshot_path(home()), read_trusted(trust_path(home())))
    except SnapshotMissing:
        yield Finding("snapshot", Health.OK, "none yet; hosts run the built-in default")
    except StoreError as error:
        yield Finding("snapshot", Health.WRONG, str(error), "see the sentence before")
    else:
        yield Finding("snapshot", Health.OK, f"sequence {snapshot.sequence}, valid until "
                      f"{snapshot.expires_at.astimezone():%Y-%m-%d %H:%M}")  # fmt: skip


def _kernel() -> Iterator[Finding]:
    from evolver.cli.kernel import is_warm
    from sandbox.errors import CacheRefused
    from sandbox.kernel.jit import kernel_cache

    try:
        place = kernel_cache().directory
    except CacheRefused as error:
        yield Finding("simulator", Health.WRONG, str(error), "export EVOLVER_HOME=FOLDER")
        return
    state = "compiled" if is_warm() else "not compiled yet; the first replay does, in seconds"
    yield Finding("simulator", Health.OK, f"{state}; machine code in {place}")


def _isolation() -> Iterator[Finding]:
    """The layers around code that nobody approved."""
    from sandbox.worker_layers import ACCEPT_MISSING, IsolationMissing, accepted, probe
    from sandbox.worker_process import WorkersUnavailable

    try:
        may_miss, layers = accepted(()), probe()
    except (IsolationMissing, WorkersUnavailable) as error:
        yield Finding("isolation", Health.WRONG, str(error), "see the sentence before")
        return
    for layer in layers:
        if layer.in_force:
            yield Finding("isolation", Health.OK, layer.sentence)
        elif layer.name in may_miss:
            yield Finding("isolation", Health.NOTE, layer.sentence, f"{ACCEPT_MISSING} accepts it")
        else:
            yield Finding("isolation", Health.WRONG, layer.sentence,
                          f"evolve --accept-missing {layer.name}")  # fmt: skip


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python, _packages, _shadows, _settings, _store, _keys, _snapshot, _kernel,
    _isolation,
)  # fmt: skip


def _folded(findings: list[Finding]) -> list[Finding]:
    """All layers of isolation that are in force in one row; `-o json` has each in words."""
    good = [one for one in findings if (one.topic, one.health) == ("isolation", Health.OK)]
    if not good:
        return findings
    names = ", ".join(one.text.split(":")[0] for one in good)
    row = Finding("isolation", Health.OK, f"{len(good)} layers in force: {names}")
    return [row if one is good[0] else one for one in findings if one not in good[1:]]


def _report(findings: list[Finding]) -> Report:
    from sandbox.report import Cell, Report, Tone

    tones = {Health.OK: Tone.GOOD, Health.NOTE: Tone.DIM, Health.WRONG: Tone.BAD}
    rows = []
    for finding in _folded(findings):
        text = finding.text + (f"; {finding.remedy}" if finding.remedy else "")
        rows.append((Cell(finding.health.value, tones[finding.health]), finding.topic, text))
    wrong = sum(finding.health is Health.WRONG for finding in findings)
    report = Report("Doctor").grid(("", "", ""), rows)
    if not wrong:
        return report.say("", "Everything is in place.", tone=Tone.GOOD)
    return report.say("", "1 thing is wrong." if wrong == 1 else f"{wrong} things are wrong.",
                      tone=Tone.BAD)  # fmt: skip
