"""A window of a trace for people: rates, lengths, how it changes, reuse, sessions, tenants."""

from __future__ import annotations

from sandbox.report import Report, Tone
from telemetry.window import Row, Spread, Window


def window_blocks(report: Report, window: Window) -> Report:
    """Add the window to the report."""
    whole, moves = window.whole, window.dynamics
    drawn = f", {window.generated_share:.0%} of them generated" if window.generated_share else ""
    about = (
        f"{whole.requests:,} requests in {window.span_s:,.0f} s{drawn}: "
        f"{whole.rate_rps:.3g} a second"
    )
    report.heading(window.name, about)
    report.plot("requests a second", moves.rate_series, f"over {window.span_s:,.0f} s")
    report.grid(
        ("", ">mean", ">p50", ">p95", ">p99", ">max"),
        [
            _spread("prompt tokens", whole.prompt_tokens),
            _spread("output tokens", whole.output_tokens),
            *([_spread("turns a session", window.structure.turns, 1)]
              if window.structure.sessions else []),
        ],
    )  # fmt: skip
    report.grid(("", ""), _facts(window))
    if len(window.rows) > 1:
        report.grid(
            ("class or tenant", ">share", ">rate /s", ">CV", ">prompt mean", ">output mean"),
            [_line(row) for row in window.rows],
        )
    return report.say(*window.notes, tone=Tone.DIM)


def _facts(window: Window) -> list[tuple[str, str]]:
    whole, moves, parts = window.whole, window.dynamics, window.structure
    facts = [
        ("burstiness", f"inter-arrival CV {_maybe(whole.cv_iat)}; busiest minute "
                       f"{_maybe(moves.peak_to_mean)} times the mean; autocorrelation at 1, 5, 15 "
                       f"min {_maybe(moves.acf_1)}, {_maybe(moves.acf_5)}, {_maybe(moves.acf_15)}"),
        ("drift", f"rate {_times(moves.rate_drift)}, prompts {_times(moves.prompt_drift)}, outputs "
                  f"{_times(moves.output_drift)} (greatest sixth over smallest)"),
    ]  # fmt: skip
    if parts.reuse_share is not None:
        facts.append(("prefix reuse", f"{parts.reuse_share:.1%} of {parts.blocks:,} blocks of "
                                      f"{parts.block_tokens} tokens"))  # fmt: skip
    if parts.sessions:
        facts.append(("sessions", f"{parts.sessions:,}; {parts.closed_loop_share:.0%} of requests "
                                  f"wait for another's end, think time p50 "
                                  f"{parts.think_s.p50:.3g} s"))  # fmt: skip
    if parts.tenants > 1:
        facts.append(
            ("tenants", f"{parts.tenants}, the greatest sends {parts.top_tenant_share:.0%}")
        )
    return facts


def _spread(name: str, spread: Spread, digits: int = 0) -> tuple[str, ...]:
    values = (spread.mean, spread.p50, spread.p95, spread.p99, spread.max)
    return (name, *(f"{value:,.{digits}f}" for value in values))


def _line(row: Row) -> tuple[str, ...]:
    return (
        row.label, f"{row.share:.0%}", f"{row.rate_rps:.3g}", _maybe(row.cv_iat),
        f"{row.prompt_tokens.mean:,.0f}", f"{row.output_tokens.mean:,.0f}",
    )  # fmt: skip


def _maybe(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"x{value:.3g}"
