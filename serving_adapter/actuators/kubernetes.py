"""Replicas as Deployments of a Kubernetes cluster, through the official client.

    fleet = KubernetesFleet("serving", "llama", "llama-template", pools, router=router)
    async with fleet:
        outcome = await StepwiseActuator(fleet).apply(specs_of(plan, fleet.pools))

Draining takes the label `evolver/state=serving` from the pod, so select by it in Services and
InferencePools; a router of this process is told as well. It needs the extra `kubernetes` and the
rights to get, list, create, patch and delete Deployments, and to list and patch pods.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from types import TracebackType
from typing import Any

import aiohttp

from serving_adapter.actuators.asking import engine_state
from serving_adapter.actuators.kubernetes_objects import (
    DRAINING,
    FLEET_LABEL,
    REPLICA_LABEL,
    SERVING,
    SPEC_ANNOTATION,
    STATE_LABEL,
    Object,
    address_of,
    failure_of,
    is_ready,
    is_serving,
    replica_deployment,
    spec_of,
)
from serving_adapter.actuators.protocol import ReplicaState
from serving_adapter.actuators.replicas import PoolSpec, Replica, ReplicaSpec
from serving_adapter.actuators.router_side import RouterSide
from serving_adapter.errors import ReplicaError

CALL_TIMEOUT_S = 10.0
TRIES = 5
BETWEEN_TRIES_S = 0.2
GONE_POLL_S = 0.5
EXISTS, NOT_FOUND = "AlreadyExists", "NotFound"  # reasons as the API gives them
PASSING = frozenset({409, 429, 500, 502, 503, 504})


class KubernetesFleet:
    """The `ReplicaFleet` of one namespace.

    Args:
        namespace, fleet: where its replicas are, and the label by which they are found.
        template: name of the operator's Deployment from which they are made.
        pools: GPU types; `gpus` None where the scheduler or an autoscaler finds room.
        nodes: labels of the nodes of each pool.
        port: on which engines listen.
        settle_s: until every proxy of the cluster has heard that a label is gone.
        router: a router of this process, told beside the label.
        api: a client of the cluster; the usual configuration where it is left out.
    """

    def __init__(
        self,
        namespace: str,
        fleet: str,
        template: str,
        pools: tuple[PoolSpec, ...],
        *,
        nodes: Mapping[int, Mapping[str, str]] | None = None,
        port: int = 8000,
        settle_s: float = 5.0,
        router: RouterSide | None = None,
        api: object = None,
    ) -> None:
        self.pools = pools
        self.flips = False  # a role is a label of the pod's template: another one is another pod
        self._namespace = namespace
        self._fleet = fleet
        self._template = template
        self._nodes = dict(nodes or {})
        self._port = port
        self._settle_s = settle_s
        self._router = router
        self._api = api
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> KubernetesFleet:
        from kubernetes import client

        api = self._api or await asyncio.to_thread(_usual_client)
        self._apps, self._core = client.AppsV1Api(api), client.CoreV1Api(api)
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """The replicas stay: they are the cluster's."""
        if self._session is not None:
            await self._session.close()

    async def present(self) -> tuple[Replica, ...]:
        """Replicas that exist, ready or not, in the order they came."""
        select = f"{FLEET_LABEL}={self._fleet}"
        listed = await self._call(self._apps.list_namespaced_deployment, label_selector=select)
        pods = await self._pods(select)
        found = []
        for one in sorted(listed["items"], key=_age):
            name, spec = one["metadata"]["name"], spec_of(one)
            if spec is None:  # not made by a plan, whatever its label says
                continue
            mine = [pod for pod in pods if pod["metadata"]["labels"].get(REPLICA_LABEL) == name]
            ready = any(is_ready(pod) and is_serving(pod) for pod in mine)
            if self._router is not None:
                ready = ready and name in self._router.added()
            leaving = bool(one["metadata"].get("deletionTimestamp")) or not one["spec"]["replicas"]
            failed = leaving or bool(failure_of(mine))
            found.append(Replica(name=name, spec=spec, ready=ready, failed=failed))
        return tuple(found)

    async def start(self, spec: ReplicaSpec) -> str:
        """Create the Deployment of one replica; its name."""
        template = await self._call(self._apps.read_namespaced_deployment, self._template)
        name = f"{self._fleet}-{uuid.uuid4().hex[:10]}"
        nodes = self._nodes.get(spec.shape.pool, {})
        body = replica_deployment(template, name, self._fleet, spec, nodes)
        # The name is ours alone, so that it exists says that an attempt without answer succeeded.
        await self._call(self._apps.create_namespaced_deployment, body=body, settled=(EXISTS,))
        return name

    async def state(self, name: str) -> ReplicaState:
        """How one replica is now."""
        pods = await self._pods(f"{REPLICA_LABEL}={name}")
        url = next((url for pod in pods if (url := address_of(pod, self._port))), "")
        failed = failure_of(pods)
        if not url and not failed:
            return ReplicaState(ready=False, running_requests=0)
        inside = -1 if self._router is None else self._router.inside(name)
        state = await engine_state(self._open_session(), url, inside, failed)
        return replace(state, ready=state.ready and any(map(is_ready, pods)))

    async def add(self, name: str) -> None:
        """Label its pod as serving, and tell the router."""
        pods = await self._label(name, SERVING)
        url = next((address_of(pod, self._port) for pod in pods if is_ready(pod)), "")
        if not url:
            raise ReplicaError(f"Replica {name} has no ready pod any more: see its events.")
        if self._router is not None:
            one = await self._call(self._apps.read_namespaced_deployment, name)
            await self._router.add(name, url, spec_of(one) or ReplicaSpec())

    async def change(self, name: str, spec: ReplicaSpec) -> None:
        """Note other lengths or shares on its Deployment, and tell the router."""
        notes = {SPEC_ANNOTATION: json.dumps(asdict(spec))}
        body = {"metadata": {"annotations": notes}}
        await self._call(self._apps.patch_namespaced_deployment, name, body=body)
        if self._router is not None:
            await self._router.change(name, spec)

    async def drain(self, name: str) -> None:
        """Take the label from its pod, and tell the router."""
        if self._router is not None:
            await self._router.drain(name)
        await self._label(name, DRAINING)
        await asyncio.sleep(self._settle_s)

    async def stop(self, name: str) -> None:
        """Scale it to nothing, wait until its pod is gone, delete it."""
        if self._router is not None:
            await self._router.remove(name)
        gone = (NOT_FOUND,)
        scale = self._apps.patch_namespaced_deployment_scale
        await self._call(scale, name, body={"spec": {"replicas": 0}}, settled=gone)
        while await self._pods(f"{REPLICA_LABEL}={name}"):
            await asyncio.sleep(GONE_POLL_S)
        await self._call(self._apps.delete_namespaced_deployment, name, settled=gone)

    async def _pods(self, select: str) -> list[Object]:
        listed = await self._call(self._core.list_namespaced_pod, label_selector=select)
        pods: list[Object] = listed["items"]
        return pods

    async def _label(self, name: str, state: str) -> list[Object]:
        """Label the pods of a replica; those there are."""
        pods = await self._pods(f"{REPLICA_LABEL}={name}")
        for pod in pods:
            body = {"metadata": {"labels": {STATE_LABEL: state}}}
            patch, settled = self._core.patch_namespaced_pod, (NOT_FOUND,)
            await self._call(patch, pod["metadata"]["name"], body=body, settled=settled)
        return pods

    async def _call(
        self,
        verb: Callable[..., Any],
        *names: str,
        settled: tuple[str, ...] = (),
        **options: object,
    ) -> Object:
        """One call of the API, tried again after conflicts and what passes; its JSON.

        Args:
            verb: of the client.
            names: before the namespace.
            settled: reasons of a refusal that leave nothing to do; gives {}.

        Raises:
            ReplicaError: it was refused, or did not go through in several tries.
        """
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        options |= {"_preload_content": False, "_request_timeout": CALL_TIMEOUT_S}
        reason = ""
        for number in range(TRIES):
            await asyncio.sleep(BETWEEN_TRIES_S * number)
            try:
                answer = await asyncio.to_thread(verb, *names, self._namespace, **options)
                found: Object = json.loads(answer.data)
                return found
            except ApiException as refusal:
                if _reason(refusal.body) in settled:
                    return {}
                reason, passing = f"{refusal.status} {refusal.reason}", refusal.status in PASSING
            except HTTPError as broken:
                reason, passing = type(broken).__name__, True
            except ValueError:
                reason, passing = "no JSON", True
            if not passing:
                break
        what = getattr(verb, "__name__", "a call").replace("_namespaced", "")
        raise ReplicaError(f"The cluster refused {what} ({reason}): see its events.")

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise ReplicaError("The fleet is not open: enter it with `async with`.")
        return self._session


def _reason(body: str | bytes | None) -> str:
    """Why the API refused, in its one word."""
    try:
        told = json.loads(body or "{}")
        return str(told.get("reason", "")) if isinstance(told, dict) else ""
    except (ValueError, RecursionError):
        return ""


def _age(deployment: Object) -> tuple[str, str]:
    return deployment["metadata"].get("creationTimestamp") or "", deployment["metadata"]["name"]


def _usual_client() -> object:
    """The cluster this runs in, else the one of the kubeconfig."""
    from kubernetes import client, config

    try:
        config.load_incluster_config()
    except config.ConfigException:
        config.load_kube_config()
    return client.ApiClient()
