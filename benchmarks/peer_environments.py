"""Other simulators in virtual environments of their own, and what running one of them costs.

Nothing here is imported by the product, and no peer is ever installed beside it: every peer gets a
directory of its own, with the versions pinned below, made the first time it is asked for.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
INSTALL_TIMEOUT_S = 1200.0
RUN_TIMEOUT_S = 1800.0


class PeerUnavailable(Exception):
    """A peer that cannot run here; the message is one sentence."""


@dataclass(frozen=True)
class Peer:
    """One simulator from the package index.

    Attributes:
        requirements: distributions with their exact versions.
        alone: whether they are installed without what they ask for.
        needs_host: a host it downloads from when it starts, None when it runs offline.
    """

    name: str
    requirements: tuple[str, ...]
    alone: bool = False
    needs_host: str | None = None

    @property
    def versions(self) -> str:
        """The pinned distributions in one line."""
        return ", ".join(self.requirements)


# Dynamo asks for a serving stack; its offline replay runs on its extension module alone.
DYNAMO = Peer(
    "dynamo",
    ("ai-dynamo==1.6.1", "ai-dynamo-runtime==1.6.1", "typing_extensions==4.16.0"),
    alone=True,
)
AISIMULATE = Peer("aisimulate", ("aisimulate==0.13.0.dev202610270000000085",))
VIDUR = Peer("vidur", ("vidur==0.0.26",), needs_host="huggingface.co")


@dataclass(frozen=True)
class Cost:
    """What one child process used.

    Attributes:
        cpu_s: user and system time, its own children included; rss_mib: peak resident memory.
    """

    cpu_s: float
    wall_s: float
    rss_mib: float


def environment(peer: Peer, directory: Path) -> Path:
    """The peer's interpreter, installing it when it is not there.

    Raises:
        PeerUnavailable: the host it needs, or a package, cannot be had.
    """
    if peer.needs_host is not None and not _resolves(peer.needs_host):
        raise PeerUnavailable(
            f"{peer.name} downloads its step times from {peer.needs_host} when it starts, and "
            "that host cannot be reached from here"
        )
    place = directory / peer.name
    python = place / "bin" / "python"
    ready = place / "ready.txt"
    if python.exists() and ready.is_file() and ready.read_text("utf-8") == peer.versions:
        return python
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    for command in _install_commands(peer, place, python):
        _must_run(command, peer)
    ready.write_text(peer.versions, "utf-8")
    return python


def _resolves(host: str) -> bool:
    try:
        socket.create_connection((host, 443), timeout=5.0).close()
    except OSError:
        return False
    return True


def _install_commands(peer: Peer, place: Path, python: Path) -> list[list[str]]:
    """uv where the repository has it, as Debian's Python makes no environments; pip elsewhere."""
    alone = ["--no-deps"] if peer.alone else []
    uv = REPOSITORY / ".tools" / "bin" / "uv"
    if uv.exists():
        install = [str(uv), "pip", "install", "--quiet", "--python", str(python)]
        return [
            [str(uv), "venv", "--quiet", "--python", sys.executable, str(place)],
            [*install, *alone, *peer.requirements],
        ]
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return [[sys.executable, "-m", "venv", str(place)], [*install, *alone, *peer.requirements]]


def _must_run(command: list[str], peer: Peer) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerUnavailable(
            f"{peer.name} could not be installed: {type(error).__name__}"
        ) from error
    if done.returncode != 0:
        raise PeerUnavailable(f"{peer.name} could not be installed: {last_line(done.stderr)}")


def last_line(text: str) -> str:
    """The last line that says something, cut to a readable length."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"


def run_measured(command: list[str], where: Path) -> tuple[Cost, str]:
    """Run one child to its end; what it used, and what it printed.

    Raises:
        PeerUnavailable: it ended with an error; the sentence ends with its last line.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.perf_counter()
        child = subprocess.Popen(
            command, cwd=where, stdout=out, stderr=err, env=_variables(command[0])
        )
        used = _wait(child)
        wall_s = time.perf_counter() - started
        out.seek(0)
        err.seek(0)
        printed, complaint = out.read(), err.read()
    if child.returncode != 0:
        name = Path(command[0]).name
        raise PeerUnavailable(f"{name} ended with an error: {last_line(complaint or printed)}")
    return Cost(used.ru_utime + used.ru_stime, wall_s, used.ru_maxrss / 1024.0), printed


def _variables(program: str) -> dict[str, str]:
    """Ours, less what would let a peer see our packages; one thread where a library asks."""
    hidden = () if program == sys.executable else ("PYTHONPATH", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "WANDB_MODE": "disabled"}


def _wait(child: subprocess.Popen[bytes]) -> resource.struct_rusage:
    """`os.wait4`, so that the usage is this child's and nobody else's."""
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while True:
        pid, status, used = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return used
        if time.monotonic() > deadline:
            child.kill()
        time.sleep(0.01)
