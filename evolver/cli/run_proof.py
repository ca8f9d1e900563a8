"""The proof of a finished run for people: its rivals on the sealed windows, and the guardrails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from evolver.cli.run_words import share
from evolver.run_history import RunHistory, mapping, number_or_none, words
from evolver.verdict import ROLE_WORDS
from sandbox.report import Cell, Report, Tone

ROLES = {role.value: said for role, said in ROLE_WORDS.items()}


def proof(report: Report, history: RunHistory) -> None:
    """Rivals with intervals, the weakest first; then each guardrail once, broken ones as such."""
    rivals = [_rival(rival) for rival in _mappings(history.outcome.get("rivals"))]
    if not rivals:
        return
    report.heading("The proof", "on windows that the search did not see")
    report.grid(("against", "which is", ">less time", ">95 % interval", ">p", ">windows"), rivals)
    gates = list(_mappings(history.outcome.get("gates")))
    broken = [words(gate.get("sentence")) for gate in gates if gate.get("passed") is False]
    kept = {words(gate.get("name")): words(gate.get("sentence")) for gate in gates}
    for sentence in dict.fromkeys(broken):
        report.say(f"guardrail broken: {sentence}", tone=Tone.BAD)
    if not broken and kept:
        report.say(f"guardrails kept: {', '.join(sorted(kept))}", tone=Tone.DIM)


def _rival(rival: Mapping[str, object]) -> tuple[str | Cell, ...]:
    low, high = (number_or_none(rival.get(end)) for end in ("low", "high"))
    p = number_or_none(rival.get("p_value"))
    found = rival.get("roles")
    roles = [words(role) for role in found] if isinstance(found, list) else []
    which = ", ".join(ROLES.get(role, role) for role in roles)
    tone = Tone.GOOD if low is not None and low > 0 else Tone.PLAIN
    return (
        words(rival.get("name")), which,
        Cell(share(number_or_none(rival.get("gain"))), tone), f"{share(low)} .. {share(high)}",
        "-" if p is None else f"{p:.3f}", f"{number_or_none(rival.get('windows')) or 0:.0f}",
    )  # fmt: skip


def _mappings(value: object) -> Iterable[Mapping[str, object]]:
    return (mapping(one) for one in value) if isinstance(value, list) else ()
