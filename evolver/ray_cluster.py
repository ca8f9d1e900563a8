"""Reaches a Ray cluster by its address, or says in a few seconds and one sentence why not."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from importlib import import_module
from typing import Any

from sandbox.worker import WorkersUnavailable

LOCAL = "local"  # a cluster of this machine alone, for this run
KNOCK_S, TRY_S = 3.0, 90.0  # the second is for a machine that is very busy
_QUIET = {  # nothing is reported to anybody, and nothing printed over our own lines
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}
# Ray tries for minutes and may end the process that asks: so another one asks first.
_IMPATIENT = {
    "RAY_NUM_REDIS_GET_RETRIES": "2",
    "RAY_gcs_rpc_server_connect_timeout_s": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    "RAY_CLIENT_INITIAL_CONNECTION_TIMEOUT_S": "2",
    "RAY_CLIENT_MAX_CONNECTION_TIMEOUT_S": "2",
}
_TRY = """
import sys, ray
options = {} if "://" in sys.argv[1] else {"configure_logging": False}
ray.init(sys.argv[1], log_to_driver=False, logging_level="error", **options)
print(ray.is_initialized())
"""
_START_ONE = "Start one with ray start --head, or give --ray its address."


def connect(address: str, cpus: int | None = None) -> tuple[Any, bool]:
    """The `ray` module, connected, and whether it was this call that connected it.

    Args:
        address: `auto`, `HOST:PORT`, `ray://HOST:PORT`, or `local` for a cluster of this machine.
        cpus: of a local cluster; all by default.

    Raises:
        WorkersUnavailable: Ray is not installed, or no cluster answers there.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    ray = _imported()
    if ray.is_initialized():
        return ray, False
    if address == LOCAL:
        options = {"num_cpus": cpus or os.cpu_count() or 1, "include_dashboard": False}
    else:
        _knock(address)
        _try(address)
        options = {}
    if "://" not in address:
        options["configure_logging"] = False
    try:
        ray.init(address, log_to_driver=False, logging_level="error", **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise WorkersUnavailable(_no_cluster(address, _first_sentence(str(error)))) from error
    return ray, True


def _imported() -> Any:  # noqa: ANN401 - Ray's types are there only where it is installed
    try:
        return import_module("ray")
    except ImportError as missing:
        raise WorkersUnavailable(
            "Ray is not installed here: pip install 'evolver[ray]', or leave --ray out."
        ) from missing


def host_and_port(address: str) -> tuple[str, int] | None:
    """Where somebody must listen; None when the address leaves that to Ray."""
    match = re.fullmatch(r"(?:ray://)?\[?([^/\]]+?)\]?:(\d{1,5})", address)
    return (match[1], int(match[2])) if match else None


def listens(address: str) -> str:
    """Why nobody can be reached at an address with a port; empty when somebody listens."""
    place = host_and_port(address)
    if place is None:
        return ""
    try:
        socket.create_connection(place, KNOCK_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def _knock(address: str) -> None:
    if address != "auto" and host_and_port(address) is None:
        raise WorkersUnavailable(
            f"{address!r} is no address of a Ray cluster: give auto, HOST:PORT, ray://HOST:PORT "
            "or local."
        )
    if reason := listens(address):
        raise WorkersUnavailable(_no_cluster(address, reason))


def _try(address: str) -> None:
    """Let another process connect first, which may be ended."""
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            [sys.executable, "-c", _TRY, address],
            env={**os.environ, **_IMPATIENT},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TRY_S,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        raise WorkersUnavailable(
            _no_cluster(address, "it does not answer as Ray does")
        ) from expired
    if "AuthenticationError" in done.stderr:
        raise WorkersUnavailable(
            f"The Ray cluster at {address} asks for a token: set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN_PATH where it is not in ~/.ray/auth_token."
        )
    if done.returncode:
        found = re.findall(r"^[\w.]*(?:Error|Exception): (.+)$", done.stderr, re.MULTILINE)
        reason = _first_sentence(found[-1]) if found else "it does not answer as Ray does"
        raise WorkersUnavailable(_no_cluster(address, reason))


def _first_sentence(words: str) -> str:
    """Ray's own words, without its advice."""
    return " ".join(words.split()).partition(". ")[0].rstrip(".")[:300]


def _no_cluster(address: str, reason: str) -> str:
    if address == "auto":
        return f"No Ray cluster was found on this machine ({reason}). {_START_ONE}"
    return f"No Ray cluster answers at {address} ({reason}). {_START_ONE}"
