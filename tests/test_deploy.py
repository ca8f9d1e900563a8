"""Units, image, dashboard and alerts speak of commands, options and metrics that there are."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from typer.main import get_command

from evolver.cli.app import app
from evolver.cli.screen import Screen
from evolver.daemon.config import DaemonConfig
from evolver.daemon.core import Looked
from evolver.daemon.metrics import DaemonMetrics
from serving_adapter.emulation.emulator import Emulator
from serving_adapter.emulation.profiled import settings_from_profile
from serving_adapter.exposition import Registry
from serving_adapter.gateway.gateway import Gateway
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable
from serving_adapter.web_server import LOOPBACK, bound_port, new_runner

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
NAME = re.compile(r"\b((?:evolver_|vllm:)[a-z0-9_]+)")
SHOWN = re.compile(r"^# TYPE (\S+) (\S+)$", re.MULTILINE)
PARTS = ("_bucket", "_sum", "_count")


@asynccontextmanager
async def listening(application):
    runner = new_runner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, 0).start()
        yield f"http://{LOOPBACK}:{bound_port(runner)}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def exposed():
    """Metrics that a gateway, an engine and a daemon show when they are asked."""
    emulator = Emulator(settings_from_profile("H100", "llama-3.1-8b", 1, 50.0))
    registry = Registry()
    host, names = PolicyHost(InstanceTable(), registry=registry), set()
    async with (
        listening(emulator.application()) as engine,
        listening(Gateway(host, {engine: None}, registry).application()) as gateway,
        aiohttp.ClientSession() as client,
    ):
        for url in (engine, gateway):
            async with client.get(url + "/metrics") as page:
                names |= names_on(await page.text())
    return names | names_on(daemon_page())


def names_on(page):
    found = set()
    for name, kind in SHOWN.findall(page):
        found |= {name + part for part in PARTS} if kind == "histogram" else {name}
    assert found
    return found


def daemon_page():
    pytest.importorskip("prometheus_client", reason="the extra daemon is not installed")
    watched = {"request_log": "requests.jsonl", "cluster": "edge-8b"}
    metrics = DaemonMetrics(DaemonConfig.model_validate({"watch": watched}))
    metrics.turned(Looked(), 1.0)
    return metrics.text().decode()


def panels():
    board = json.loads((DEPLOY / "grafana" / "evolver.json").read_text())
    return [(panel["title"], one["expr"]) for panel in board["panels"] for one in panel["targets"]]


def rules():
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    text = yaml.safe_load((DEPLOY / "prometheus" / "evolver-alerts.yaml").read_text())
    return [rule for group in text["groups"] for rule in group["rules"]]


async def test_every_panel_and_rule_asks_for_metrics_that_are_there(exposed):
    asked = [*panels(), *((rule["alert"], rule["expr"]) for rule in rules())]
    for title, expression in asked:
        names = set(NAME.findall(expression))
        assert names, f"{title} asks for nothing"
        assert names <= exposed, f"{title} asks for {sorted(names - exposed)}"
        assert expression.count("(") == expression.count(")"), title


def test_panels_have_places_of_their_own_and_rules_say_who_is_called():
    board = json.loads((DEPLOY / "grafana" / "evolver.json").read_text())
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in board["panels"]})
    found = rules()
    assert len({rule["alert"] for rule in found}) == len(found)
    for rule in found:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


def unit(path):
    """Keys of a unit to the values they were given, lines joined."""
    found = {}
    for line in path.read_text().replace("\\\n", " ").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def typed(words, tmp_path):
    """What a command line comes to; each file that it names is there."""
    variables = {"EVOLVER_ENGINES": "--engine http://127.0.0.1:8001",
                 "EVOLVER_BASE_URL": "https://review.example.org",
                 "CREDENTIALS_DIRECTORY": str(tmp_path)}  # fmt: skip
    for name, value in variables.items():
        words = words.replace("${" + name + "}", value).replace("$" + name, value)
    program, *arguments = shlex.split(words)
    assert program.endswith("evolver")
    command, name = get_command(app), ""
    while arguments and arguments[0] in getattr(command, "commands", {}):
        name = arguments.pop(0)
        command = command.commands[name]
    assert name
    return command.make_context(name, arguments, obj=Screen()).params


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_runs_a_command_of_ours_and_outlives_its_stop(path, tmp_path):
    (command,) = unit(path)["ExecStart"]
    options = typed(command, tmp_path)
    stop_s = int(unit(path)["TimeoutStopSec"][0])
    assert stop_s > options.get("drain_s", 0.0)
    assert unit(path)["Restart"] == ["always"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_hardened_and_verified(path, tmp_path):
    found = unit(path)
    assert found["NoNewPrivileges"] == ["yes"]
    assert found["CapabilityBoundingSet"] == [""]
    assert found["ProtectSystem"] == ["strict"]
    assert found["User"][0].startswith("evolver")
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    there = tmp_path / path.name
    there.write_text(path.read_text().replace("/opt/evolver/bin/evolver", sys.executable))
    said = subprocess.run(
        [analyze, "verify", "--man=no", there], capture_output=True, text=True, timeout=60
    )
    ours = [line for line in said.stderr.splitlines() if path.name in line]
    assert (said.returncode, ours) == (0, [])


def test_the_image_is_of_no_registry_runs_as_nobody_special_and_takes_what_is_locked():
    text = (DEPLOY / "container" / "Containerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines[0] == "ARG PYTHON_IMAGE"  # without a default: who builds says which
    assert {line.split()[1] for line in lines if line.startswith("FROM")} == {"${PYTHON_IMAGE}"}
    assert "USER 10001:10001" in lines
    assert "--locked" in text
    assert "--require-hashes" in text
    copied = {line.split()[1] for line in lines if line.startswith("COPY") and "--from" not in line}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages <= copied
    assert all((ROOT / name).exists() for name in copied)


def test_the_composed_services_run_commands_of_ours(tmp_path):
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    composed = yaml.safe_load((DEPLOY / "container" / "compose.yaml").read_text())
    services = composed["services"]
    for service in services.values():
        command = service["command"]
        if service.get("entrypoint"):
            (line,) = command
            engines = "--engine http://127.0.0.1:8001"
            words = re.sub(r"\$\{ENGINES:\?[^}]*\}", engines, line.removeprefix("exec "))
        else:
            words = shlex.join(["evolver", *command])
        typed(words, tmp_path)
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"]
    named = {one.split(":")[0] for s in services.values() for one in s["volumes"]}
    assert {one for one in named if not one.startswith(".")} == set(composed["volumes"])
    assert set(services["gateway"]["secrets"]) == set(composed["secrets"])
    assert services["gateway"]["user"] != "10001:10001"  # the signing key is not its to read
