"""Roles, times and shares of evidence in words."""

from __future__ import annotations

from sandbox.evidence import Contender, Evidence, Role

ROLES = {
    Role.CANDIDATE: "this policy", Role.ACTIVE: "active policy",
    Role.BEST_HUMAN: "best human policy", Role.BEST_HUMAN_HINDSIGHT: "best human in hindsight",
    Role.BEST_HUMAN_TUNED: "best human with constants tuned",
    Role.BEST_HUMAN_UNTUNED: "best human as written",
}  # fmt: skip
MEASURED = {
    "ttft_mean_s": "time to first token, mean", "ttft_p99_s": "time to first token, p99",
    "tpot_mean_s": "time per output token, mean", "tpot_p99_s": "time per output token, p99",
    "e2e_p50_s": "end-to-end time, p50", "e2e_p99_s": "end-to-end time, p99",
    "slo_attainment": "requests within their objectives",
    "smooth_goodput": "smooth goodput, tokens a second",
}  # fmt: skip
GATES = {**MEASURED, "smooth_goodput": "smooth goodput", "rejected": "rejected requests",
         "reader_loss": "time readers lose",
         "profile": "step times true to this cluster"}  # fmt: skip
HUMANS = (Role.BEST_HUMAN, Role.BEST_HUMAN_HINDSIGHT, Role.BEST_HUMAN_TUNED,
          Role.BEST_HUMAN_UNTUNED)  # fmt: skip


def standing(evidence: Evidence, role: Role) -> Role | None:
    """The role that the numbers of a contender are listed under; None when nobody has the role."""
    found = (one.role for one in evidence.contenders if role in (one.role, *one.also))
    return next(found, None)


def best_human(evidence: Evidence) -> Role | None:
    """Where the best human policy is listed: as chosen before the sealed windows were opened."""
    return next((there for role in HUMANS if (there := standing(evidence, role))), None)


def roles_of(contender: Contender) -> str:
    """A contender's roles in words."""
    return ", ".join(ROLES[role] for role in (contender.role, *contender.also))


def seconds(value: float) -> str:
    """A time with its unit, to three digits or so."""
    if 0.0 < abs(value) < 0.1:
        return f"{1000 * value:.3g} ms"
    return f"{value:,.0f} s" if abs(value) >= 1000.0 else f"{value:.3g} s"


def gate_name(name: str) -> str:
    """A gate's name in words."""
    return GATES.get(name, name.replace("_", " "))


def count(value: float) -> str:
    """A number without a unit, to three digits or whole."""
    return f"{value:,.0f}" if abs(value) >= 100.0 else f"{value:.3g}"


def share(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.3g} %"


def lasting(seconds: float) -> str:
    """A length of time in its two largest units."""
    whole = max(round(seconds), 0)
    for size, unit, part_size, part in (
        (86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"),
    ):  # fmt: skip
        if whole >= size:
            rest = whole % size // part_size
            return f"{whole // size} {unit}" + (f" {rest} {part}" if rest else "")
    return f"{whole} s"
