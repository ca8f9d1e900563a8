"""A scenario file: one published evaluation as cluster, traffic, load, metric and baseline."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sandbox.kernel.calls import HOOKS

Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Sentence = Annotated[str, Field(min_length=8, max_length=600)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")]
Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Tokens = Annotated[int, Field(ge=1, le=1_000_000)]
Changes = dict[str, Any]
"""What is laid over a part of the file: tables merge, everything else is replaced; the elements of
a list go by number."""


class Strict(BaseModel):
    """Part of a scenario file: nothing unknown, nothing changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Lengths(Strict):
    """Log-normal whole numbers, cut to a range; equal ones with `sigma` 0."""

    median: Positive
    sigma: Annotated[float, Field(ge=0, le=3)] = 0.0
    least: Tokens = 1
    most: Tokens = 32_768

    @model_validator(mode="after")
    def _range(self) -> Lengths:
        if self.least > self.most:
            raise ValueError("least is above most; lower it")
        return self


class Flow(Strict):
    """Every arrival is a workflow: stages of calls that wait for all calls of the stage before.

    Attributes:
        stages: how many, the first is one call.
        width: calls of every later stage.
        think_s: mean pause before a stage, exponential; 0 for none.
        history: a call's prompt is what the call before it had and answered, and what was drawn.
    """

    stages: Lengths
    width: Lengths = Lengths(median=1)
    think_s: NotNegative = 0.0
    history: bool = False


class Prefix(Strict):
    """What prompts have in common: each begins with the text of one of some groups.

    Attributes:
        tokens: length of a group's text, in whole blocks of 64; prompts are what follows it.
        share: of arrivals that have one.
        zipf: how uneven groups are asked for; 0 is evenly.
        order: "drawn" at random; "scan" asks for one after the other, again and again.
    """

    groups: Annotated[int, Field(ge=1, le=10_000)]
    tokens: Lengths
    share: Share = 1.0
    zipf: Annotated[float, Field(ge=0, le=3)] = 0.0
    order: Literal["drawn", "scan"] = "drawn"


class Drawn(Strict):
    """Requests that are drawn.

    Attributes:
        correlation: of the normal scores of prompt and output.
        arrivals: "poisson", or "gamma" intervals with this coefficient of variation.
    """

    prompt: Lengths
    output: Lengths
    correlation: Annotated[float, Field(ge=-1, le=1)] = 0.0
    arrivals: Literal["poisson", "gamma"] = "poisson"
    cv: Annotated[float, Field(ge=0.05, le=20)] = 1.0
    workflow: Flow | None = None
    prefix: Prefix | None = None


class Phase(Strict):
    """When a part of the traffic comes: in each of equal cycles, between two shares of it."""

    start: Share = 0.0
    stop: Share = 1.0
    cycles: Annotated[int, Field(ge=1, le=200)] = 1

    @model_validator(mode="after")
    def _forward(self) -> Phase:
        if self.start >= self.stop:
            raise ValueError("a phase stops after it starts")
        return self


class Part(Strict):
    """Some of the traffic; the parts of a scenario are merged by time.

    Attributes:
        profile, file, drawn: a built-in profile, a file below the folder of traces, or drawn.
        requests: so many of them; of a file the first, all when left out.
        from_s, until_s: stretch of the file.
        tenant: all of this part is this tenant's; as recorded when left out.
        online: marks the part as online or offline work; as recorded when left out.
        deadline_times: a class of its own for this tenant whose deadline is so many times what its
            workflows, or requests without, take alone (the median of them).
    """

    profile: str | None = None
    file: str | None = None
    drawn: Drawn | None = None
    requests: Annotated[int, Field(ge=10, le=200_000)] | None = None
    from_s: NotNegative = 0.0
    until_s: Positive | None = None
    tenant: Label | None = None
    online: bool | None = None
    deadline_times: Positive | None = None
    phase: Phase = Phase()
    why: Sentence | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Part:
        if sum(one is not None for one in (self.profile, self.file, self.drawn)) != 1:
            raise ValueError("traffic names one of profile, file and drawn")
        if self.file is None and self.requests is None:
            raise ValueError("say how many requests to draw")
        if self.deadline_times is not None and self.tenant is None:
            raise ValueError("a deadline needs a tenant that it is the deadline of")
        return self


class Losses(Strict):
    """Nodes that go and come back, each by itself: exponential stays and absences."""

    nodes: Annotated[int, Field(ge=1, le=512)]
    stay_s: Positive
    away_s: Positive


class CapacityPart(Strict):
    """Which GPUs are there when.

    Attributes:
        file, profile, drawn: below the folder of traces, built in, or drawn.
        speed: runs so many times as fast, four at most.
        node: `GPU:COUNT` or `zone:COUNT`, what one node stands for.
        notice: true announces every loss, false none; as recorded when left out.
    """

    file: str | None = None
    profile: str | None = None
    drawn: Losses | None = None
    from_s: NotNegative = 0.0
    speed: Annotated[float, Field(ge=1, le=4)] = 1.0
    node: Annotated[str, Field(max_length=40)]
    notice: bool | None = None
    why: Sentence

    @model_validator(mode="after")
    def _one_source(self) -> CapacityPart:
        if sum(one is not None for one in (self.profile, self.file, self.drawn)) != 1:
            raise ValueError("capacity names one of profile, file and drawn")
        return self


