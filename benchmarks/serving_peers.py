"""The doors and the other routers that `bench_serving` sends requests through, each as processes.

Peers come from the package index into environments of their own; what cannot be had is said, in one
sentence each, and left out. Everything listens on loopback and ends with the benchmark.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from peer_environments import REPOSITORY, Peer, PeerUnavailable, environment

from policy_store.keys import SigningKey, TrustedKeys, new_signing_key, write_trusted
from policy_store.snapshot import write_snapshot
from serving_adapter.emulation.swap_load import Publisher
from serving_adapter.emulation.swap_policies import LEAST

PLACE = REPOSITORY / "build" / "peers"
ENVOY = REPOSITORY / "build" / "envoy" / "bin" / "python"  # made by `make test-envoy`
START_S = 120.0
SMG = Peer("smg", ("smg==1.13.0",))
VLLM_ROUTER = Peer("vllm-router", ("vllm-router==0.1.17",))
LITELLM = Peer("litellm", ("litellm[proxy]==1.106.2",))


@dataclass(frozen=True)
class Target:
    """Something that answers the OpenAI API; `pids` are its processes, none where it is direct."""

    name: str
    url: str
    pids: tuple[int, ...] = ()


Start = Callable[[Sequence[str], Path], contextlib.AbstractContextManager[Target]]


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, ready: Callable[[], bool], variables: dict[str, str]
) -> Iterator[int]:
    """A process from when it is ready until left; its id.

    Raises:
        PeerUnavailable: it ended, or was not ready in time.
    """
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with log.open("wb") as out:
        child = subprocess.Popen(
            list(command), stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            env={**clean, **variables}, start_new_session=True,
        )  # fmt: skip
    try:
        until = time.monotonic() + START_S
        while not ready():
            if child.poll() is not None or time.monotonic() > until:
                said = log.read_text("utf-8", "replace").strip().splitlines() or ["nothing"]
                raise PeerUnavailable(f"{Path(command[0]).name} did not start: {said[-1][:160]}")
            time.sleep(0.1)
        yield child.pid
    finally:
        child.terminate()
        try:
            child.wait(10.0)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def answers(url: str) -> bool:
    """Whether a GET there is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def listens(port: int) -> bool:
    """Whether something takes connections there."""
    with socket.socket() as one:
        one.settimeout(1.0)
        return one.connect_ex(("127.0.0.1", port)) == 0


def home_with_policy(folder: Path) -> SigningKey:
    """A home whose snapshot names one compiled policy: fewest requests."""
    key = new_signing_key(folder / "keys")
    write_trusted(folder / "trusted_keys.json", TrustedKeys((key.public,)))
    snapshot = Publisher(key, policy=lambda _: LEAST).next()
    write_snapshot(folder / "active.json", snapshot, key)
    return key


def _ours(home: Path) -> dict[str, str]:
    return {"EVOLVER_HOME": str(home), "PYTHONPATH": str(REPOSITORY)}


def _engine_words(engines: Sequence[str], name: str = "--engine") -> list[str]:
    return [word for url in engines for word in (name, url)]


@contextlib.contextmanager
def gateway(engines: Sequence[str], folder: Path) -> Iterator[Target]:
    """Door 1: `evolver serve`, following a signed snapshot."""
    home_with_policy(folder)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "evolver.cli.app", "serve", *_engine_words(engines),
               "--port", str(port)]  # fmt: skip

    def ready() -> bool:
        if not answers(url + "/readyz"):
            return False
        with urllib.request.urlopen(url + "/readyz", timeout=2.0) as page:
            return bool(json.load(page)["sequence"] == 1)

    with running(command, folder / "log", ready, _ours(folder)) as pid:
        yield Target("gateway", url, (pid,))


@contextlib.contextmanager
def smg(engines: Sequence[str], folder: Path) -> Iterator[Target]:
    """SMG, in turn."""
    python, port = environment(SMG, PLACE), free_port()
    command = [str(python.with_name("smg")), "launch", "--backend", "vllm", "--policy",
               "round_robin", "--host", "127.0.0.1", "--port", str(port), "--prometheus-host",
               "127.0.0.1", "--prometheus-port", str(free_port()), "--worker-urls",
               *engines]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with running(command, folder / "log", lambda: answers(url + "/readiness"), {}) as pid:
        yield Target("SMG", url, (pid,))


@contextlib.contextmanager
def vllm_router(engines: Sequence[str], folder: Path) -> Iterator[Target]:
    """vllm-router, in turn."""
    python, port = environment(VLLM_ROUTER, PLACE), free_port()
    command = [str(python.with_name("vllm-router")), "--host", "127.0.0.1", "--port", str(port),
               "--prometheus-port", str(free_port()), "--policy", "round_robin", "--worker-urls",
               *engines]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with running(command, folder / "log", lambda: answers(url + "/health"), {}) as pid:
        yield Target("vllm-router", url, (pid,))


