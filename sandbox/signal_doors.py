"""The signal profile of each door: which fields of the contract's records it fills, and how well.

A name that is left out is missing there (NaN, -1 or False). `constants` are fields that a door
shows the same for every request, which tells a policy nothing. How the table came about, and what
it does, is in docs/signals.md; tests drive the doors' own code against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from sandbox import contract
from sandbox.records import dtype_of

Constants = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalProfile:
    """What one door lets a policy know.

    Attributes:
        name: what `--signals` and snapshots call it.
        summary: what it stands for, in one sentence.
        hooks: those that the door asks.
        fills: names of the fields it fills, by record; it shows no other record.
        constants: what it shows instead of nothing, by record and field.
        age_s: of what it is told of engines, at most. What went through it is counted at once, so
            this is about what several of one kind do not know of each other.
        prompt_error: relative standard error of prompt tokens, where they are estimated.
        remembers_prefix: cached prefix tokens are what the session's previous call left behind.
        learns_lengths: outputs are predicted as the mean of the answers so far.
        splits_by_seats: what runs and what waits is told apart by the seats that somebody stated of
            an engine; without those, all that went there runs.
    """

    name: str
    summary: str
    hooks: tuple[str, ...]
    fills: Mapping[str, frozenset[str]]
    constants: Constants = field(default_factory=lambda: MappingProxyType({}))
    age_s: float = 0.0
    prompt_error: float = 0.0
    remembers_prefix: bool = False
    learns_lengths: bool = False
    splits_by_seats: bool = False

    @property
    def known(self) -> frozenset[str]:
        """Fields that it fills, as `Instance.kv_used_tokens`."""
        return frozenset(f"{record}.{name}" for record in self.fills for name in self.fills[record])

    @property
    def missing(self) -> frozenset[str]:
        """Fields of the records it shows that tell nothing, named likewise."""
        every = {f"{record}.{name}" for record in self.fills for name in scalars(record)}
        return frozenset(every) - self.known

    @property
    def estimated(self) -> frozenset[str]:
        """Fields that it fills with an estimate."""
        found = {"Request.prompt_tokens"} if self.prompt_error else set()
        if self.remembers_prefix:
            found.add("Instance.cached_prefix_tokens")
        if self.splits_by_seats:
            found |= {f"Instance.{name}" for name in _SPLIT}
        return frozenset(found) & self.known


def scalars(record: str) -> tuple[str, ...]:
    """Fields of a record that hold one number."""
    dtype = dtype_of(getattr(contract, record))
    names = dtype.names or ()
    return tuple(one for one in names if not dtype[one].shape and not one.startswith("n_"))


def _every(*records: str) -> dict[str, frozenset[str]]:
    return {record: frozenset(scalars(record)) for record in records}


_ASKED = frozenset({"now_s", "age_s", "seed", "held_count"})
_OF_A_CALL = frozenset({"done_tokens", "branch", "branch_count", "preempted_count", "moved_count"})
_READ_OFF = frozenset(
    {
        "prompt_tokens", "predicted_output_tokens", "predicted_output_error", "tenant", "session",
        "turn", "last_instance", "prefix_key",
    }
)  # fmt: skip
_DECLARED = frozenset(
    {
        "role", "pool", "tp", "pp", "node", "zone", "length_low_tokens", "length_high_tokens",
        "share", "max_num_seqs", "token_budget", "prefill_tokens_per_s", "step_base_s",
        "step_per_seq_s", "step_per_context_s", "decode_tokens_per_s",
    }
)  # fmt: skip
_COUNTED = frozenset(
    {
        "id", "queued_requests", "queued_prompt_tokens", "running_requests", "oldest_wait_s",
        "predicted_remaining_tokens", "tenant_requests", "tenant_count",
    }
)  # fmt: skip
_SPLIT = frozenset({"queued_requests", "queued_prompt_tokens", "running_requests", "oldest_wait_s"})
_WATCHED = frozenset({"decoding_requests", "context_tokens", "mean_context_tokens", "step_time_s"})
_SCRAPED = frozenset(
    {
        "signal_age_s", "kv_used_tokens", "kv_capacity_tokens", "kv_predicted_tokens",
        "preemptions", "draining",
    }
)  # fmt: skip
_PREDICTED = frozenset({"predicted_output_tokens", "predicted_output_error"})
_REPLICA = frozenset(
    {"id", "queued_requests", "running_requests", "max_num_seqs", "cached_prefix_tokens"}
)
_SAME_REQUEST = MappingProxyType(
    {"class_id": 1.0, "weight": 1.0, "online": 1.0, "workflow_done_calls": 0.0}
)
_SAME_INSTANCE = MappingProxyType(
    {
        "role": contract.MIXED, "pool": 0, "tp": 1, "pp": 1, "length_low_tokens": 0,
        "length_high_tokens": 2**31, "share": 1.0, "offline_requests": 0,
    }
)  # fmt: skip

FULL = SignalProfile(
    name="full",
    summary="all that the simulator knows itself; no live door fills as much",
    hooks=(
        "should_reschedule", "schedule", "route", "route_decode", "priority", "migrate", "admit",
        "evict", "prewarm", "branches", "tune",
    ),
    fills=MappingProxyType(_every("Request", "Instance", "Window", "ClassRow")),
)  # fmt: skip

GATEWAY = SignalProfile(
    name="gateway",
    summary="what `evolver serve` reads off requests, counts itself, and scrapes every second",
    hooks=("route",),
    fills=MappingProxyType(
        {
            "Request": _ASKED | _OF_A_CALL | _READ_OFF,
            "Instance": _COUNTED | _WATCHED | _SCRAPED | {"cached_prefix_tokens"},
        }
    ),
    constants=MappingProxyType({"Request": _SAME_REQUEST, "Instance": _SAME_INSTANCE}),
    age_s=1.0,
    prompt_error=0.2,
    remembers_prefix=True,
    learns_lengths=True,
)
DECLARED = replace(
    GATEWAY,
    name="gateway-declared",
    summary="the same where the operator has declared what each engine is and how fast",
    fills=MappingProxyType({**GATEWAY.fills, "Instance": GATEWAY.fills["Instance"] | _DECLARED}),
    constants=MappingProxyType(
        {"Request": _SAME_REQUEST, "Instance": MappingProxyType({"offline_requests": 0})}
    ),
)
PICKER = replace(
    GATEWAY,
    name="endpoint-picker",
    summary="what a picker behind Envoy reads off requests, counts itself, and scrapes",
)
LITELLM = replace(
    GATEWAY,
    name="litellm",
    summary="own requests, queued or running by stated seats, and nothing of engines themselves",
    fills=MappingProxyType(
        {"Request": GATEWAY.fills["Request"], "Instance": _COUNTED | {"cached_prefix_tokens"}}
    ),
    # First tokens are only reported with the last, so nothing is known of who decodes.
    constants=MappingProxyType(
        {
            "Request": _SAME_REQUEST,
            "Instance": MappingProxyType(
                {
                    **_SAME_INSTANCE,
                    **dict.fromkeys(("decoding_requests", "context_tokens"), 0),
                    "mean_context_tokens": 0.0,
                }
            ),
        }
    ),
    age_s=0.0,
    splits_by_seats=True,
)

RAY_SERVE = SignalProfile(
    name="ray-serve",
    summary="queue lengths, what replicas report, and the windows that Serve's controller adds up",
    hooks=("should_reschedule", "schedule", "route"),
    fills=MappingProxyType(
        {
            "Request": _ASKED | _OF_A_CALL | (_READ_OFF - _PREDICTED),
            "Instance": (_SCRAPED - {"kv_predicted_tokens"}) | _REPLICA,
            "Window": frozenset(scalars("Window")) - {"busy", "reconfiguration_s", "last_switch_s"},
            "ClassRow": frozenset(scalars("ClassRow")) - {"reuse", "burstiness"},
        }
    ),
    constants=MappingProxyType(
        {
            "Request": _SAME_REQUEST,
            "Instance": MappingProxyType(
                {
                    "oldest_wait_s": 0.0,
                    **{k: v for k, v in _SAME_INSTANCE.items() if k != "offline_requests"},
                }
            ),
        }
    ),
    age_s=10.0,
    prompt_error=0.2,
    remembers_prefix=True,
)
VLLM = SignalProfile(
    name="vllm-scheduler",
    summary="what a vLLM scheduler knows: its own engine and its requests to the token",
    hooks=("priority", "admit", "tune"),
    fills=MappingProxyType(
        {
            "Request": _PREDICTED
            | {
                "now_s", "age_s", "seed", "prompt_tokens", "done_tokens", "preempted_count",
                "keyed_count", "session",
            },
            "Instance": _WATCHED
            | {
                "id", "tp", "pp", "signal_age_s", "queued_requests", "queued_prompt_tokens",
                "running_requests", "prefill_backlog_tokens", "longest_context_tokens",
                "oldest_wait_s", "kv_used_tokens", "kv_capacity_tokens", "max_num_seqs",
                "token_budget", "speculation_depth", "step_base_s", "prefill_tokens_per_s",
                "decode_tokens_per_s", "knob_token_budget", "knob_speculation",
                "knob_offline_share", "knob_finetune_share",
            },
        }
    ),
    constants=MappingProxyType(
        {
            "Request": MappingProxyType(
                {
                    "class_id": 1, "branch_count": 1, "tenant": 0, "branch": 0, "held_count": 0,
                    "moved_count": 0, "weight": 1.0, "online": 1.0,
                }
            ),
            "Instance": MappingProxyType(
                {"role": contract.MIXED, "step_per_seq_s": 0.0, "step_per_context_s": 0.0}
            ),
        }
    ),
    learns_lengths=True,
)  # fmt: skip

DOORS: Mapping[str, SignalProfile] = MappingProxyType(
    {one.name: one for one in (FULL, GATEWAY, DECLARED, PICKER, VLLM, RAY_SERVE, LITELLM)}
)
