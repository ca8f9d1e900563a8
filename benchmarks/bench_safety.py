"""Prints what safety costs: verifying, compiling, isolating, and each call against unchecked code.

Run by `make bench-safety`; `--only` prints one table, `-o markdown` prints tables for a page, `-o
json` every number. Nanoseconds are the best of many rounds, in turns, since other work on the
machine only ever slows a round down; a ratio is within one block of rounds, its interval over the
blocks. Milliseconds are medians with the 5th and 95th percentile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safety_calls import Cost
    from safety_stages import Drafts, Stage

    from sandbox.source import PolicySource

DRAFTS = Path(__file__).resolve().parents[1] / "tests" / "sandbox" / "drafts"
TARGET = 1.30  # of the unchecked call
Table = list[list[str]]


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", choices=("stages", "calls", "drafts"))
    options.add_argument("-o", "--output", choices=("table", "markdown", "json"), default="table")
    chosen = options.parse_args()
    show = {"table": _as_table, "markdown": _as_markdown}.get(chosen.output)
    wanted = [name for name in ("stages", "calls", "drafts") if chosen.only in (None, name)]
    found = {name: list(_MEASURED[name]()) for name in wanted}
    if show is None:
        plain = {name: [asdict(row) for row in rows] for name, rows in found.items()}
        print(json.dumps({"schema": 1, "machine": _machine(), **plain}))
        return
    print(_machine())
    for name, rows in found.items():
        if rows:
            print()
            show(_ROWS[name](rows))


def library() -> dict[str, str]:
    """Texts of all policies that ship, by name."""
    from evolver import library as policies
    from sandbox.policies import default_text

    return {"default": default_text()} | {name: policies.read(name) for name in policies.names()}


def _sources() -> dict[str, PolicySource]:
    from sandbox.verifier import verify

    return {name: verify(text, name) for name, text in library().items()}


def _stages() -> Iterator[Stage]:
    import safety_stages
    from safety_calls import Scene

    sources = _sources()
    yield from safety_stages.admission(library())
    yield from safety_stages.machine_code(list(sources.values()))
    yield from safety_stages.isolation()
    scene = Scene.of(sources["default"])
    yield from safety_stages.side_process(sources["default"], scene.request, scene.instances)


def _calls() -> Iterator[Cost]:
    from safety_calls import measure

    for name, source in _sources().items():
        if "route" in source.hooks:
            print(f"measuring {name}", file=sys.stderr)
            yield measure(name, source)


def _drafts() -> Iterator[Drafts]:
    from safety_stages import drafts

    yield from drafts(DRAFTS)


def _stage_rows(stages: Sequence[Stage]) -> Table:
    rows = [["step", "median", "p5", "p95", "over"]]
    for stage in stages:
        times = [_time(1e6 * stage.quantile(share)) for share in (0.5, 0.05, 0.95)]
        count = len(stage.milliseconds)
        if count == 1:
            times[1:] = ["", ""]
        rows.append([stage.name, *times, "once" if count == 1 else f"{count:,} {stage.each}"])
    return rows + [
        [f"{stage.name}, p99", _time(1e6 * stage.quantile(0.99)), "", "", ""]
        for stage in stages
        if stage.each == "decisions"
    ]


def _call_rows(costs: Sequence[Cost]) -> Table:
    rows = [["policy", "unchecked", "checked", "ratio", "interval", "from Python", "interpreted",
             "RestrictedPython", "CPython"]]  # fmt: skip
    for cost in sorted(costs, key=lambda one: one.ratio):
        restricted = "refused" if cost.restricted_ns is None else _time(cost.restricted_ns)
        mark = "" if cost.ratio < TARGET else " (!)"
        rows.append([
            cost.policy, _time(cost.unchecked_ns), _time(cost.checked_ns),
            f"{cost.ratio:.2f}{mark}", f"{min(cost.ratios):.2f} .. {max(cost.ratios):.2f}",
            _time(cost.from_python_ns), _time(cost.interpreted_ns), restricted,
            _time(cost.plain_ns),
        ])  # fmt: skip
    return rows


def _draft_rows(sets: Sequence[Drafts]) -> Table:
    rows = [["drafts", "accepted", "refused for", "verify, median", "p95"]]
    for one in sets:
        ordered = sorted(one.milliseconds)
        codes = ", ".join(f"{code} {count}" for code, count in sorted(one.refused.items()))
        rows.append([
            one.name, f"{one.accepted} of {one.count}", codes or "-",
            _time(1e6 * ordered[len(ordered) // 2]),
            _time(1e6 * ordered[int(0.95 * (len(ordered) - 1))]),
        ])  # fmt: skip
    return rows


_MEASURED: dict[str, Callable[[], Iterable[object]]] = {
    "stages": _stages, "calls": _calls, "drafts": _drafts,
}  # fmt: skip
_ROWS: dict[str, Callable[[Sequence[object]], Table]] = {
    "stages": _stage_rows, "calls": _call_rows, "drafts": _draft_rows,
}  # fmt: skip


def _time(nanoseconds: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


def _as_table(rows: Table) -> None:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        head, *rest = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([head, *rest]).rstrip())


def _as_markdown(rows: Table) -> None:
    head, *body = rows
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    print("\n".join(f"| {' | '.join(row)} |" for row in lines))


def _machine() -> str:
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.machine()
    return f"machine: {os.cpu_count()} x {processor}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
