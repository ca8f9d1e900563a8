"""`evolver rule`: what may be approved unasked; installed and removed by people, kept for ever."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Misused
from evolver.cli.options import OutFile, Output, OutputOption, Quiet, screen_of
from evolver.cli.policies import open_store
from evolver.cli.policy_commands import By, Note, Policy, stored_digest
from evolver.cli.publishing import USUAL, user_name
from evolver.cli.results import show_result
from sandbox.report import Report, Tone

if TYPE_CHECKING:
    from policy_store.records import AuditEntry
    from policy_store.rule_book import InstalledRule
    from policy_store.rules import Judgement, Rule

rule_app = typer.Typer(
    name="rule", no_args_is_help=True, help="What may be approved unasked, and on what conditions."
)
MAX_FILE_BYTES = 16_384
RuleFile = Annotated[Path, typer.Argument(metavar="FILE", help="A rule; see docs/rules.md.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of an installed rule.")]


@rule_app.command()
def install(
    context: typer.Context, file: RuleFile, note: Note, by: By = None, quiet: Quiet = False
) -> None:
    """Let a rule approve what is measured from now on.

    \b
    evolver rule install constants.toml --note "a month of these was fine"
    """
    from policy_store.rule_text import sentence_of

    screen, text = screen_of(context, quiet), _text(file)
    with open_store() as store:
        rule = store.rules.install(text, by or user_name(), note)
    if rule.rule is not None:
        screen.text(f"installed rule {rule.name}. {sentence_of(rule.rule)}")
    screen.next("evolver rule list", f'evolver rule remove {rule.name} --note "why"')


@rule_app.command()
def remove(
    context: typer.Context, name: Name, note: Note, by: By = None, quiet: Quiet = False
) -> None:
    """Let a rule approve nothing more; what it approved stays approved.

    \b
    evolver rule remove constants-to-canary --note "we look at each of them again"
    """
    with open_store() as store:
        rule = store.rules.remove(name, by or user_name(), note)
    screen_of(context, quiet).text(f"removed rule {rule.name}")


@rule_app.command(name="list")
def list_rules(
    context: typer.Context,
    removed: Annotated[bool, typer.Option("--removed", help="Those that applied once.")] = False,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """List rules in the order in which they are asked.

    \b
    evolver rule list
    evolver rule list --removed
    """
    screen = screen_of(context, quiet)
    with open_store() as store:
        rules = store.rules.removed() if removed else store.rules.installed()
    show_result(
        screen, output, out,
        lambda: {"rules": [_rule_json(one) for one in rules]},
        lambda: _list_report(rules),
    )  # fmt: skip
    if not rules and not removed:
        screen.next('evolver rule install FILE --note "why"')


@rule_app.command()
def show(
    context: typer.Context,
    name: Name,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Show one rule in words, as it was written, and what it approved lately.

    \b
    evolver rule show constants-to-canary
    """
    screen = screen_of(context, quiet)
    with open_store() as store:
        rule = store.rules.get(name)
        deeds = store.rules.deeds(rule.name)
    show_result(
        screen, output, out,
        lambda: {**_rule_json(rule), "approved": [
            {"policy": one.subject, "at": one.at.isoformat(), "note": one.note} for one in deeds]},
        lambda: _rule_report(rule, deeds),
    )  # fmt: skip


