"""The shape of the whole: who may import whom, what is public, how files look, what ships."""

import ast
import importlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("evolver", "policy_store", "sandbox", "serving_adapter", "telemetry")
POLICIES = {ROOT / "evolver" / "library", ROOT / "sandbox" / "policies"}
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
MODULES = [path for path in SOURCES if path.parent not in POLICIES and "versions" not in path.parts]
TEXTS = [
    path
    for folder in (*PACKAGES, ".ci", "benchmarks", "docs", "examples", "tests")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".md", ".toml", ".json", ".txt"} and path.is_file()
] + [*sorted(ROOT.glob("*.md")), ROOT / "Makefile", ROOT / "pyproject.toml"]

PUBLIC = {
    "evolver": {"Evolution", "EvolverError", "Human", "Limits", "Problem", "Proposal",
                "ProposalRequest", "Proposer", "RunResult", "Search", "SearchSettings", "Split",
                "Task", "Verdict", "evolve"},
    "policy_store": {"Alias", "Origin", "PolicyStore", "Snapshot", "State", "read_snapshot",
                     "write_snapshot"},
    "sandbox": {"ClusterSpec", "Evidence", "LoadedPolicy", "PolicySource", "SandboxError", "Setup",
                "load_cluster", "load_policy", "measure", "simulate", "verify"},
    "serving_adapter": {"Emulator", "EmulatorSettings", "EngineSpec", "Fleet", "Gateway",
                        "GatewaySettings", "InstanceFacts", "InstanceTable", "LoadRequest",
                        "PolicyHost", "Registry", "Served", "replay"},
    "telemetry": {"CapacityProfile", "CapacityTrace", "TelemetryError", "Trace", "TraceMeta",
                  "TrafficProfile", "Window", "as_availability", "bars", "concat", "fit_capacity",
                  "fit_file", "fit_profile", "generate", "generate_capacity", "load_profile",
                  "profile_names", "read_capacity", "read_trace", "sparkline", "summarise"},
}
# in pieces, so that this file does not hold what it forbids
FOREIGN = ("/wo" + "rk/", "issues" + " show", "../sha" + "red", "python" + "hosted")
DATA = ("evolver/library/least_loaded.py", "evolver/prompts/v2/system.md",
        "policy_store/migrations/versions/v0001_first_tables.py", "sandbox/clusters/edge-8b.toml",
        "sandbox/profiles/NOTICE", "sandbox/profiles/tables.json",
        "telemetry/profiles/azure2023_conv.json")


def name_of(path):
    return str(path.relative_to(ROOT))


def test_packages_form_one_stack():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("package", sorted(PUBLIC))
def test_what_is_public_is_listed_sorted_and_there(package):
    module = importlib.import_module(package)
    assert set(module.__all__) == PUBLIC[package]
    assert list(module.__all__) == sorted(module.__all__)
    assert all(getattr(module, name) is not None for name in module.__all__)


def test_a_module_says_what_it_is_and_stays_readable():
    texts = {name_of(path): path.read_text(encoding="utf-8") for path in MODULES}
    assert not [name for name, text in texts.items() if not ast.get_docstring(ast.parse(text))]
    assert not [name for name, text in texts.items() if text.count("\n") > 400]
    assert not {path.stem for path in MODULES} & {"common", "helpers", "manager", "utils"}


def test_functions_are_short():
    long = [
        f"{name_of(path)}: {node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= 60
    ]
    assert long == []


@pytest.mark.parametrize("word", FOREIGN)
def test_the_project_speaks_of_itself_alone(word):
    assert not [name_of(path) for path in TEXTS if word in path.read_text(encoding="utf-8").lower()]


def test_links_between_pages_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    dead = [
        f"{name_of(page)}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert dead == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Names of the files in a wheel built from here."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(path).namelist())


def test_the_wheel_holds_the_packages_their_data_and_nothing_else(wheel):
    assert not set(DATA) - wheel
    assert {f"{name}/py.typed" for name in PACKAGES} <= wheel
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_holds_no_machine_code_of_this_machine(wheel):
    assert not [name for name in wheel if name.endswith((".nbi", ".nbc", ".pyc", ".so"))]
