"""A Ray with Serve on this machine, on loopback and without a GPU."""

import os
import socket
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def started(ray, attempts=3):
    """A Ray on loopback; on a machine that is busy enough it gives up after half a minute."""
    for left in reversed(range(attempts)):
        try:
            return ray.init(
                num_cpus=8, object_store_memory=100 << 20, include_dashboard=True,
                dashboard_host="127.0.0.1", dashboard_port=free_port(), log_to_driver=False,
                configure_logging=False,
            )  # fmt: skip
        except Exception:
            ray.shutdown()
            if not left:
                raise
    return None


class Serve:
    """A running Serve: where its HTTP proxy and its REST API are."""

    def __init__(self, port, dashboard):
        self.url, self.dashboard = f"http://127.0.0.1:{port}", f"http://{dashboard}"


@pytest.fixture(scope="session")
def serve():
    """Ray Serve; its processes find this package and the tests' modules by PYTHONPATH."""
    pytest.importorskip("ray.serve", reason="Ray Serve is not installed: uv sync --extra serve")
    kept = dict(os.environ)
    os.environ |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.2",
    }  # fmt: skip
    import ray
    from ray import serve as api

    context = started(ray)
    port = free_port()
    api.start(http_options={"host": "127.0.0.1", "port": port})
    yield Serve(port, context.dashboard_url)
    api.shutdown()
    ray.shutdown()
    os.environ.clear()
    os.environ |= kept

