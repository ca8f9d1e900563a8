"""One search as the daemon orders it: a file that its process reads, again after a kill."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from evolver.budget import Limits
from evolver.errors import RecordStale
from evolver.model_settings import ModelSettings
from policy_store.files import replace_file
from policy_store.records import Run
from policy_store.store import PolicyStore
from sandbox.capacity import Pairing
from sandbox.cluster import ClusterSpec
from telemetry.capacity import CapacityTrace
from telemetry.trace import TraceMeta

JOB, WINDOW, SAID = "job.json", "window.npz", "said.json"
PAGE = 50  # runs
CLOCKS_APART = timedelta(hours=1)  # of the daemon's machine and of the one that began the run


class JobCapacity(BaseModel):
    """GPUs that came and went, as JSON keeps them; see `telemetry.CapacityTrace`."""

    model_config = ConfigDict(frozen=True)

    name: str
    span_s: float
    initial_up: tuple[bool, ...]
    time_s: tuple[float, ...]
    node: tuple[int, ...]
    up: tuple[bool, ...]
    gpus: tuple[int, ...]
    zone: tuple[int, ...]
    pool: int | None
    gpus_per_node: int

    @classmethod
    def of(cls, pairing: Pairing) -> JobCapacity:
        """The same as plain values."""
        trace = pairing.trace
        columns = {name: tuple(getattr(trace, name).tolist()) for name in _COLUMNS}
        return cls(
            name=trace.meta.name, span_s=trace.span_s, pool=pairing.pool,
            gpus_per_node=pairing.gpus_per_node, **columns,
        )  # fmt: skip

    def pairing(self) -> Pairing:
        """As a search takes it."""
        meta = TraceMeta(name=self.name, format="events", clock="engine seconds of the window")
        columns = {name: getattr(self, name) for name in _COLUMNS}
        trace = CapacityTrace.of(meta, "availability", span_s=self.span_s, **columns)
        return Pairing(trace, self.pool, self.gpus_per_node)


_COLUMNS = ("initial_up", "time_s", "node", "up", "gpus", "zone")


class Job(BaseModel):
    """A search.

    Attributes:
        deployment, episode: whose it is; its run in the store carries both.
        began_unix_s: the wall clock at second 0 of its window.
        active_name, active_text: the policy that was live when it was ordered.
    """

    model_config = ConfigDict(frozen=True)

    deployment: str
    episode: int
    author: str
    cluster: ClusterSpec
    seed: int
    limits: Limits
    models: tuple[ModelSettings, ...] = ()
    workers: int = 1
    nice: int = 10
    accept_missing: tuple[str, ...] = ()
    began_unix_s: float
    active_name: str
    active_text: str
    capacity: JobCapacity | None = None

    def inputs(self, notes: tuple[str, ...] = ()) -> dict[str, object]:
        """What its run is found by."""
        return {
            "daemon": self.deployment, "episode": self.episode,
            "began_unix_s": self.began_unix_s, "notes": list(notes),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Said:
    """What the process of a search left behind at its end."""

    fault: str = ""
    hopeless: bool = False


def write_job(folder: Path, job: Job) -> None:
    """Put the order beside its window."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_file(folder / JOB, job.model_dump_json().encode("utf-8"), 0o600)


def read_job(folder: Path) -> Job:
    """The order.

    Raises:
        RecordStale: it is not there, or of another version.
    """
    try:
        return Job.model_validate_json((folder / JOB).read_bytes())
    except (OSError, ValueError) as error:
        raise RecordStale(f"The order of the search in {folder} cannot be read: {error}") from None


def run_of(store: PolicyStore, deployment: str, episode: int) -> Run | None:
    """The run of an episode, if it has begun, among all that began since the episode did."""
    last = store.daemons.episodes(deployment, 1)
    since = last[0].began_at - CLOCKS_APART if last and last[0].number == episode else None
    after = None
    while page := store.runs.list_runs(PAGE, after=after):
        for run in page:
            inputs = run.config.get("inputs")
            if isinstance(inputs, dict) and (inputs.get("daemon"), inputs.get("episode")) == (
                deployment, episode,
            ):  # fmt: skip
                return run
        if since is None or page[-1].started_at < since:
            return None
        after = page[-1].id
    return None


def say(folder: Path, said: Said) -> None:
    """Leave word for the daemon."""
    body = json.dumps({"fault": said.fault[:1000], "hopeless": said.hopeless})
    replace_file(folder / SAID, body.encode("ascii"), 0o600, durable=False)


def heard(folder: Path) -> Said:
    """What was left; nothing where nothing was."""
    try:
        body = json.loads((folder / SAID).read_bytes()[:16_384])
        return Said(str(body["fault"]), body["hopeless"] is True)
    except (OSError, ValueError, KeyError, TypeError):
        return Said()