@contextlib.contextmanager
def litellm(engines: Sequence[str], folder: Path) -> Iterator[Target]:
    """LiteLLM's proxy, one worker, its own shuffle."""
    python, port = environment(LITELLM, PLACE), free_port()
    models = [
        {"model_name": "llama-3.1-8b",
         "litellm_params": {"model": "openai/llama-3.1-8b", "api_base": f"{url}/v1",
                            "api_key": "none"}}
        for url in engines
    ]  # fmt: skip
    # Without a key it does not start unless it is told that nobody minds.
    settings = {"dangerously_permit_weak_or_unset_master_key": True}
    config = {"model_list": models, "general_settings": settings}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    command = [str(python.with_name("litellm")), "--config", str(folder / "config.json"),
               "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    variables = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    ready = lambda: answers(url + "/health/liveliness")  # noqa: E731
    with running(command, folder / "log", ready, variables) as pid:
        yield Target("LiteLLM", url, (pid,))


@contextlib.contextmanager
def envoy(engines: Sequence[str], folder: Path) -> Iterator[Target]:
    """Door 3: the real Envoy with our picker beside it, each a process."""
    if not ENVOY.exists():
        raise PeerUnavailable("Envoy is not installed: `make test-envoy` does that")
    home_with_policy(folder)
    picker_port, port = free_port(), free_port()
    picker = [str(ENVOY), "-m", "evolver.cli.app", "picker", *_engine_words(engines), "--port",
              str(picker_port), "--pages-port", str(free_port())]  # fmt: skip
    config = folder / "envoy.json"
    config.write_text(_envoy_config(port, picker_port, engines), "utf-8")
    found = subprocess.run(
        [str(ENVOY), "-c", "import envoy; print(envoy.__path__[0])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    program = Path(found.stdout.strip()) / "_bin" / "envoy"
    command = [str(program), "-c", str(config), "--concurrency", "1", "-l", "error",
               "--use-dynamic-base-id"]  # fmt: skip
    with (
        running(picker, folder / "picker", lambda: listens(picker_port), _ours(folder)) as first,
        running(command, folder / "log", lambda: listens(port), {}) as second,
    ):
        time.sleep(1.0)  # for the picker's first look at the engines and the snapshot
        yield Target("Envoy + picker", f"http://127.0.0.1:{port}", (first, second))


_LOAD_YAML = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"


def _envoy_config(port: int, picker_port: int, engines: Sequence[str]) -> str:
    """The configuration that is shipped, with these ports."""
    shipped = (REPOSITORY / "deploy" / "envoy" / "envoy.yaml").read_text("utf-8")
    done = subprocess.run(
        [str(ENVOY), "-c", _LOAD_YAML], input=shipped, capture_output=True, text=True, check=True
    )
    config = json.loads(done.stdout)
    config["admin"] = {"address": _address(0)}
    resources = config["static_resources"]
    resources["listeners"][0]["address"] = _address(port)
    clusters = {one["name"]: one for one in resources["clusters"]}
    place = clusters["picker"]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]
    place["endpoint"]["address"] = _address(picker_port)
    if "load_assignment" in clusters["engines"]:
        ports = [int(re.findall(r":(\d+)$", url)[0]) for url in engines]
        clusters["engines"]["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
            {"endpoint": {"address": _address(one)}} for one in ports
        ]
    return json.dumps(config)


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@contextlib.contextmanager
def started(start: Start, engines: Sequence[str]) -> Iterator[Target]:
    """A target with a folder of its own.

    Raises:
        PeerUnavailable: it cannot be had here.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.ExitStack() as stack,
    ):
        yield stack.enter_context(start(engines, Path(folder)))


def cpu_s(pids: Sequence[int]) -> float:
    """Processor time of processes and of their present children."""
    tick = os.sysconf("SC_CLK_TCK")
    return sum(sum(map(int, _stat(pid)[11:13])) for pid in family(pids)) / tick


def rss_mib(pids: Sequence[int]) -> float:
    """Resident memory of processes and of their present children."""
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(_stat(pid)[21]) for pid in family(pids)) * page / 2**20


def family(pids: Sequence[int]) -> list[int]:
    """Processes and their present children, at any depth."""
    found = list(pids)
    for pid in found:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
            found += [int(child) for child in children.split()]
    return found


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return ["0"] * 50
    return text.rpartition(")")[2].split()
