"""What the API says about policies, decisions and what is live."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from policy_store.intake import MAX_NOTE_CHARS
from policy_store.lifecycle import State
from policy_store.records import Alias, Kind, Origin
from policy_store.review.actions import Verb

DIGEST = "3f9a1c7be0d24466a1f0c2d4b6e8091a2b3c4d5e6f708192a3b4c5d6e7f80912"
MAX_PAGE = 200
PLAIN = r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$"
NOTE = r"^[^\x00]*\S[^\x00]*$"

Digits = Annotated[
    str,
    Path(pattern="^[0-9a-f]{6,64}$", description="Its digest, or six or more of its first digits.",
         examples=[DIGEST]),
]  # fmt: skip
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="The most items of one page.")]
AfterNumber = Annotated[
    int, Query(ge=0, le=2**53, description="`next` of the page before; 0 begins.")
]
Note = Annotated[
    str,
    Field(min_length=1, max_length=MAX_NOTE_CHARS, pattern=NOTE,
          description="Why; it stays in the audit log.", examples=["9 % faster, gates pass"]),
]  # fmt: skip


class Said(BaseModel):
    """What the API answers; made from the store's records."""

    model_config = ConfigDict(from_attributes=True)


class Asked(BaseModel):
    """What the API is asked; nothing is guessed and nothing is passed over."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Policy(Said):
    """One policy: a source with its parameters under one version of the contract."""

    digest: str = Field(description="Its identity, 64 hex digits.", examples=[DIGEST])
    name: str
    state: State = Field(description="Where it stands between proposed and active.")
    origin: Origin = Field(description="Who wrote it.")
    author: str
    contract_version: int
    source_digest: str
    parameters: Mapping[str, float]
    parents: list[str] = Field(description="Digests of what it was made from.")
    run: str | None = Field(description="The evolution run that made it.")
    created_at: datetime


class PolicyPage(Said):
    """Policies, newest first."""

    items: list[Policy]
    next: str | None = Field(description="`after` for the next page; null at the end.")


class Document(Said):
    """A document about a policy, without its content."""

    digest: str
    kind: Kind = Field(description="Verdicts rest on `evidence` alone.")
    attached_at: datetime


class PolicyInFull(Policy):
    """A policy with what is known about it."""

    claim: str = Field(description="What its author says it does; it proves nothing.")
    verdict: str | None = Field(description="What was measured last, in a sentence.")
    outcome: str | None = Field(description="Of what was measured last.", examples=["improved"])
    objection: str = Field(
        description="Why approving it takes an admin who overrides it; empty: nothing does."
    )
    documents: list[Document] = Field(description="Oldest first.")


class Source(Said):
    """The canonical source: hostile text, whoever wrote it."""

    digest: str
    text: str
    claim: str


class DocumentInFull(Document):
    """A document about a policy."""

    document: Mapping[str, Any]


class Moved(Said):
    """A constant with another value; null where there is none."""

    old: float | None
    new: float | None


class Diff(Said):
    """What one policy changes about another."""

    old: str | None = Field(description="Null is the built-in default.")
    new: str
    change: str = Field(
        description="What really changed, computed from the syntax trees; empty when a source is "
        "no policy by today's rules."
    )
    unified: str = Field(description="Of the canonical sources; empty when they are the same.")
    parameters: Mapping[str, Moved] = Field(description="Constants that differ, by name.")


DECIDED = "Number of the audit log's last entry that decided about the policy; 0 for none."


class Situation(Said):
    """What a decision rests on."""

    policy: str | None = Field(description="Null for what is live as a whole.")
    state: str
    evidence: list[str] = Field(description="Digests, oldest first.")
    holders: Mapping[str, str | None] = Field(description="Digest by alias; null is nobody.")
    sequences: Mapping[str, int] = Field(description="Of each alias; they only grow.")
    decided: int = Field(description=DECIDED)


class Offer(Said):
    """A decision that can be taken, or why it cannot."""

    verb: Verb
    label: str
    will: str = Field(description="What happens at once, in a sentence.")
    why_not: str = Field(description="Why it cannot be taken now; empty when it can.")
    override: bool = Field(description="It goes against the evidence: send `override` too.")


class Offers(Said):
    """What can be decided about a policy now."""

    offers: list[Offer]
    seen: str = Field(description="Send it with the decision; signed, good until things change.")
    situation: Situation


class Seen(Asked):
    """What a decision was made on, spelt out."""

    state: Annotated[State, Field(strict=False)] = Field(description="The policy's state.")
    evidence: list[Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field(
        max_length=1000, description="Digests of all its evidence, oldest first."
    )
    sequences: dict[Literal["active", "last_good", "canary", "shadow"],
                    Annotated[int, Field(ge=0, le=2**53)]] = Field(
        description="Of the aliases; 0, or left out, where it was never set."
    )  # fmt: skip
    decided: int = Field(0, ge=0, le=2**53, description=DECIDED)


SEEN = Field(
    description="What it was made on: `seen` of the offers, or their situation spelt out. A "
    "decision counts once: sent again, it is stale.",
)


class Decision(Asked):
    """A decision about one policy."""

    verb: Literal["approve", "shadow", "canary", "promote", "reject", "end"] = Field(
        examples=["canary"]
    )
    note: Note
    seen: Annotated[str, Field(max_length=16_384)] | Seen = SEEN
    weight: float | None = Field(
        None, gt=0, le=1, description="Share of traffic of a canary; null: the usual one."
    )
    override: bool = Field(False, description="An admin decides against the evidence.")


class LiveDecision(Asked):
    """A decision about what is live, whichever policy that is."""

    note: Note
    seen: Annotated[str, Field(max_length=16_384)] | Seen = SEEN


class Remark(Asked):
    """More about a decision that was taken."""

    note: Note


class Decided(Said):
    """What came of a decision."""

    said: str = Field(description="What happened, in a sentence.")
    policy: Policy
    seen: str = Field(description="For the next decision about it.")


class Slot(Said):
    """What one alias names now."""

    alias: Alias
    digest: str | None = Field(description="Null is nobody; as `active`, the built-in default.")
    sequence: int
    changed_at: datetime | None
    weight: float | None = Field(description="Share of traffic that a canary is to get.")


class Live(Said):
    """What a deployment runs."""

    deployment: str
    slots: list[Slot]
    waiting: int = Field(description="How many policies wait for a decision.")
    rollback: Offer | None = Field(description="Null when the built-in default is active.")
    renewal: Offer | None = Field(description="Null when nothing needs to be renewed.")
    seen: str = Field(description="Send it with a roll-back or a renewal.")
    situation: Situation


class LiveDecided(Said):
    """What came of a decision about what is live."""

    said: str
    live: Live


class Ejection(Said):
    """A host's watchdog took a policy out."""

    digest: str
    sequence: int
    kind: str
    reason: str
    at: datetime


class Host(Said):
    """What one serving host last said."""

    host: str
    sequence: int
    digest: str | None = Field(description="Null: it runs the built-in default.")
    seen_at: datetime
    ejections: list[Ejection]
    facts: Mapping[str, float | str] = Field(description="Counts since it started, and words.")


class Hosts(Said):
    """All hosts of the deployment, by name."""

    items: list[Host]


class Activation(Said):
    """What one sequence named."""

    sequence: int
    digest: str | None
    last_good: str | None
    at: datetime


class ActivationPage(Said):
    """Activations, oldest first."""

    items: list[Activation]
    next: int | None = Field(description="`after` for the next page; null at the end.")


class Submission(Asked):
    """A policy that a person wrote."""

    source: str = Field(
        min_length=1, max_length=16_384, description="The file's text.",
        examples=["def route(request, instances, memory):\n    return instances[0].id\n"],
    )  # fmt: skip
    parameters: dict[Annotated[str, Field(pattern="^[A-Z][A-Z0-9_]{0,79}$")],
                     Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default_factory=dict, max_length=256, description="Values for its constants."
    )  # fmt: skip
    name: str = Field(
        "submitted", min_length=1, max_length=80, pattern=PLAIN, examples=["shortest-queue"]
    )
