"""A tiny model, signed snapshots of policies for real engines, and the environment vLLM wants."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from policy_store.keys import SigningKey, TrustedKeys, new_signing_key, write_trusted
from policy_store.snapshot import (
    Approval,
    Snapshot,
    SnapshotPolicy,
    wall_clock,
    write_snapshot,
)
from sandbox.contract import CONTRACT_VERSION
from sandbox.verifier import verify
from serving_adapter.decision import BUILT_IN_DIGEST

from .tiny_model import make_model

WITHOUT = "vLLM is not installed: make test-vllm installs it and runs these"
WANTED = {
    "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # vLLM for the processor looks into everything that is loaded when it starts, and stumbles over
    # llvmlite's handle of its library: the engine of this very process has to be first.
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path != here / "test_scheduler.py")
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))  # those of vLLM's own packages
            if importlib.util.find_spec("vllm") is None:
                item.add_marker(pytest.mark.skip(reason=WITHOUT))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that two cores run."""
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@dataclass
class Desk:
    """Signs one snapshot after the other, and remembers what each named."""

    folder: Path
    key: SigningKey
    sequence: int = 0
    good: SnapshotPolicy | None = None
    named: dict[int, set[str]] = field(default_factory=lambda: {0: {BUILT_IN_DIGEST}})

    @property
    def snapshot(self) -> Path:
        return self.folder / "active.json"

    @property
    def trust(self) -> Path:
        return self.folder / "trust.json"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def log(self) -> Path:
        return self.folder / "decisions.jsonl"

    @property
    def environment(self) -> dict[str, str]:
        """What an engine is told."""
        return {
            "EVOLVER_SNAPSHOT": str(self.snapshot), "EVOLVER_TRUST": str(self.trust),
            "EVOLVER_STATE": str(self.state), "EVOLVER_ENGINE_NAME": "engine-0",
            "EVOLVER_DECISION_LOG": str(self.log),
        }  # fmt: skip

    def publish(self, source: str, *, is_good: bool = True, **parameters: float) -> SnapshotPolicy:
        """Sign a policy as the active one, with the latest good one behind it."""
        checked = verify(source, "policy")
        values = {**checked.parameters(), **parameters}
        policy = SnapshotPolicy(
            checked.digest(values), checked.canonical, values, CONTRACT_VERSION,
            Approval("ada", "a" * 64),
        )  # fmt: skip
        self._write(policy)
        self.good = policy if is_good else self.good
        return policy

    def publish_nothing(self) -> None:
        """The engine's own rules from now on."""
        self._write(None)
        self.good = None

    def _write(self, policy: SnapshotPolicy | None) -> None:
        self.sequence += 1
        now = wall_clock()
        self.named[self.sequence] = {BUILT_IN_DIGEST}
        self.named[self.sequence] |= {one.digest for one in (policy, self.good) if one is not None}
        snapshot = Snapshot(
            self.sequence, policy, self.good if policy else None, issued_at=now, not_before=now,
            expires_at=now + timedelta(days=1), audit_head="b" * 64,
        )  # fmt: skip
        write_snapshot(self.snapshot, snapshot, self.key)


@pytest.fixture(scope="session")
def new_desk(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Desk]:
    """Makes stores of one signer each."""

    def build() -> Desk:
        folder = tmp_path_factory.mktemp("desk")
        key = new_signing_key(folder / "keys", "ada")
        write_trusted(folder / "trust.json", TrustedKeys((key.public,)))
        return Desk(folder, key)

    return build


@pytest.fixture(scope="session", autouse=True)
def environment() -> Iterator[None]:
    """vLLM reads all this when it is imported."""
    before = dict(os.environ)
    os.environ.update(WANTED)
    yield
    os.environ.clear()
    os.environ.update(before)
