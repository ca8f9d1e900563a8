"""Asks the installed approval rules about a policy, and tells hosts when one starts a trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolver.cli.publishing import publish, signing_key, user_name
from sandbox.home import home

if TYPE_CHECKING:
    from evolver.cli.screen import Screen
    from policy_store.rule_application import Applied
    from policy_store.store import PolicyStore


def ask_rules(
    store: PolicyStore, screen: Screen, policy: str, *, asked: bool = False
) -> Applied | None:
    """Let the first rule that applies approve a policy; None where no rule is installed.

    Args:
        asked: a person asks for it, so that older measurements count as well.

    Raises:
        KeyProblem: a rule may start a trial, and nobody can sign what hosts read; nothing is
            decided then.
    """
    from policy_store.rule_application import ALIASES, apply_rules

    rules = [one.rule for one in store.rules.installed() if one.rule is not None]
    if not store.rules.installed():
        return None
    starts = any(rule.action in ALIASES for rule in rules)
    # Before anything is decided: what cannot be signed must not be decided either.
    key = signing_key(home(), screen, user_name()) if starts else None
    applied = apply_rules(store, policy, asked=asked)
    if applied.trial is not None and key is not None:
        publish(store, home(), key)
    return applied
