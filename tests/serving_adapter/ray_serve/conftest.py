"""A Ray with Serve for each file, on loopback and without a GPU, that no other Ray is joined to."""

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
START_S, ATTEMPT_S, STOP_S = 150.0, 80.0, 15.0  # a test that takes 240 s is killed


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def within(seconds):
    """Leaves what takes longer by a TimeoutError, also where Ray itself waits for ever."""

    def over(*_):
        raise TimeoutError(f"Ray took more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


class Serve:
    """A running Serve: where its HTTP proxy and its REST API are."""

    def __init__(self, port, dashboard):
        self.url, self.dashboard = f"http://127.0.0.1:{port}", f"http://{dashboard}"


def start(ray, api, folder):
    """A Ray of its own, and Serve in it."""
    context = ray.init(
        address="local",  # else it joins whatever Ray there is on this machine
        _temp_dir=folder, num_cpus=8, object_store_memory=100 << 20, include_dashboard=True,
        dashboard_host="127.0.0.1", dashboard_port=free_port(), log_to_driver=False,
        configure_logging=False,
    )  # fmt: skip
    port = free_port()
    api.start(http_options={"host": "127.0.0.1", "port": port})
    return Serve(port, context.dashboard_url)


@contextlib.contextmanager
def started(ray, api):
    """Tries again in what is left of the time: on a busy machine Ray gives up by itself, too."""
    end_s = time.monotonic() + START_S
    while True:
        folder = tempfile.mkdtemp(prefix="ray-")  # short, as its sockets' paths must be
        try:
            try:
                with within(min(end_s - time.monotonic(), ATTEMPT_S)):
                    running = start(ray, api, folder)
            except Exception:
                if end_s - time.monotonic() < ATTEMPT_S / 2:
                    raise
                continue
            yield running
            return
        finally:
            stop(ray, api, folder)


def stop(ray, api, folder):
    """End what runs, in whatever state it is; of a start that failed Ray itself forgets a part."""
    for end in (api.shutdown, ray.shutdown):
        with contextlib.suppress(Exception), within(STOP_S):
            if ray.is_initialized():  # else Serve would start another Ray to look for itself
                end()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder.encode() in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def serve():
    """Ray Serve; its processes find this package and the tests' modules by PYTHONPATH."""
    pytest.importorskip("ray.serve", reason="Ray Serve is not installed: uv sync --extra serve")
    kept = dict(os.environ)
    os.environ.pop("RAY_ADDRESS", None)
    os.environ |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.2",
    }  # fmt: skip
    import ray
    from ray import serve as api

    try:
        with started(ray, api) as running:
            yield running
    finally:
        os.environ.clear()
        os.environ |= kept
