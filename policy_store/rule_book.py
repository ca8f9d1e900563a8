"""The approval rules that are installed: who put each there and when, and who took it away."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from policy_store import audit
from policy_store.engine import Database
from policy_store.errors import ForbiddenMove, RuleRefused, StaleDecision, UnknownRule
from policy_store.intake import plain_name, required_note
from policy_store.lifecycle import State
from policy_store.records import Alias, AuditEntry, Role
from policy_store.slots import read_slot
from policy_store.tables import AccountRow, AuditRow, RuleRow, VersionRow
from sandbox.identity import text_digest

if TYPE_CHECKING:
    from policy_store.rules import Rule

DAY = timedelta(hours=24)
AGAINST = ("rejected", "ejected", "rolled_back")
MOST_RULES = 50


@dataclass(frozen=True, slots=True)
class InstalledRule:
    """A rule on record; `rule` is None, and `problem` says why, when it cannot be read any more."""

    id: int
    name: str
    text: str
    rule: Rule | None
    problem: str
    installed_by: str
    installed_at: datetime
    removed_by: str | None
    removed_at: datetime | None

    @property
    def digest(self) -> str:
        """Of the text."""
        return text_digest(self.text)


class RuleBook:
    """Installing, removing and reading rules; each change commits with its audit entry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def now(self) -> datetime:
        """By the store's clock."""
        return self._database.clock()

    def install(self, text: str, by: str, note: str) -> InstalledRule:
        """Let a rule apply to what is measured from now on.

        Raises:
            RuleRefused: the text is no rule.
            ForbiddenMove: one of that name is installed, there are too many, or `by` is no admin.
        """
        from policy_store.rule_text import read_rule

        rule, note, by = read_rule(text), required_note(note), plain_name(by)
        with self._database.deciding() as session:
            _check_admin(session, by)
            names = set(session.scalars(select(RuleRow.name).where(RuleRow.removed_at.is_(None))))
            if rule.name in names:
                raise ForbiddenMove(
                    f"A rule {rule.name} is installed: remove it first, or choose another name."
                )
            if len(names) >= MOST_RULES:
                raise ForbiddenMove(f"There are {MOST_RULES} rules already: remove some.")
            number = (session.scalar(select(func.max(RuleRow.id))) or 0) + 1
            row = RuleRow(
                id=number, name=rule.name, text=text, installed_by=by,
                installed_at=self._database.clock(),
            )  # fmt: skip
            session.add(row)
            self._write(session, "rule_installed", by, note, row)
            return _installed(row)

    def remove(self, name: str, by: str, note: str) -> InstalledRule:
        """Let a rule apply no more; it stays on record.

        Raises:
            UnknownRule: none of that name is installed.
            ForbiddenMove: `by` is no admin.
        """
        note, by = required_note(note), plain_name(by)
        with self._database.deciding() as session:
            _check_admin(session, by)
            row = _find(session, name)
            row.removed_by, row.removed_at = by, self._database.clock()
            self._write(session, "rule_removed", by, note, row)
            return _installed(row)

    def installed(self) -> tuple[InstalledRule, ...]:
        """Those that apply, oldest first, which is the order in which they are asked."""
        return self._listed(removed=False, limit=MOST_RULES)

    def removed(self, limit: int = 50) -> tuple[InstalledRule, ...]:
        """Those that applied once, last removed first."""
        return self._listed(removed=True, limit=limit)

    def get(self, name: str) -> InstalledRule:
        """The installed rule of a name.

        Raises:
            UnknownRule: there is none.
        """
        with self._database.reading() as session:
            return _installed(_find(session, name))

    def deeds(self, name: str, limit: int = 10) -> tuple[AuditEntry, ...]:
        """What rules of a name approved lately, newest first."""
        log = audit.AuditLog(self._database)
        return log.entries(actor=f"rule:{name}", action="approved", newest_first=True, limit=limit)

    def approved_lately(self, rule: Rule) -> int:
        """Approvals by rules of that name in the last 24 hours."""
        with self._database.reading() as session:
            return _approved_since(session, rule, self._database.clock() - DAY)

    def decided_against(self, policy: str) -> tuple[str, ...]:
        """The ways in which a policy (full digest) was decided against or taken back."""
        with self._database.reading() as session:
            return _against(session, policy)

    def check_installed(self, session: Session, installed: InstalledRule) -> None:
        """Inside a decision: pass while nobody has removed the rule.

        Raises:
            StaleDecision: somebody has.
        """
        kept = session.get(RuleRow, installed.id)
        if installed.rule is None or kept is None or kept.removed_at is not None:
            raise StaleDecision(f"Rule {installed.name} does not apply any more: it was removed.")

    def check_still(
        self, session: Session, installed: InstalledRule, row: VersionRow, active: tuple[str, int]
    ) -> None:
        """Inside the deciding transaction: what the judgement rested on is still so.

        Args:
            active: deployment and the sequence of its active slot.

        Raises:
            StaleDecision: it is not.
        """
        self.check_installed(session, installed)
        rule, why = installed.rule, ""
        if row.state is not State.EVALUATED or _against(session, row.digest):
            why = f"policy {row.digest[:12]} is {row.state.value} now"
        elif read_slot(session, active[0], Alias.ACTIVE).sequence != active[1]:
            why = "the active policy was decided on again"
        elif (
            rule is not None
            and _approved_since(session, rule, self._database.clock() - DAY) >= rule.most_a_day
        ):
            why = f"it has approved {rule.most_a_day} in the last 24 hours, as many as it may"
        if why:
            raise StaleDecision(f"Rule {installed.name} does not apply any more: {why}.")

    def _listed(self, *, removed: bool, limit: int) -> tuple[InstalledRule, ...]:
        gone = RuleRow.removed_at
        query = select(RuleRow).where(gone.is_not(None) if removed else gone.is_(None))
        order = gone.desc() if removed else RuleRow.id
        with self._database.reading() as session:
            rows = session.scalars(query.order_by(order).limit(limit))
            return tuple(_installed(row) for row in rows)

    def _write(self, session: Session, action: str, by: str, note: str, row: RuleRow) -> None:
        details = {"rule": row.name, "number": row.id, "digest": text_digest(row.text)}
        if action == "rule_installed":
            details["text"] = row.text
        audit.append(session, at=self._database.clock(), actor=by, action=action, note=note,
                     details=details)  # fmt: skip


