"""The decisions of the review page: who may take each, when, and what will happen then.

One table for pages and the API; rules decide in `rule_application`. Each decision names what it
was made on, and the store refuses it when that has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from policy_store.errors import ForbiddenMove, InvalidInput, NothingLive, StaleDecision
from policy_store.gates import latest_evidence, objection, unheard
from policy_store.lifecycle import APPROVED_STATES, MOVES, State
from policy_store.people import likeness
from policy_store.records import Alias, Origin, PolicyDetails, Role
from policy_store.review.access import NotAllowed, Visitor
from policy_store.review.settings import Settings
from policy_store.review.situation import Situation, changes, named, situation_of
from policy_store.snapshot import VALID_FOR
from policy_store.store import PolicyStore
from policy_store.trials import Trial


class Verb(StrEnum):
    """What can be decided, as it stands in addresses."""

    APPROVE = "approve"
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTE = "promote"
    REJECT = "reject"
    END = "end"
    RENEW = "renew"
    ROLL_BACK = "roll-back"


LABELS = {
    Verb.APPROVE: "Approve", Verb.SHADOW: "Approve to shadow", Verb.CANARY: "Approve to canary",
    Verb.PROMOTE: "Promote", Verb.REJECT: "Reject", Verb.END: "End the trial",
    Verb.RENEW: "Renew",
    Verb.ROLL_BACK: "Roll back",
}  # fmt: skip
TRIALS = {Verb.SHADOW: Alias.SHADOW, Verb.CANARY: Alias.CANARY}
OF_DEPLOYMENT = (Verb.RENEW, Verb.ROLL_BACK)
APPROVALS = (Verb.APPROVE, Verb.SHADOW, Verb.CANARY)


@dataclass(frozen=True, slots=True)
class Offer:
    """A decision as a page offers it.

    Attributes:
        will: one sentence of what happens at once.
        why_not: why it cannot be taken now; empty when it can.
        override: it approves against the evidence, which is said, and stays in the audit.
    """

    verb: Verb
    label: str
    will: str
    why_not: str = ""
    override: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """A decision as somebody takes it.

    Attributes:
        seen: what it was made on.
        weight: of a canary; None is the site's usual one.
        override: who decides knows that the evidence speaks against it.
    """

    verb: Verb
    note: str
    seen: Situation
    weight: float | None = None
    override: bool = False


def offers(
    details: PolicyDetails, now: Situation, visitor: Visitor, settings: Settings
) -> tuple[Offer, ...]:
    """What can be decided about a policy, what comes of it, and why something cannot."""
    state, approved = details.version.state, details.version.state in APPROVED_STATES
    found = []
    if not approved:
        against = objection_here(details, settings)
        for verb in APPROVALS:
            why_not = _may_approve(details, visitor, against)
            if not why_not and State.APPROVED not in MOVES[state]:
                why_not = f"A policy that is {state.value} cannot be approved."
            will = _will(verb, details, now, settings)
            found.append(Offer(verb, LABELS[verb], will, why_not, override=bool(against)))
    else:
        for verb in (Verb.SHADOW, Verb.CANARY, Verb.PROMOTE):
            label = LABELS[verb].replace("Approve to", "Start as")
            will = _will(verb, details, now, settings)
            found.append(Offer(verb, label, will, _may_start(verb, details, now, visitor)))
        if details.version.digest in (now.holders.get("shadow"), now.holders.get("canary")):
            found.append(_offer(Verb.END, details, now, visitor, settings))
    if State.REJECTED in MOVES[state]:
        found.append(_offer(Verb.REJECT, details, now, visitor, settings))
    return tuple(found)


def objection_here(details: PolicyDetails, settings: Settings) -> str:
    """What stands against an ordinary approval for this deployment; empty for nothing."""
    against = objection(latest_evidence(details), details.version.digest)
    return against or unheard(details, settings.signals)


def rollback_offer(now: Situation, visitor: Visitor) -> Offer | None:
    """Taking the active policy back; None when the built-in default is active."""
    if now.holders.get("active") is None:
        return None
    good = now.holders.get("last_good")
    will = f"Every host goes back to {named(good)} at once; {named(now.holders['active'])} needs "
    return Offer(Verb.ROLL_BACK, LABELS[Verb.ROLL_BACK], will + "a new approval.",
                 _role_lacks(visitor))  # fmt: skip


def renewal_offer(now: Situation, visitor: Visitor) -> Offer | None:
    """Letting the active policy run for another term; None when nothing needs one."""
    active = now.holders.get("active")
    if active is None:
        return None
    will = f"{named(active)} may run for another {VALID_FOR.days} days from now; nothing else "
    return Offer(Verb.RENEW, LABELS[Verb.RENEW], will + "changes.", _role_lacks(visitor))


def perform(
    store: PolicyStore, settings: Settings, policy: str | None, order: Order, visitor: Visitor
) -> str:
    """Decide, in one transaction with its audit entry; a sentence of what happened.

    Raises:
        NotAllowed: the visitor's role, or the evidence, forbids it.
        StaleDecision: what the decision was made on has changed; its message says what.
        StoreError: the store refuses it for another reason.
    """
    lacks = _role_lacks(visitor)
    if lacks:
        raise NotAllowed(lacks)
    if (policy is None) != (order.verb in OF_DEPLOYMENT):
        kind = "the deployment as a whole" if policy else "one policy"
        raise InvalidInput(f"{LABELS[order.verb]} is a decision on {kind}: take it on that page.")
    now = situation_of(store, settings.deployment, policy)
    changed = changes(order.seen, now)
    if changed:
        raise StaleDecision(" ".join(changed))
    try:
        return _PERFORM[order.verb](store, settings, now, order, visitor)
    except (StaleDecision, ForbiddenMove, NothingLive, InvalidInput):
        # Somebody was quicker since that look: what they did says more than the store can.
        changed = changes(order.seen, situation_of(store, settings.deployment, policy))
        if not changed:
            raise
        raise StaleDecision(" ".join(changed)) from None


def _approve(
    store: PolicyStore, settings: Settings, now: Situation, order: Order, visitor: Visitor
) -> str:
    details = store.show(_policy(now))
    alias = TRIALS.get(order.verb)
    trial = _trial(alias, settings, order) if alias else None
    if details.version.state != now.state:
        raise StaleDecision(f"{named(now.policy)} is {details.version.state} now.")
    if details.version.state in APPROVED_STATES:
        if trial is None:
            raise InvalidInput("It is approved already: start it as shadow or canary, or promote.")
        slot = store.place(_policy(now), trial.alias, trial.expected_sequence, visitor.name,
                           order.note, settings.deployment, trial.weight)  # fmt: skip
        return f"{named(slot.digest)} runs as {slot.alias.value} now."
    against = objection_here(details, settings)
    refused = _may_approve(details, visitor, against)
    if refused or (against and not order.override):
        raise NotAllowed(refused or f"{against} An admin may approve it all the same: say so.")
    store.approve(
        _policy(now), visitor.name, order.note, evidence=order.seen.evidence,
        state=State(order.seen.state), trial=trial,
        facts={"override": against} if against else None,
    )  # fmt: skip
    place = f" and runs as {trial.alias.value} now" if trial else ""
    return f"{named(now.policy)} is approved{place}."


def _promote(
    store: PolicyStore, settings: Settings, now: Situation, order: Order, visitor: Visitor
) -> str:
    live = store.activate(_policy(now), order.seen.expected(Alias.ACTIVE), visitor.name,
                          order.note, settings.deployment)  # fmt: skip
    return f"{named(live.digest)} is active, as sequence {live.sequence}."


def _reject(store: PolicyStore, _: Settings, now: Situation, order: Order, visitor: Visitor) -> str:
    store.reject(_policy(now), visitor.name, order.note, evidence=order.seen.evidence,
                 state=State(order.seen.state))  # fmt: skip
    return f"{named(now.policy)} is rejected."


def _end(
    store: PolicyStore, settings: Settings, now: Situation, order: Order, visitor: Visitor
) -> str:
    for alias in (Alias.CANARY, Alias.SHADOW):
        if now.holders.get(alias.value) == _policy(now):
            store.withdraw(alias, order.seen.expected(alias), visitor.name, order.note,
                           settings.deployment)  # fmt: skip
            return f"The {alias.value} trial of {named(now.policy)} has ended."
    raise InvalidInput(f"{named(now.policy)} is in no trial: there is nothing to end.")


def _renew(
    store: PolicyStore, settings: Settings, _: Situation, order: Order, visitor: Visitor
) -> str:
    live = store.renew(order.seen.expected(Alias.ACTIVE), visitor.name, order.note,
                       settings.deployment)  # fmt: skip
    return f"{named(live.digest)} is renewed, as sequence {live.sequence}."


def _roll_back(
    store: PolicyStore, settings: Settings, _: Situation, order: Order, visitor: Visitor
) -> str:
    live = store.rollback(visitor.name, order.note, settings.deployment,
                          order.seen.expected(Alias.ACTIVE))  # fmt: skip
    return f"{named(live.digest)} is active again, as sequence {live.sequence}."


_PERFORM: dict[Verb, Callable[[PolicyStore, Settings, Situation, Order, Visitor], str]] = {
    Verb.APPROVE: _approve, Verb.SHADOW: _approve, Verb.CANARY: _approve, Verb.PROMOTE: _promote,
    Verb.REJECT: _reject, Verb.END: _end, Verb.RENEW: _renew,
    Verb.ROLL_BACK: _roll_back,
}  # fmt: skip


def _trial(alias: Alias, settings: Settings, order: Order) -> Trial:
    weight = None
    if alias is Alias.CANARY:
        weight = settings.canary_weight if order.weight is None else order.weight
    return Trial(alias, order.seen.expected(alias), settings.deployment, weight)


def _policy(now: Situation) -> str:
    if now.policy is None:
        raise InvalidInput("This decision is about one policy: name it.")
    return now.policy


def _role_lacks(visitor: Visitor) -> str:
    return "" if visitor.may(Role.REVIEWER) else f"{visitor.name} may read, not decide."


def _may_approve(details: PolicyDetails, visitor: Visitor, against: str) -> str:
    version = details.version
    if not visitor.may(Role.REVIEWER):
        return _role_lacks(visitor)
    if version.origin is Origin.PERSON and likeness(version.author) == likeness(visitor.name):
        return "You submitted it by hand, so somebody else has to approve it."
    if against and not visitor.may(Role.ADMIN):
        return f"{against} Only an admin may approve it all the same."
    return ""


def _may_start(verb: Verb, details: PolicyDetails, now: Situation, visitor: Visitor) -> str:
    digest = details.version.digest
    if not visitor.may(Role.REVIEWER):
        return _role_lacks(visitor)
    if now.holders.get("active") == digest:
        return "It is active."
    alias = TRIALS.get(verb)
    if alias is not None and now.holders.get(alias.value) == digest:
        return f"It is the {alias.value} already."
    return ""


def _offer(
    verb: Verb, details: PolicyDetails, now: Situation, visitor: Visitor, settings: Settings
) -> Offer:
    will = _will(verb, details, now, settings)
    return Offer(verb, LABELS[verb], will, _role_lacks(visitor))


def _will(verb: Verb, details: PolicyDetails, now: Situation, settings: Settings) -> str:
    """What will happen, in one plain sentence."""
    name = named(details.version.digest)
    active = named(now.holders.get("active"))
    held = now.holders.get(TRIALS[verb].value) if verb in TRIALS else None
    instead = f", in place of {named(held)}" if held not in (None, details.version.digest) else ""
    match verb:
        case Verb.APPROVE:
            return f"{name} may go live from now on; nothing changes on any host yet."
        case Verb.SHADOW:
            return (f"{name} decides beside {active}{instead}, on hosts that run shadows; no "
                    "request follows its decisions.")  # fmt: skip
        case Verb.CANARY:
            share = f"{100 * settings.canary_weight:g} % of traffic"
            return (f"{share}, unless you choose another share, goes to {name}{instead}, on hosts "
                    f"that run canaries; the rest stays with {active}.")  # fmt: skip
        case Verb.PROMOTE:
            return (
                f"Every host runs {name} from its next decision on; {active} is kept to go back to."
            )
        case Verb.END:
            return f"{name} gets no more traffic; it stays approved."
        case _:
            return f"{name} is decided against, and a trial of it ends; it can be approved later."
