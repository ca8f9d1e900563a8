"""Serve's REST API: the declarative config of all applications, and how replicas stand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from serving_adapter.errors import ReplicaError

PATH = "/api/serve/applications/"
MAX_BYTES = 16 << 20
MAX_ERROR_CHARS = 300
TIMEOUT_S = 60.0
_KEPT = ("proxy_location", "http_options", "grpc_options", "target_capacity")


@dataclass(frozen=True, slots=True)
class ServeReplica:
    """One replica as Serve shows it."""

    application: str
    deployment: str
    name: str
    state: str


@dataclass(frozen=True, slots=True)
class ServeState:
    """What Serve runs.

    Attributes:
        replicas: of all applications.
        failed: application to why it failed.
        configs: the declarative config of each application that has one, by its name.
        options: what else a new declarative config has to repeat.
    """

    replicas: tuple[ServeReplica, ...]
    failed: Mapping[str, str]
    configs: Mapping[str, dict[str, Any]]
    options: Mapping[str, Any]


class ServeApi:
    """A client of the REST API of a cluster's head, as `http://127.0.0.1:8265`."""

    def __init__(self, address: str) -> None:
        self._url = address.rstrip("/") + PATH

    async def state(self) -> ServeState:
        """What Serve runs now.

        Raises:
            ReplicaError: it cannot be asked.
        """
        details = await self._ask("get")
        try:
            return _state_of(details)
        except (AttributeError, KeyError, TypeError) as error:
            raise ReplicaError(
                f"Ray Serve at {self._url} answered in a form that is not known: see its version."
            ) from error

    async def deploy(
        self, configs: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
    ) -> None:
        """Make these the declared applications; those declared before and not among them go.

        Raises:
            ReplicaError: Serve refused them, or cannot be reached.
        """
        await self._ask("put", {**options, "applications": list(configs)})

    async def _ask(self, method: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(method, self._url, json=body) as answer,
            ):
                raw = await _read(answer)
                if answer.status != 200:
                    said = " ".join(raw.decode("utf-8", "replace").split())[:MAX_ERROR_CHARS]
                    raise ReplicaError(
                        f"Ray Serve refused with {answer.status}: {said or 'no reason'}."
                    )
                return None if method == "put" else json.loads(raw)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ReplicaError(
                f"Ray Serve at {self._url} cannot be asked ({type(error).__name__}): see whether "
                "the cluster's dashboard runs."
            ) from error


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The whole answer.

    Raises:
        ValueError: it is longer than any state of a cluster.
    """
    raw = b""
    async for chunk in answer.content.iter_chunked(1 << 16):
        raw += chunk
        if len(raw) > MAX_BYTES:
            raise ValueError("too long")
    return raw


def _state_of(details: Mapping[str, Any]) -> ServeState:
    replicas, failed, configs = [], {}, {}
    for name, application in details["applications"].items():
        if application["status"] in ("DEPLOY_FAILED", "UNHEALTHY"):
            message = str(application.get("message") or application["status"])
            failed[name] = message[-MAX_ERROR_CHARS:]
        if application.get("deployed_app_config"):
            configs[name] = application["deployed_app_config"]
        for deployment, known in application["deployments"].items():
            replicas += [
                ServeReplica(name, deployment, str(one["replica_id"]), str(one["state"]))
                for one in known["replicas"]
            ]
    options = {name: details[name] for name in _KEPT if details.get(name) is not None}
    return ServeState(tuple(replicas), failed, configs, options)
