"""Tests an installed wheel from outside the repository: packages, data, and what they do."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
from importlib.metadata import files
from pathlib import Path

PACKAGES = ("evolver", "policy_store", "sandbox", "serving_adapter", "telemetry")
DATA = (
    "evolver/library/least_loaded.py",
    "evolver/recorded/demo.json",
    "evolver/prompts/v2/system.md",
    "policy_store/migrations/versions/v0001_first_tables.py",
    "sandbox/clusters/edge-8b.toml",
    "sandbox/profiles/NOTICE",
    "sandbox/profiles/tables.json",
    "telemetry/profiles/azure2023_conv.json",
)
WITHOUT_A_COMPILER = """
import sys
from evolver.cli.app import run
code = run(["replay", "trace.npz", "-p", "mine.py", "-o", "json"])
sys.exit(code or "numba" in sys.modules)
"""
PROGRAM = Path(sys.executable).with_name("evolver")


def main() -> None:
    """Run every check; the first that fails ends the program."""
    check_packages()
    check_files()
    with tempfile.TemporaryDirectory() as folder:
        check_commands(Path(folder))
    print("the wheel is whole: packages, data files and commands work where it is installed")


def check_packages() -> None:
    """All five come from the environment, and say that they are typed."""
    for name in PACKAGES:
        module = importlib.import_module(name)
        place = Path(module.__file__ or "")
        expect("site-packages" in place.parts, f"{name} was imported from {place}")
        expect((place.parent / "py.typed").is_file(), f"{name} has no py.typed")


def check_files() -> None:
    """Data is there; tests, benchmarks and documents are not."""
    shipped = {str(path) for path in files("evolver") or ()}
    missing = [path for path in DATA if path not in shipped]
    expect(not missing, f"the wheel lacks {', '.join(missing)}")
    tops = {path.split("/")[0] for path in shipped if not path.startswith("..")}
    alien = {top for top in tops if top not in PACKAGES and not top.endswith(".dist-info")}
    expect(not alien, f"the wheel holds {', '.join(sorted(alien))}, too")


def check_commands(folder: Path) -> None:
    """Help, a check of a library policy, and a replay of a generated trace."""
    expect("evolver demo" in run(folder, "--help"), "the help is not the program's")
    from evolver import library
    from telemetry import generate, load_profile

    policy = folder / "mine.py"
    policy.write_text(library.read("least_loaded"))
    expect(json.loads(run(folder, "check", "mine.py", "-o", "json"))["accepted"], "not accepted")
    generate(load_profile("azure2023_conv"), n=500, seed=1).save(folder / "trace.npz")
    arguments = ("replay", "trace.npz", "-p", "round_robin", "-p", "mine.py", "-o", "json")
    results = json.loads(run(folder, *arguments))["results"]
    expect({result["requests"] for result in results} == {500}, "requests were lost")
    check_kept_code(folder)


def check_kept_code(folder: Path) -> None:
    """What the first replay compiled is linked by the next process, which needs no compiler."""
    done = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-P", "-c", WITHOUT_A_COMPILER],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    expect(done.returncode == 0, f"a replay of kept code imports numba: {done.stderr[-2000:]}")


def run(folder: Path, *arguments: str) -> str:
    """What a command printed to stdout; it must end well."""
    done = subprocess.run(  # noqa: S603 - the program under test
        [str(PROGRAM), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    expect(done.returncode == 0, f"evolver {' '.join(arguments)} failed: {done.stderr[-2000:]}")
    return done.stdout


def expect(true: bool, otherwise: str) -> None:
    """End with a sentence unless it is true."""
    if not true:
        sys.exit(f"wheel check: {otherwise}")


if __name__ == "__main__":
    main()
