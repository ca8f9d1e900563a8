"""Replicas as Kubernetes objects: what is created, and what pods say; no call is made.

A replica is a Deployment of one pod, made from the pod template of a Deployment that the operator
wrote (scaled to 0): image, volumes, probes and the arguments that plans leave open are his. A
replica lies within one node.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from serving_adapter.actuators.replicas import ROLES, ReplicaSpec, Shape
from serving_adapter.errors import ReplicaError

Object = dict[str, Any]

FLEET_LABEL = "evolver/fleet"
REPLICA_LABEL = "evolver/replica"
STATE_LABEL = "evolver/state"
SPEC_ANNOTATION = "evolver/spec"
GPU_RESOURCE = "nvidia.com/gpu"
SERVING, DRAINING = "serving", "draining"
MAX_SPEC_BYTES = 4096

TP_FLAG, PP_FLAG = "--tensor-parallel-size", "--pipeline-parallel-size"
NEVER_READY = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)


def replica_deployment(
    template: Object, name: str, fleet: str, spec: ReplicaSpec, node_selector: Mapping[str, str]
) -> Object:
    """The Deployment of one replica.

    Args:
        template: the operator's Deployment, as the API gives it.
        name: of the replica.
        fleet: value of the label by which replicas of one fleet are found.
        spec: what the plan wants.
        node_selector: labels of the nodes of its pool.

    Raises:
        ReplicaError: the template has no container.
    """
    labels = {FLEET_LABEL: fleet, REPLICA_LABEL: name}
    pod = copy.deepcopy(template["spec"]["template"])
    pod.setdefault("metadata", {}).setdefault("labels", {}).update(
        {**labels, STATE_LABEL: SERVING, "evolver/role": ROLES[spec.role]}
    )
    containers = pod["spec"].get("containers") or []
    if not containers:
        raise ReplicaError("The template Deployment has no container: give it the engine's.")
    engine = containers[0]
    engine["args"] = with_flags(engine.get("args") or [], spec.shape)
    limits = engine.setdefault("resources", {}).setdefault("limits", {})
    limits[GPU_RESOURCE] = str(spec.shape.gpus)
    pod["spec"].setdefault("nodeSelector", {}).update(node_selector)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {SPEC_ANNOTATION: json.dumps(asdict(spec))},
        },
        # A second pod of a replica that is rolled would need GPUs that the plan does not have.
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": pod,
        },
    }


def with_flags(arguments: Sequence[str], shape: Shape) -> list[str]:
    """Arguments with the parallelism of a shape, whatever they said of it before."""
    kept, skip = [], False
    for word in arguments:
        if skip:
            skip = False
        elif word in (TP_FLAG, PP_FLAG, "-tp", "-pp"):
            skip = True
        elif not word.startswith((TP_FLAG + "=", PP_FLAG + "=")):
            kept.append(word)
    return [*kept, TP_FLAG, str(shape.tp), PP_FLAG, str(shape.pp)]


def spec_of(deployment: Object) -> ReplicaSpec | None:
    """What a replica was made for; None where its annotation does not say."""
    text = (deployment["metadata"].get("annotations") or {}).get(SPEC_ANNOTATION, "")
    try:
        if len(text) > MAX_SPEC_BYTES:
            return None
        told = json.loads(text)
        shape = Shape(**told.pop("shape"))
        spec = ReplicaSpec(shape=shape, **{**told, "share": tuple(map(float, told["share"]))})
        numbers = (shape.pool, shape.tp, shape.pp, spec.role, spec.length_low_tokens)
        whole = all(isinstance(n, int) for n in (*numbers, spec.length_high_tokens))
        return spec if whole and spec.role in ROLES and min(shape.tp, shape.pp) >= 1 else None
    except (ArithmeticError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def is_serving(pod: Object) -> bool:
    """Whether services and routers that look at the label send requests to it."""
    labels: Mapping[str, str] = pod["metadata"].get("labels") or {}
    return labels.get(STATE_LABEL) == SERVING


def is_ready(pod: Object) -> bool:
    """Whether its readiness probe succeeds and nobody deletes it."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def failure_of(pods: Iterable[Object]) -> str:
    """Why a replica will not come up by itself; empty while it may."""
    for pod in pods:
        for container in (pod.get("status") or {}).get("containerStatuses") or []:
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in NEVER_READY:
                ended = (container.get("lastState") or {}).get("terminated") or {}
                because = f", it ended with {ended['reason']}" if ended.get("reason") else ""
                return f"its pod is in {waiting['reason']}{because}."
    return ""


def address_of(pod: Object, port: int) -> str:
    """Base URL of the engine in a pod; empty while it has no address."""
    address = (pod.get("status") or {}).get("podIP") or ""
    if not address:
        return ""
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