class Metric(Strict):
    """What the system is judged by, see `measures`.

    Attributes:
        name: such as "ttft_p99_s", or of one class "interactive.ttft_p99_s".
        floor: smaller values count as this one, so that there is a ratio to nothing.
        sustains: the ratio is of the highest rates at which the number is at least this (at most,
            where lower is better); beside a published number only.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]+(\.[a-z0-9_]+)?$", max_length=80)]
    better: Literal["lower", "higher"]
    floor: Positive | None = None
    sustains: Positive | None = None

    @property
    def key(self) -> str:
        """What the ratio is of, in words."""
        return self.name if self.sustains is None else f"rate with {self.name} {self.sustains:g}"

    @property
    def rises(self) -> bool:
        """Is more of it better?"""
        return self.better == "higher" or self.sustains is not None


class Baseline(Strict):
    """Whom the system is compared with.

    Attributes:
        policy: of the library, or "default".
        parameters: constants of it, where they are not as written.
        cluster: what is laid over the scenario's cluster for the baseline alone.
    """

    policy: str = "default"
    parameters: dict[str, Finite] = {}
    cluster: Changes = {}
    why: Sentence


class Headline(Strict):
    """A number that was published; above 1 is better.

    Attributes:
        metric: of ours that stands beside it; the scenario's own when left out.
    """

    ratio: Annotated[float, Field(gt=0, le=1000)]
    kind: Literal["up to", "average", "at least", "about"]
    of: Annotated[str, Field(min_length=3, max_length=120)]
    against: Annotated[str, Field(min_length=3, max_length=200)]
    metric: Metric | None = None


class Control(Strict):
    """The scenario changed so that the effect must go.

    Attributes:
        changes: laid over the whole file.
        expect: "even" within a factor of `within`, "worse" than the baseline, or "less" than the
            scenario's own ratio.
    """

    name: Name
    changes: Changes
    expect: Literal["even", "worse", "less"]
    within: Annotated[float, Field(gt=1, le=2)] = 1.05
    why: Sentence


class Expect(Strict):
    """What a test holds the system to: at least this ratio; none when it shows no effect."""

    least_ratio: Positive


class ScenarioSpec(Strict):
    """One scenario.

    Attributes:
        system: policy of the library that this evaluation is of; technique: or engine option.
        says: what was published, in our words; read: what that rests on.
        decides: entrants keep these hooks only, the rest is the default's.
        parameters: constants of the system, where they are not as written.
        cluster: a shipped cluster's name, or a cluster file's content; `from` begins with a
            shipped one.
        load: share of what the default policy serves on the baseline's cluster; or rate_rps.
        differs: where ours is another thing, and why.
    """

    schema_: Literal[1] = Field(alias="schema")
    name: Name
    system: str | None = None
    technique: str | None = None
    paper: Annotated[str, Field(max_length=120)] | None = None
    code: Annotated[str, Field(max_length=200)] | None = None
    says: Sentence
    read: Literal["abstract", "paper", "code", "notes"]
    decides: Annotated[tuple[str, ...], Field(min_length=1, max_length=len(HOOKS))]
    parameters: dict[str, Finite] = {}
    mode: Literal["open", "backlog"] = "open"
    load: Annotated[float, Field(gt=0, le=10)] | None = None
    rate_rps: Positive | None = None
    load_why: Sentence
    cluster: str | Changes
    cluster_why: Sentence
    traffic: Annotated[tuple[Part, ...], Field(min_length=1, max_length=8)]
    capacity: CapacityPart | None = None
    metric: Metric
    baseline: Baseline
    headline: Annotated[tuple[Headline, ...], Field(max_length=8)] = ()
    control: Annotated[tuple[Control, ...], Field(max_length=8)] = ()
    expect: Expect | None = None
    differs: Annotated[tuple[Sentence, ...], Field(max_length=16)] = ()

    @model_validator(mode="after")
    def _agrees(self) -> ScenarioSpec:
        for pair in (("system", "technique"), ("paper", "code"), ("load", "rate_rps")):
            if (getattr(self, pair[0]) is None) == (getattr(self, pair[1]) is None):
                raise ValueError(f"name one of {pair[0]} and {pair[1]}")
        unknown = set(self.decides).difference(HOOKS)
        if unknown:
            raise ValueError(f"the contract has no hook {min(unknown)}")
        if self.metric.sustains is not None:
            raise ValueError("only the metric of a headline can be of a sustained rate")
        if self.technique is not None and not self.baseline.cluster:
            raise ValueError("the baseline of a technique needs a cluster without it")
        return self

    @property
    def needs_files(self) -> bool:
        """Does it read any file of the traces' folder?"""
        capacity = self.capacity is not None and self.capacity.file is not None
        return capacity or any(part.file is not None for part in self.traffic)

    @property
    def about(self) -> str:
        """The system or technique that it is the evaluation of."""
        return self.system or self.technique or ""
