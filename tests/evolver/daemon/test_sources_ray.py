"""Ray's own table of nodes, from a cluster of this machine: nodes with GPUs come and go."""

from __future__ import annotations

import os
import time

import pytest

from evolver.daemon.sources_ray import RayNodes
from telemetry.cluster_events import Change
from telemetry.cluster_state import LiveCluster

# Ray's own files, pipes and deprecations are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_node_with_gpus_comes_and_is_ended(monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed: uv sync --extra ray")
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        monkeypatch.setitem(os.environ, name, "0")
    monkeypatch.setitem(os.environ, "RAY_AUTH_MODE", "disabled")
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    ray_cluster = Cluster(True, head_node_args=small)
    live = LiveCluster()
    try:
        source = RayNodes.at(ray_cluster.address)
        assert source.poll(live) == ()
        node = ray_cluster.add_node(num_cpus=1, num_gpus=2, object_store_memory=100 << 20)
        (came,) = heard(source, live)
        assert (came.change, came.node.gpus) == (Change.PRESENT, 2)
        ray_cluster.remove_node(node)
        (went,) = heard(source, live)
        assert (went.change, went.node) == (Change.GONE, came.node)
    finally:
        import ray

        ray.shutdown()
        ray_cluster.shutdown()


def heard(source, live):
    for _ in range(300):
        if found := source.poll(live):
            return found
        time.sleep(0.1)
    return ()
