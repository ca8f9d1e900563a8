"""What is installed, from where, and what the run path loads: kept to what was looked at."""

import json
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
PACKAGES = [p for p in LOCK["package"] if p["source"] != {"editable": "."}]
DECLARED = {
    requirement.name: requirement
    for group in (
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
        PROJECT["build-system"]["requires"],
    )
    for requirement in map(Requirement, group)
}
# Python runs these at every start, before any of ours: an editable install, and two tools' own.
KNOWN_PTH = {"_editable_impl_evolver.pth", "_virtualenv.pth", "distutils-precedence.pth"}
# in pieces, so that this file does not hold what it forbids
REGISTRIES = ("py" + "pi.org", "python" + "hosted", "anaconda" + ".org", "piwheels" + ".org")
RUN_PATH = (
    "sandbox.verifier", "sandbox.engine", "sandbox.compiled", "sandbox.interpreted",
    "sandbox.worker_main", "policy_store.snapshot", "serving_adapter.host",
    "serving_adapter.gateway.gateway",
)  # fmt: skip


def locked(name):
    return [Version(package["version"]) for package in PACKAGES if package["name"] == name]


@pytest.mark.parametrize("bad", ["1.82.6", "1.82.7", "1.82.8", "1.83.14"])
def test_litellm_is_never_a_release_known_to_be_bad(bad):
    assert not DECLARED["litellm"].specifier.contains(bad)
    assert {"!=1.82.7", "!=1.82.8"} <= {str(s) for s in DECLARED["litellm"].specifier}
    assert Version(bad) not in locked("litellm")
    assert min(locked("litellm")) >= Version("1.84.0")


def test_litellm_comes_without_its_proxy():
    wanted = [
        dependency
        for package in LOCK["package"]
        for group in (
            package.get("dependencies", []),
            *package.get("optional-dependencies", {}).values(),
        )
        for dependency in group
        if dependency["name"] == "litellm"
    ]
    assert wanted
    assert not DECLARED["litellm"].extras
    assert not [dependency for dependency in wanted if dependency.get("extra")]


def test_restrictedpython_is_nine_or_later():
    assert not DECLARED["restrictedpython"].specifier.contains("8.1")
    assert min(locked("restrictedpython")) >= Version("9")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package["name"])
def test_every_locked_file_has_a_hash(package):
    files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
    assert files
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", file["hash"]) for file in files)


def test_everything_comes_from_one_index():
    sources = [package["source"] for package in PACKAGES]
    assert all(set(source) == {"registry"} for source in sources)
    assert len({source["registry"] for source in sources}) == 1
    assert not {"sources", "index", "index-url", "extra-index-url"} & set(PROJECT["tool"]["uv"])


def test_nothing_is_declared_by_address():
    assert not [requirement for requirement in DECLARED.values() if requirement.url]


def test_no_file_but_the_lock_names_a_registry():
    built = {"build", "dist", "__pycache__"}
    ours = [top for top in ROOT.iterdir() if top.name == ".ci" or not top.name.startswith(".")]
    texts = [
        path
        for top in ours
        if top.name not in built
        for path in ([top] if top.is_file() else top.rglob("*"))
        if path.suffix in {".py", ".md", ".toml", ".txt", ".cfg", ".json", ".yml", ".yaml", ""}
        and not built & set(path.parts[len(ROOT.parts) :])
        and path.is_file()
    ]
    naming = [
        path.name
        for path in texts
        if any(name in path.read_text(encoding="utf-8", errors="ignore") for name in REGISTRIES)
    ]
    assert naming == []


def test_no_file_runs_code_at_every_start_of_python():
    places = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    found = {path for place in places for path in place.glob("*.pth")}
    assert {path.name for path in found} <= KNOWN_PTH
    own = [path.read_text() for path in found if "evolver" in path.name]
    assert not [text for text in own if re.search(r"^\s*import\b", text, re.MULTILINE)]


def test_the_run_path_loads_no_model_client():
    program = (
        f"import importlib, json, sys\nfor name in {RUN_PATH}: importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, timeout=60
    )
    loaded = set(json.loads(ran.stdout))
    assert "sandbox" in loaded
    assert not loaded & {"litellm", "openai", "ray", "sqlalchemy", "fastapi"}


def test_who_raises_restrictedpython_is_told_to_run_the_attacks_again():
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    assert re.search(r"RestrictedPython[^#]*test_attacks", text)
