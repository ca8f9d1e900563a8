"""The nodes of a Kubernetes cluster and their GPUs: listed once, then watched by a thread.

    source = KubernetesNodes()
    source.start()
    source.poll(cluster)     # now and then; never waits
    source.close()

A node counts while it is ready. One that is cordoned, tainted by whoever takes nodes away, or being
deleted is leaving. Needs the extra `kubernetes` and the right to list and watch nodes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from telemetry.cluster_events import Change, ClusterEvent, Node, plain_node
from telemetry.cluster_state import LiveCluster

SOURCE = "kubernetes"
GPU_RESOURCE = "nvidia.com/gpu"
GPU_LABELS = ("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator")
ZONE_LABEL = "topology.kubernetes.io/zone"
LEAVING_TAINTS = (
    "ToBeDeletedByClusterAutoscaler",
    "aws-node-termination-handler/",
    "cloud.google.com/impending-node-termination",
    "karpenter.sh/disrupt",
    "node.kubernetes.io/out-of-service",
)
WATCH_S = 60
CALL_TIMEOUT_S = 10.0
AGAIN_S = 5.0
MOST_TOLD = 20_000  # between two polls; beyond, the nodes are listed again

_log = logging.getLogger("evolver.daemon")

Object = Mapping[str, Any]
_Told = tuple[float, list[Object] | None, str, Object]  # when, a list or (kind, one node)


class KubernetesNodes:
    """Follows the nodes; the thread only listens, `poll` tells the live cluster.

    Args:
        api: a client of the cluster; the usual configuration where it is left out.
        clock: wall-clock seconds.

    Attributes:
        complaint: why the last call failed; empty while it works.
    """

    def __init__(self, api: object = None, clock: Callable[[], float] = time.time) -> None:
        self._api = api
        self._clock = clock
        self._told: deque[_Told] = deque(maxlen=MOST_TOLD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubernetes-nodes", daemon=True)
        self._watch: Any = None
        self.complaint = ""

    def start(self) -> None:
        """Begin to listen.

        Raises:
            ImportError: the extra is not installed.
        """
        try:
            import kubernetes  # noqa: F401
        except ImportError as missing:
            raise ImportError(
                "Kubernetes is not installed here: pip install 'evolver[kubernetes]'."
            ) from missing
        self._thread.start()

    def close(self) -> None:
        """Stop listening; the thread ends with its call at the latest."""
        self._stop.set()
        if self._watch is not None:
            self._watch.stop()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def poll(self, cluster: LiveCluster) -> tuple[ClusterEvent, ...]:
        """Tell what was heard since the last poll; what was new of it."""
        new: list[ClusterEvent] = []
        while self._told:
            unix_s, listed, kind, one = self._told.popleft()
            if listed is None:
                new += cluster.take(_events(unix_s, kind, one), SOURCE)
                continue
            events = [event for each in listed for event in _events(unix_s, "LISTED", each)]
            up = (Change.PRESENT, Change.LEAVING)
            there = [event.node for event in events if event.change in up]
            new += cluster.see(SOURCE, there, unix_s)
            new += cluster.take([e for e in events if e.change is Change.LEAVING], SOURCE)
        return tuple(new)

    def _run(self) -> None:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        while not self._stop.is_set():
            try:
                self._follow()
                self.complaint = ""
            except ApiException as refusal:
                self.complaint = f"the cluster refused to list nodes: {refusal.status}"
            except (HTTPError, OSError, ValueError) as broken:
                self.complaint = f"the cluster does not answer: {type(broken).__name__}"
            if self.complaint:
                _log.warning("kubernetes: %s", self.complaint)
                self._stop.wait(AGAIN_S)

    def _follow(self) -> None:
        """List all nodes, then watch from there until the server forgets where that was."""
        from kubernetes import client, watch

        core = client.CoreV1Api(self._api or _usual_client())
        listed = core.list_node(_request_timeout=CALL_TIMEOUT_S)
        plain = core.api_client.sanitize_for_serialization(listed)
        self._told.append((self._clock(), list(plain.get("items") or []), "", {}))
        version = str((plain.get("metadata") or {}).get("resourceVersion") or "")
        while not self._stop.is_set() and len(self._told) < MOST_TOLD:
            self._watch = watch.Watch()
            told = self._watch.stream(
                core.list_node, resource_version=version, timeout_seconds=WATCH_S,
                _request_timeout=(CALL_TIMEOUT_S, WATCH_S + CALL_TIMEOUT_S),
            )  # fmt: skip
            for event in told:
                one = event["raw_object"]
                self._told.append((self._clock(), None, event["type"], one))
                version = str(one.get("metadata", {}).get("resourceVersion") or version)


def _events(unix_s: float, kind: str, told: Object) -> list[ClusterEvent]:
    """What one node of the API amounts to; nothing for one without GPUs."""
    node = _node(told)
    if node is None:
        return []
    if kind == "DELETED" or not _ready(told):
        change = Change.GONE if kind == "DELETED" else Change.FAILED
        return [ClusterEvent(unix_s, change, node)] if kind != "LISTED" else []
    return [ClusterEvent(unix_s, Change.LEAVING if _leaving(told) else Change.PRESENT, node)]


def _node(told: Object) -> Node | None:
    metadata = told.get("metadata") or {}
    labels = metadata.get("labels") or {}
    count = str((told.get("status") or {}).get("allocatable", {}).get(GPU_RESOURCE, "0"))
    if not count.isdecimal() or len(count) > 4 or int(count) < 1:
        return None
    gpu = next((str(labels[name]) for name in GPU_LABELS if name in labels), "any")
    return plain_node(metadata.get("name"), int(count), gpu, labels.get(ZONE_LABEL, ""))


def _ready(told: Object) -> bool:
    conditions = (told.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _leaving(told: Object) -> bool:
    spec = told.get("spec") or {}
    taints = (str(one.get("key", "")) for one in spec.get("taints") or [])
    deleted = bool((told.get("metadata") or {}).get("deletionTimestamp"))
    return deleted or bool(spec.get("unschedulable")) or any(
        key.startswith(LEAVING_TAINTS) for key in taints
    )  # fmt: skip


def _usual_client() -> object:
    """The cluster this runs in, else the one of the kubeconfig."""
    from kubernetes import client, config

    try:
        config.load_incluster_config()
    except config.ConfigException:
        config.load_kube_config()
    return client.ApiClient()
