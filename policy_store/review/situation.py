"""What a page showed when a decision was made on it, carried by the form and compared again.

The form's copy is signed, so that what has changed since can be told apart from what was made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from itsdangerous import BadSignature, URLSafeSerializer

from policy_store.errors import StaleDecision
from policy_store.records import Alias
from policy_store.review.settings import Settings
from policy_store.store import PolicyStore

BUILT_IN = "the built-in default"
DECIDED = ("approved", "rejected", "ejected", "rolled_back")


@dataclass(frozen=True, slots=True)
class Situation:
    """The facts that a decision rests on.

    Attributes:
        policy: digest of the policy decided on; None for a decision about the deployment alone.
        evidence: digests of its evidence, oldest first.
        holders: digest by alias of the deployment.
        sequences: of the slots, by alias.
        decided: number of the last entry of the audit log that decided about the policy, 0 for
            none: a policy that is rejected twice is not what it was between.
    """

    policy: str | None = None
    state: str = ""
    evidence: tuple[str, ...] = ()
    holders: Mapping[str, str | None] = field(default_factory=dict)
    sequences: Mapping[str, int] = field(default_factory=dict)
    decided: int = 0

    def expected(self, alias: Alias) -> int:
        """The sequence that the slot had."""
        return self.sequences.get(alias.value, 0)


def situation_of(store: PolicyStore, deployment: str, policy: str | None = None) -> Situation:
    """The facts as they are now.

    Raises:
        UnknownPolicy: there is no such policy.
    """
    slots = store.slots(deployment)
    holders = {slot.alias.value: slot.digest for slot in slots}
    sequences = {slot.alias.value: slot.sequence for slot in slots}
    if policy is None:
        return Situation(holders=holders, sequences=sequences)
    details = store.show(policy)
    evidence = tuple(record.digest for record in details.evidence)
    version = details.version
    last = store.audit.latest((version.digest,), DECIDED).get(version.digest)
    decided = last.sequence if last else 0
    return Situation(version.digest, version.state.value, evidence, holders, sequences, decided)


def sealed(situation: Situation, settings: Settings) -> str:
    """The text that a form carries."""
    return str(_serializer(settings).dumps(asdict(situation)))


def opened(text: str, settings: Settings) -> Situation:
    """The situation that a form carries.

    Raises:
        StaleDecision: the form is not from this page, or from before its secret changed.
    """
    try:
        fields: dict[str, Any] = _serializer(settings).loads(text)
    except BadSignature:
        raise StaleDecision(
            "This form was not made by this page, or too long ago: open the page again, then "
            "decide."
        ) from None
    return Situation(**{**fields, "evidence": tuple(fields["evidence"])})


def changes(shown: Situation, now: Situation) -> tuple[str, ...]:
    """What has happened since the page was shown, in sentences; none when nothing has."""
    said = []
    if shown.policy != now.policy:
        said.append("The form was made for another policy.")
    if shown.state != now.state:
        said.append(f"The policy was {shown.state} and is {now.state} now.")
    elif shown.decided != now.decided:
        said.append(f"The policy was decided on since, and is {now.state} again.")
    fresh = len(set(now.evidence) - set(shown.evidence))
    if fresh:
        said.append(f"{fresh} new piece{'s' if fresh > 1 else ''} of evidence came in.")
    for alias in Alias:
        before, after = shown.holders.get(alias.value), now.holders.get(alias.value)
        if before != after:
            word = alias.value.replace("_", " ")
            said.append(f"The {word} policy was {named(before)} and is {named(after)} now.")
        elif shown.expected(alias) != now.expected(alias):
            said.append(f"The {alias.value.replace('_', ' ')} place was decided on again.")
    return tuple(said)


def named(digest: str | None) -> str:
    """Who holds a place: the first digits of a digest, or the built-in default."""
    return digest[:12] if digest else BUILT_IN


def _serializer(settings: Settings) -> URLSafeSerializer:
    return URLSafeSerializer(settings.secret, salt="situation")