def _check_admin(session: Session, by: str) -> None:
    """Who has an account here installs rules as an admin only; doors ask about all others."""
    account = session.get(AccountRow, by)
    if account is not None and (account.disabled or account.role is not Role.ADMIN):
        raise ForbiddenMove(f"{by} is no admin: ask one to install or remove rules.")


def _find(session: Session, name: str) -> RuleRow:
    query = select(RuleRow).where(RuleRow.name == name, RuleRow.removed_at.is_(None))
    row = session.scalars(query).first()
    if row is None:
        raise UnknownRule(
            f"No rule {name[:80]!r} is installed: `evolver rule list` shows those that are."
        )
    return row


def _installed(row: RuleRow) -> InstalledRule:
    from policy_store.rule_text import read_rule

    rule, problem = None, ""
    try:
        rule = read_rule(row.text)
    except RuleRefused as error:
        problem = str(error)
    return InstalledRule(
        row.id, row.name, row.text, rule, problem, row.installed_by, row.installed_at,
        row.removed_by, row.removed_at,
    )  # fmt: skip


def _approved_since(session: Session, rule: Rule, since: datetime) -> int:
    query = select(func.count()).where(
        AuditRow.actor == rule.actor,
        AuditRow.action == "approved",
        AuditRow.at > audit.moment_text(since),
    )
    return session.scalar(query) or 0


def _against(session: Session, policy: str) -> tuple[str, ...]:
    query = select(AuditRow.action).where(AuditRow.subject == policy, AuditRow.action.in_(AGAINST))
    found = set(session.scalars(query))
    return tuple(word for word in AGAINST if word in found)
