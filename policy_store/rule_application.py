"""Rules at work: what every installed rule says about a policy, and the approval by one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from policy_store.errors import Fenced, ForbiddenMove, StaleDecision
from policy_store.gates import measured, objection
from policy_store.records import DEFAULT_DEPLOYMENT, Alias, PolicyDetails, Slot
from policy_store.rule_book import InstalledRule
from policy_store.rules import Action, Condition, Facts, Judgement, Rule, judge
from policy_store.store import PolicyStore
from policy_store.tables import VersionRow
from policy_store.trials import Trial
from sandbox.changes import Change, changes
from sandbox.errors import PolicyRefused

Check = Callable[[Session], None]
ALIASES = {Action.SHADOW: Alias.SHADOW, Action.CANARY: Alias.CANARY}


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of asking the rules.

    Attributes:
        judgements: of every rule that was asked, in order.
        rule: name of the one that approved; None when none did.
        trial: it started as this.
        said: one line; empty where no rule is installed.
    """

    judgements: tuple[Judgement, ...]
    rule: str | None
    trial: Alias | None
    said: str


def judged(store: PolicyStore, deployment: str, policy: str) -> tuple[Judgement, ...]:
    """What each installed rule says about a policy now; nothing is decided.

    Raises:
        UnknownPolicy: there is no such policy.
    """
    rules = store.rules.installed()
    if not rules:
        return ()
    scene = _Scene.of(store, deployment, policy)
    return tuple(scene.judgement(store, one, asked=False) for one in rules)


def tried(store: PolicyStore, deployment: str, rule: Rule, policy: str, by: str) -> Judgement:
    """What a rule that is not installed would say about a policy, installed now by somebody."""
    now = store.rules.now()
    candidate = InstalledRule(0, rule.name, "", rule, "", by, now, None, None)
    scene = _Scene.of(store, deployment, policy)
    return scene.judgement(store, candidate, asked=True)


def apply_rules(
    store: PolicyStore,
    policy: str,
    deployment: str = DEFAULT_DEPLOYMENT,
    *,
    asked: bool = False,
    check: Check | None = None,
) -> Applied:
    """Let the first rule that applies approve a policy.

    What was judged is looked at again inside the deciding transaction, so that a cap holds and a
    decision of somebody else counts, however many ask at once.

    Args:
        asked: a person asks for it now, so that older measurements count as well.
        check: looks once more, inside the decision, and raises what it has against it.

    Raises:
        UnknownPolicy: there is no such policy.
    """
    rules, judgements = store.rules.installed(), list[Judgement]()
    if not rules:
        return Applied((), None, None, "")
    scene = _Scene.of(store, deployment, policy)
    said = ""
    for installed in rules:
        judgement = scene.judgement(store, installed, asked=asked)
        judgements.append(judgement)
        if installed.rule is None or not judgement.fires:
            continue
        try:
            _approve(store, scene, installed, installed.rule, judgement, check)
        except Fenced:
            raise
        except (StaleDecision, ForbiddenMove) as held:
            said = str(held)
            continue
        alias = ALIASES.get(installed.rule.action)
        started = f" and started it as the {alias.value}" if alias else ""
        line = f"rule {installed.name} approved {scene.short}{started}"
        return Applied(tuple(judgements), installed.name, alias, line)
    return Applied(tuple(judgements), None, None, said or _none_applies(judgements))


def _none_applies(judgements: Sequence[Judgement]) -> str:
    """One line, with the reason of the rule that was nearest to applying."""
    nearest = min(judgements, key=lambda one: len(one.failed))
    if len(judgements) == 1:
        return nearest.sentence()
    return f"None of {len(judgements)} rules applies. {nearest.sentence()}"


