"""An engine that is two lists, under hooks whose host and clock the tests hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from policy_store.snapshot import Approval, SnapshotPolicy
from sandbox.contract import CONTRACT_VERSION
from sandbox.verifier import verify
from serving_adapter.engine_hooks.decision_file import DecisionFile
from serving_adapter.engine_hooks.hook_metrics import HookMetrics
from serving_adapter.engine_hooks.hooks import EngineHooks
from serving_adapter.engine_hooks.preparing import prepare_engine_policy
from serving_adapter.exposition import Registry
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable

SHORTEST = '"""Shortest prompt first."""\n\ndef priority(request, instance, memory):\n' \
           "    return 1.0 * request.prompt_tokens\n"  # fmt: skip


@dataclass
class Job:
    name: str
    prompt_tokens: int
    arrived_s: float = 0.0


class ListEngine:
    """Shows its requests' prompts and how many run."""

    def __init__(self) -> None:
        self.waiting: list[Job] = []
        self.running: list[Job] = []

    def name_of(self, request: Job) -> str:
        return request.name

    def arrived_s(self, request: Job) -> float:
        return request.arrived_s

    def show_request(self, of, request: Job) -> None:
        of["prompt_tokens"][0] = request.prompt_tokens

    def show_instance(self, of) -> None:
        of["running_requests"][0] = len(self.running)
        of["queued_requests"][0] = len(self.waiting)
        of["token_budget"][0] = 2048


@dataclass
class Bench:
    """One engine under hooks, and what it wrote."""

    host: PolicyHost
    engine: ListEngine
    hooks: EngineHooks
    metrics: HookMetrics
    log: Path
    decisions: DecisionFile
    registry: Registry
    now_s: list[float] = field(default_factory=lambda: [0.0])

    def wait(self, *prompts: int) -> None:
        """These come, in this order."""
        for tokens in prompts:
            number = len(self.engine.waiting) + len(self.engine.running)
            self.engine.waiting.append(Job(f"{number}-{tokens}", tokens, float(number)))

    def order(self) -> list[int] | None:
        """The prompts of the waiting queue after one step's ordering."""
        self.hooks.begin_step()
        ordered = self.hooks.order(self.engine.waiting, self.engine.running)
        if ordered is None:
            return None
        self.engine.waiting, self.engine.running = ordered
        return [one.prompt_tokens for one in self.engine.waiting]

    def admitted(self, seats: int = 8, blocked: tuple[Job, ...] = ()) -> int:
        """How many may run in one step."""
        self.hooks.begin_step()
        running = len(self.engine.running)
        return self.hooks.admitted(self.engine.waiting, seats, running, blocked)

    def lines(self) -> list[dict[str, object]]:
        """The decision log so far."""
        self.decisions.flush()
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def bench(new_admission, tmp_path) -> Callable[..., Bench]:
    """Makes engines under hooks; policies are interpreted, since a test asks them a few times."""

    def build(name: str = "engine-0", state: Path | None = None, **options: object) -> Bench:
        now_s = [0.0]
        registry = Registry()
        host = PolicyHost(
            InstanceTable(), registry=registry, admission=new_admission(),
            prepare=partial(prepare_engine_policy, engine="interpreted"),
            state=state, clock=lambda: now_s[0], **options,
        )  # fmt: skip
        engine, metrics = ListEngine(), HookMetrics(registry)
        log = tmp_path / f"{name}.jsonl"
        decisions = DecisionFile(log, name)
        hooks = EngineHooks(host, engine, name=name, decisions=decisions, metrics=metrics)
        return Bench(host, engine, hooks, metrics, log, decisions, registry, now_s)

    return build


@pytest.fixture
def shortest() -> str:
    """A policy that orders by prompt length and decides nothing else."""
    return SHORTEST


@pytest.fixture
def signed_policy() -> Callable[[str], SnapshotPolicy]:
    """A source as a snapshot carries it."""

    def build(source: str) -> SnapshotPolicy:
        checked = verify(source, "policy")
        approval = Approval("ada", "a" * 64)
        return SnapshotPolicy(
            checked.digest(), checked.canonical, checked.parameters(), CONTRACT_VERSION, approval
        )

    return build
