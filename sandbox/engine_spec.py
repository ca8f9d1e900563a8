"""Parts of a cluster file about engines beside plain steps: speculation, offload, fine-tuning."""

from __future__ import annotations

from pydantic import Field, model_validator

from sandbox.request_spec import Part


class SpeculationSpec(Part):
    """Speculative decoding in steps that only decode.

    Attributes:
        depth: tokens drafted per step at first; 0 is off.
        max_depth: `tune` may choose up to this.
        acceptance: probability that a drafted token is accepted, given those before it were.
        draft_share: time of one draft step as a share of a plain decode step.
    """

    depth: int = Field(default=0, ge=0, le=16)
    max_depth: int = Field(default=0, ge=0, le=16)
    acceptance: float = Field(default=0.7, ge=0, le=1, allow_inf_nan=False)
    draft_share: float = Field(default=0.05, ge=0, le=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _depth_in_range(self) -> SpeculationSpec:
        if self.depth > self.max_depth:
            raise ValueError("depth is above max_depth; raise max_depth")
        return self


class OffloadSpec(Part):
    """Experts of a mixture that lie in host memory and are brought in as tokens need them.

    Attributes:
        fetch_s: to bring in what one token misses, per step.
        new_share: how much of that each further token of a verification adds.
        hit: share of it that drafts foresee, and that comes while they are computed.
    """

    fetch_s: float = Field(ge=0, le=60, allow_inf_nan=False)
    new_share: float = Field(default=0.3, ge=0, le=1, allow_inf_nan=False)
    hit: float = Field(default=0.9, ge=0, le=1, allow_inf_nan=False)

    def fetching_s(self, depth: int) -> float:
        """To bring in what a verification of `depth` drafts misses."""
        return self.fetch_s * (1.0 + self.new_share * depth)


class FinetuneSpec(Part):
    """Fine-tuning beside serving, on every engine.

    Attributes:
        share: of the time of every step at first; `tune` may choose 0 to 0.9.
        kv_share: of the KV blocks, which it keeps for itself.
    """

    share: float = Field(default=0.2, ge=0, le=0.9, allow_inf_nan=False)
    kv_share: float = Field(default=0.1, ge=0, le=0.9, allow_inf_nan=False)
