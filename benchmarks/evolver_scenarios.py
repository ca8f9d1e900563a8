"""Development scenarios for the search's benchmark: small problems, each with another difficulty.

Traffic is drawn from the built-in profiles, so that nothing but this repository is needed. A
scenario is twenty windows or so of some hundred requests: 40 % to search on, the rest to choose on
and to be judged on. `KEPT_ASIDE` are for a last look: nothing may be tuned on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evolver.problem import Problem
    from sandbox.capacity import Pairing
    from sandbox.cluster import ClusterSpec
    from telemetry.trace import Trace


@dataclass(frozen=True)
class Scenario:
    """One problem.

    Attributes:
        words: what is difficult about it.
        profile: of the traffic; "chat" is the benchmarks' own.
        requests: how many of them.
        load: share of what the default policy serves.
        cluster: name of a cluster file, or a cluster in its words.
        nodes_come_and_go: one GPU in eight or so is away at any time.
    """

    name: str
    words: str
    profile: str
    requests: int
    load: float
    cluster: str | Mapping[str, Any]
    nodes_come_and_go: bool = False

    def problem(self, seed: int) -> Problem:
        """The scenario's problem; another seed is other traffic with the same statistics."""
        from evolver.problem import Problem
        from sandbox.replay import at_load

        cluster = self.cluster_spec()
        trace, report = at_load(self._trace(seed), cluster, self.load)
        return Problem(
            trace, cluster, report, self._pairing(cluster, trace.span_s, seed), seed=seed
        )

    def cluster_spec(self) -> ClusterSpec:
        """The cluster."""
        from sandbox.cluster import ClusterSpec, load_cluster

        if isinstance(self.cluster, str):
            return load_cluster(self.cluster)
        return ClusterSpec.model_validate({"name": self.name, **self.cluster})

    def _trace(self, seed: int) -> Trace:
        from workloads import chat

        from telemetry import generate, load_profile
        from telemetry.profile import TrafficProfile

        if self.profile == "chat":
            return chat(self.requests, 1.0, seed=seed, closed=True)
        profile = load_profile(self.profile)
        if not isinstance(profile, TrafficProfile):
            raise TypeError(f"{self.profile} is no profile of traffic.")
        return generate(profile, n=self.requests, seed=seed)

    def _pairing(self, cluster: ClusterSpec, span_s: float, seed: int) -> Pairing | None:
        from workloads import coming_and_going

        from sandbox.capacity import pair

        if not self.nodes_come_and_go:
            return None
        nodes = sum(pool.count for pool in cluster.pool)
        return pair(cluster, coming_and_going(nodes, span_s, seed=seed))


def _fleet(model: str, spot: bool = False, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """A cluster in its words: GPUs by type, and whatever else; queues are re-keyed each second."""
    counts = {gpu: more.pop(gpu) for gpu in ("H100", "A100", "L40S") if gpu in more}
    pool = [{"gpu": gpu, "count": count, "spot": spot} for gpu, count in counts.items()]
    return {"model": model, "pool": pool, "tick": {"rekey_s": 1.0}, **more}


SMALL, MIDDLE = "Llama-3.1-8B", "Qwen3-32B"
FEW = {"max_num_seqs": 6}
INTERACTIVE = {"name": "interactive", "prompt_max_tokens": 64, "weight": 4.0,
               "slo": {"ttft_s": 0.5, "tpot_s": 0.05, "e2e_s": 15.0}}  # fmt: skip
DOCUMENTS = {"name": "documents", "offline": True}

DEVELOPMENT: tuple[Scenario, ...] = (
    Scenario(
        "mixed-fleet", "three GPU types", "azure2023_conv", 4400, 0.85,
        _fleet(SMALL, engine=FEW, H100=1, A100=1, L40S=2),
    ),
    Scenario("edge", "two GPU types, small batches", "lmsys_arena", 4600, 0.9,
        _fleet(SMALL, engine=FEW, A100=1, L40S=2)),
    Scenario(
        "prefixes", "long prompts that share prefixes", "mooncake_conversation", 3600, 0.65,
        _fleet(SMALL, engine=FEW, H100=3),
    ),
    Scenario(
        "sessions", "each turn waits for the answer before it", "chat", 3200, 0.85,
        _fleet(SMALL, engine=FEW, A100=1, L40S=2),
    ),
    Scenario(
        "tight-kv", "few requests fit at once: preemptions", "azure2023_conv", 6000, 0.85,
        _fleet(MIDDLE, replica=[{"pool": 0, "tp": 1, "count": 2}],
               engine={"scheduler_reserve_full_isl": False}, H100=2),
    ),
    Scenario(
        "classes", "interactive and offline work side by side", "lmsys_arena", 5000, 0.85,
        _fleet(SMALL, engine=FEW, A100=2) | {"class": [INTERACTIVE, DOCUMENTS]},
    ),
    Scenario(
        "roles", "prompts and answers apart", "azure2023_conv", 4400, 0.85,
        _fleet(SMALL, engine=FEW, A100=2, L40S=3, replica=[
            {"pool": 0, "tp": 1, "count": 1, "role": "prefill"},
            {"pool": 1, "tp": 1, "count": 1, "role": "prefill"},
            {"pool": 0, "tp": 1, "count": 1, "role": "decode"},
            {"pool": 1, "tp": 1, "count": 2, "role": "decode"}]),
    ),
    Scenario(
        "spot", "GPUs leave and come back, plans are made anew", "azure2023_conv", 4400, 0.85,
        _fleet(SMALL, engine=FEW, spot=True, switch={"start_s": 5.0, "grace_s": 10.0},
               A100=1, L40S=3),
        nodes_come_and_go=True,
    ),
    Scenario(
        "samples", "four answers sampled, two needed", "lmsys_arena", 3400, 0.8,
        _fleet(SMALL, engine=FEW, samples={"count": 4, "needed": 2}, A100=2),
    ),
    Scenario(
        "bursts", "arrivals in bursts on unequal GPUs", "azure2023_code", 9000, 0.35,
        _fleet(SMALL, engine=FEW, H100=1, L40S=3),
    ),
)  # fmt: skip

KEPT_ASIDE: tuple[Scenario, ...] = (
    Scenario(
        "reasoning", "long answers, few at once", "servegen_reason", 3400, 0.85,
        _fleet(SMALL, engine=FEW, A100=1, L40S=2),
    ),
    Scenario(
        "long-prompts", "prompts of very unlike length on unequal GPUs", "mooncake_conversation",
        2200, 0.5, _fleet(SMALL, engine=FEW, H100=1, A100=1, L40S=2),
    ),
    Scenario(
        "drafts", "speculation whose depth a policy sets", "azure2023_conv", 3000, 0.85,
        _fleet(SMALL, engine=FEW, speculation={"depth": 2, "max_depth": 6}, A100=2),
    ),
)  # fmt: skip


def named(names: tuple[str, ...]) -> tuple[Scenario, ...]:
    """Scenarios by name; `KeyError` when there is none."""
    known = {one.name: one for one in (*DEVELOPMENT, *KEPT_ASIDE)}
    return tuple(known[name] for name in names)