def _approve(
    store: PolicyStore,
    scene: _Scene,
    installed: InstalledRule,
    rule: Rule,
    judgement: Judgement,
    check: Check | None,
) -> None:
    def still(session: Session, row: VersionRow) -> None:
        if check is not None:
            check(session)
        store.rules.check_still(session, installed, row, (active.deployment, active.sequence))

    active = scene.slots[Alias.ACTIVE]
    alias, trial = ALIASES.get(rule.action), None
    if alias is not None:
        trial = Trial(alias, scene.slots[alias].sequence, active.deployment, rule.weight)
    facts = {
        "rule": {
            "name": rule.name, "number": installed.id, "digest": installed.digest,
            "installed_by": installed.installed_by,
        },
        "conditions": {one.name: one.reason for one in judgement.conditions},
    }  # fmt: skip
    store.approve(
        scene.details.version.digest, rule.actor, _note(judgement),
        evidence=[one.digest for one in scene.details.evidence], trial=trial, facts=facts,
        check=still,
    )  # fmt: skip


def _note(judgement: Judgement) -> str:
    reasons = " ".join(one.reason for one in judgement.conditions)
    return f"{judgement.sentence()} {reasons}"[:4096]


@dataclass(frozen=True, slots=True)
class _Scene:
    """One policy and what is live, as they were when it was looked at."""

    details: PolicyDetails
    slots: dict[Alias, Slot]
    active_since: datetime | None
    elsewhere: bool
    measured_from: datetime | None
    change: Change | None
    against: tuple[str, ...]

    @classmethod
    def of(cls, store: PolicyStore, deployment: str, policy: str) -> _Scene:
        details = store.show(policy)
        slots = {slot.alias: slot for slot in store.slots(deployment)}
        active = slots[Alias.ACTIVE]
        elsewhere = active.digest != store.slot().digest
        return cls(
            details, slots, store.active_since(active), elsewhere, _measured_from(store, details),
            change_from(store, active.digest, details),
            store.rules.decided_against(details.version.digest),
        )  # fmt: skip

    @property
    def short(self) -> str:
        """First digits of the policy's digest."""
        return self.details.version.digest[:12]

    def judgement(self, store: PolicyStore, installed: InstalledRule, *, asked: bool) -> Judgement:
        """What one rule says."""
        if installed.rule is None:
            broken = f"The rule cannot be read any more. {installed.problem}"
            return Judgement(installed.name, (Condition("readable", False, broken),))
        return judge(installed.rule, self._facts(store, installed, installed.rule), asked=asked)

    def _facts(self, store: PolicyStore, installed: InstalledRule, rule: Rule) -> Facts:
        version = self.details.version
        evidence = self.details.evidence
        last = evidence[-1] if evidence else None
        earlier = [objection(measured(one), version.digest) for one in evidence[:-1]]
        alias = ALIASES.get(rule.action)
        holder = self.slots[alias].digest if alias else None
        return Facts(
            policy=version.digest,
            state=version.state,
            origin=version.origin,
            author=version.author,
            evidence=measured(last) if last else None,
            doubts=tuple(doubt for doubt in earlier if doubt),
            measured_at=last.attached_at if last else None,
            measured_from=self.measured_from,
            active_since=self.active_since,
            elsewhere=self.elsewhere,
            change=self.change,
            against=self.against,
            installed_by=installed.installed_by,
            installed_at=installed.installed_at,
            approved_today=store.rules.approved_lately(rule),
            holder=holder[:12] if holder and holder != version.digest else None,
            now=store.rules.now(),
        )


def change_from(store: PolicyStore, active: str | None, details: PolicyDetails) -> Change | None:
    """What a policy changes against another (None: the built-in default); None if unreadable."""
    old, old_parameters = None, None
    if active is not None:
        before = store.show(active)
        old, old_parameters = before.source.text, before.version.parameters
    try:
        return changes(old, details.source.text, old_parameters, details.version.parameters)
    except PolicyRefused:
        return None


def _measured_from(store: PolicyStore, details: PolicyDetails) -> datetime | None:
    """A run compares with what was active when it began."""
    if not details.evidence:
        return None
    run = details.version.run
    return store.runs.get_run(run).started_at if run else details.evidence[-1].attached_at