@rule_app.command(name="try")
def try_rules(
    context: typer.Context,
    policy: Policy,
    file: Annotated[
        Path | None, typer.Option("--rule", metavar="FILE", help="One that is not installed.")
    ] = None,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Say what each rule says about a policy, condition by condition; nothing is decided.

    \b
    evolver rule try 3f2a9c
    evolver rule try 3f2a9c --rule constants.toml    before it is installed
    """
    from policy_store.rule_application import judged, tried

    screen, rule = screen_of(context, quiet), None if file is None else _read(file)
    with open_store() as store:
        digest = stored_digest(store, policy)
        judgements: Sequence[Judgement] = (
            judged(store, USUAL, digest)
            if rule is None
            else (tried(store, USUAL, rule, digest, user_name()),)
        )
    show_result(
        screen, output, out,
        lambda: {"policy": digest, "judgements": [_judgement_json(one) for one in judgements]},
        lambda: _judgements_report(digest, judgements),
    )  # fmt: skip


@rule_app.command()
def apply(context: typer.Context, policy: Policy, quiet: Quiet = False) -> None:
    """Let the first rule that applies approve a policy, also one measured before the rule.

    \b
    evolver rule apply 3f2a9c
    """
    from evolver.cli.rule_applying import ask_rules

    screen = screen_of(context, quiet)
    with open_store() as store:
        digest = stored_digest(store, policy)
        applied = ask_rules(store, screen, digest, asked=True)
    if applied is None:
        screen.text("no rule is installed")
        screen.next('evolver rule install FILE --note "why"')
        return
    screen.text(applied.said)
    screen.next(f"evolver rule try {digest[:12]}" if applied.rule is None else "evolver status")


def _text(path: Path) -> str:
    if not path.is_file():
        raise Misused(f"There is no file {path}; check the path.")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise Misused(f"{path} is larger than a rule can be; give a TOML file of a rule.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Misused(f"{path} is not UTF-8 text; give a TOML file of a rule.") from None


def _read(path: Path) -> Rule:
    from policy_store.rule_text import read_rule

    return read_rule(_text(path))


def _said(rule: InstalledRule) -> str:
    from policy_store.rule_text import sentence_of

    return rule.problem if rule.rule is None else sentence_of(rule.rule)


def _rule_json(rule: InstalledRule) -> dict[str, object]:
    removed = rule.removed_at
    return {
        "name": rule.name, "sentence": _said(rule), "text": rule.text, "digest": rule.digest,
        "readable": rule.rule is not None, "installed_by": rule.installed_by,
        "installed_at": rule.installed_at.isoformat(), "removed_by": rule.removed_by,
        "removed_at": removed.isoformat() if removed else None,
    }  # fmt: skip


def _judgement_json(judgement: Judgement) -> dict[str, object]:
    return {
        "rule": judgement.rule, "applies": judgement.fires, "sentence": judgement.sentence(),
        "conditions": [
            {"name": one.name, "holds": one.holds, "reason": one.reason}
            for one in judgement.conditions
        ],
    }  # fmt: skip


def _list_report(rules: Sequence[InstalledRule]) -> Report:
    report = Report("Approval rules")
    if not rules:
        return report.say("None: a person decides about every policy.")
    for one in rules:
        report.heading(one.name).say(_said(one)).say(_history(one), tone=Tone.DIM)
    return report


def _rule_report(rule: InstalledRule, deeds: Sequence[AuditEntry]) -> Report:
    report = Report(f"Rule {rule.name}").say(_said(rule)).say(_history(rule), tone=Tone.DIM)
    report.heading("Approved lately")
    rows = [(f"{one.at:%Y-%m-%d %H:%M:%S} UTC", (one.subject or "")[:12]) for one in deeds]
    if rows:
        report.grid(("when", "policy"), rows)
    else:
        report.say("Nothing yet.")
    return report.heading("As written").code(rule.text, "toml")


def _history(rule: InstalledRule) -> str:
    said = f"installed by {rule.installed_by}, {rule.installed_at:%Y-%m-%d %H:%M:%S} UTC"
    if rule.removed_at is None:
        return said
    return f"{said}; removed by {rule.removed_by}, {rule.removed_at:%Y-%m-%d %H:%M:%S} UTC"


def _judgements_report(policy: str, judgements: Sequence[Judgement]) -> Report:
    report = Report(f"Rules about {policy[:12]}")
    if not judgements:
        return report.say("No rule is installed: a person decides.")
    for judgement in judgements:
        tone = Tone.GOOD if judgement.fires else Tone.PLAIN
        report.heading(judgement.rule).say(judgement.sentence(), tone=tone)
        report.grid(
            ("condition", "", "why"),
            [
                (one.name, "holds" if one.holds else "does not hold", one.reason)
                for one in judgement.conditions
            ],
        )
    return report
