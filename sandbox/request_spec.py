"""The parts of a cluster file about requests: promises, classes, samples, what is predicted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sandbox.signal_profiles import UnknownSignals, signal_profile

Positive = Annotated[float, Field(gt=0, lt=1e9, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, lt=1e9, allow_inf_nan=False)]


def _known_signals(name: str) -> str:
    try:
        return signal_profile(name).name
    except UnknownSignals as unknown:
        raise ValueError(str(unknown)) from unknown


Signals = Annotated[str, AfterValidator(_known_signals)]


class Part(BaseModel):
    """A table of a cluster file: nothing but what it knows, and nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SloSpec(Part):
    """What a class of requests is promised, in seconds."""

    ttft_s: Positive = 2.0
    tpot_s: Positive = 0.1
    e2e_s: Positive = 60.0


class ClassSpec(Part):
    """Requests that are promised something of their own; see classes.py.

    Attributes:
        tenants, online, prompt_min_tokens, prompt_max_tokens: what a request must have to belong
            here; left out, anything does.
        slo: the class's own; the cluster's for online or offline work when left out.
        weight: shown to the policy.
        deadline_s: from arrival to the last token; the end-to-end target when left out.
        max_hold_s: how long its requests may be held; the tick's when left out.
        offline: True or False overrides what the trace says.
        drop_late: reject what has not started by its deadline.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    tenants: tuple[str, ...] = ()
    online: bool | None = None
    prompt_min_tokens: int = Field(default=0, ge=0)
    prompt_max_tokens: int = Field(default=2**31, ge=1)
    slo: SloSpec | None = None
    weight: Positive = 1.0
    deadline_s: Positive | None = None
    max_hold_s: Positive | None = None
    offline: bool | None = None
    drop_late: bool = False

    @property
    def takes_all(self) -> bool:
        """Does it match every request?"""
        least = self.prompt_min_tokens <= 1 and self.prompt_max_tokens >= 2**31 - 1
        return least and not self.tenants and self.online is None


class SamplesSpec(Part):
    """Several answers sampled in parallel for each request; see samples.py.

    Attributes:
        count: samples that a request asks for; the recorded answer is the first.
        needed: finished ones that end the request; the rest are stopped.
        check_every_tokens: the policy's `branches` is asked whenever samples are that much longer.
        length_sigma: spread of the log length of the other samples about the recorded length.
        score_noise: standard deviation of a score about the sample's quality.
        classes: names of the classes that ask for samples; all when left out.
    """

    count: int = Field(default=4, ge=1, le=64)
    needed: int = Field(default=2, ge=1, le=64)
    check_every_tokens: int = Field(default=256, ge=1, le=100_000)
    length_sigma: float = Field(default=0.5, ge=0, le=3)
    score_noise: float = Field(default=0.2, ge=0, le=10)
    classes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _needs_no_more_than_it_has(self) -> SamplesSpec:
        if self.needed > self.count:
            raise ValueError(f"{self.needed} samples are needed of {self.count}; lower needed")
        return self


class PredictorSpec(Part):
    """What policies are told about lengths to come, see predictions.py.

    Attributes:
        mode: noisy (a predictor with the error below), measured (the gateway's own predictor, run
            over the trace as it learns), history (the mean length of the class so far), none.
        sigma: standard deviation of the log error of `noisy`; None: policies get no prediction.
        bias: what predictions of `noisy` are too long by, as a factor.
        error_factor: of the log error of `noisy` and `measured`: 2 is a predictor twice as bad.
        workflow_sigma: the same spread for what is left of a workflow; None: no such prediction.
    """

    mode: Literal["noisy", "measured", "history", "none"] = "noisy"
    sigma: float | None = Field(default=0.5, ge=0, le=3)
    bias: float = Field(default=1.0, ge=0.05, le=20)
    error_factor: float = Field(default=1.0, ge=1, le=4)
    workflow_sigma: float | None = Field(default=0.5, ge=0, le=3)
