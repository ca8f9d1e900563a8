"""Holds a log of decisions against the snapshots that were published: are laws 8 and 9 kept?

    log = DecisionLog("gateway")
    host.on_decision = log.add
    ...
    assert audit(log.decisions, snapshots, served).violations == ()

A door in a process of its own gives its log a file, one JSON line per decision, and whoever audits
reads it with `read_log`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from policy_store.snapshot import Snapshot
from serving_adapter.decision import BUILT_IN_DIGEST, Author, Decision
from serving_adapter.emulation.load import Served
from serving_adapter.facts import RequestFacts

MAX_DECISIONS = 200_000
SHOWN = 20  # violations; the rest is counted


@dataclass(frozen=True, slots=True)
class LoggedDecision:
    """Who decided what.

    Attributes:
        process: that decided; the decisions of one are in the order in which they were made.
        request: the same for all decisions of one request in that process.
        author: as `Author`.
        reason: why whoever is asked first did not decide.
    """

    process: str
    request: int
    sequence: int
    digest: str
    author: str
    reason: str = ""


@dataclass(slots=True)
class DecisionLog:
    """Every decision of one process, in memory and, where a file is given, line by line there.

    A request is known by its facts, which a door reads once and keeps for all its decisions.
    """

    process: str
    path: Path | None = None
    decisions: list[LoggedDecision] = field(default_factory=list)
    _requests: dict[int, tuple[int, RequestFacts]] = field(default_factory=dict)

    def add(self, facts: RequestFacts, decision: Decision) -> None:
        """One decision was made; what is over the bound is dropped, and an audit will miss it."""
        if len(self.decisions) >= MAX_DECISIONS:
            return
        # Kept facts keep their identity: no later request can have the same.
        number, _ = self._requests.setdefault(id(facts), (len(self._requests), facts))
        logged = LoggedDecision(
            process=self.process,
            request=number,
            sequence=decision.sequence,
            digest=decision.digest,
            author=decision.author.value,
            reason=decision.reason,
        )
        self.decisions.append(logged)
        if self.path is not None:
            with self.path.open("a", encoding="ascii") as file:
                file.write(json.dumps(asdict(logged)) + "\n")


def read_log(path: Path) -> list[LoggedDecision]:
    """The decisions in a file; without a file, none."""
    if not path.exists():
        return []
    return [LoggedDecision(**json.loads(line)) for line in path.read_text().splitlines()]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What the log says.

    Attributes:
        requests: that were decided at least once.
        authors: decisions of each author.
        faults: decisions that somebody faulted in before one was made.
        violations: one sentence each; empty when the laws hold.
    """

    decisions: int
    requests: int
    sequences: int
    authors: Mapping[str, int]
    faults: int
    violations: tuple[str, ...]


def audit(
    decisions: Iterable[LoggedDecision],
    snapshots: Iterable[Snapshot],
    served: Sequence[Served] | None = None,
    finished: int | None = None,
) -> AuditReport:
    """Check law 9 and the swap rules on every decision, and law 8 on every request.

    Args:
        decisions: of all processes, those of one process in their order.
        snapshots: everything that was published.
        served: what clients saw of the load, all of it; each request is then in the log once.
        finished: requests that the engines answered in full.
    """
    logged, named = list(decisions), _named(snapshots)
    found = [*_unnamed(logged, named), *_gone_back(logged), *_mixed(logged)]
    requests = {(one.process, one.request) for one in logged}
    if served is not None:
        found += _unserved(served, named, len(requests) if logged else len(served))
    if served is not None and finished is not None and finished != len(served):
        found.append(f"the engines finished {finished} requests, {len(served)} were sent")
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return AuditReport(
        decisions=len(logged),
        requests=len(requests),
        sequences=len({one.sequence for one in logged}),
        authors=Counter(one.author for one in logged),
        faults=sum(bool(one.reason) for one in logged),
        violations=(*found[:SHOWN], *more),
    )


_Named = Mapping[int, frozenset[tuple[str, str]]]


def _named(snapshots: Iterable[Snapshot]) -> _Named:
    """By sequence, who may decide under it: author and digest."""
    built_in = (Author.BUILT_IN.value, BUILT_IN_DIGEST)
    named = {0: frozenset({built_in})}
    for snapshot in snapshots:
        canary = snapshot.canary.policy if snapshot.canary else None
        places = (
            (Author.ACTIVE, snapshot.active),
            (Author.LAST_GOOD, snapshot.last_good),
            (Author.CANARY, canary),
        )
        allowed = {(author.value, policy.digest) for author, policy in places if policy}
        named[snapshot.sequence] = frozenset({built_in, *allowed})
    return named


def _unnamed(logged: Sequence[LoggedDecision], named: _Named) -> Iterator[str]:
    for one in logged:
        if (one.author, one.digest) not in named.get(one.sequence, ()):
            yield (
                f"sequence {one.sequence} names no {one.author} {one.digest[:12]}, which decided "
                f"request {one.request} of {one.process}"
            )


def _gone_back(logged: Sequence[LoggedDecision]) -> Iterator[str]:
    """First decisions show what was live; later ones keep what their request began under."""
    highest: dict[str, int] = {}
    seen = set[tuple[str, int]]()
    for one in logged:
        if (one.process, one.request) in seen:
            continue
        seen.add((one.process, one.request))
        before = highest.get(one.process, 0)
        if one.sequence < before:
            yield f"{one.process} went back from sequence {before} to {one.sequence}"
        highest[one.process] = max(before, one.sequence)


def _mixed(logged: Sequence[LoggedDecision]) -> Iterator[str]:
    first: dict[tuple[str, int], int] = {}
    for one in logged:
        began = first.setdefault((one.process, one.request), one.sequence)
        if one.sequence != began:
            yield (
                f"request {one.request} of {one.process} began under sequence {began} and was "
                f"decided under {one.sequence}, too"
            )


def _unserved(served: Sequence[Served], named: _Named, decided: int) -> Iterator[str]:
    failed = [one for one in served if not one.ok]
    if failed:
        statuses = sorted({one.status for one in failed})
        yield f"{len(failed)} of {len(served)} requests failed, with status {statuses}"
    if decided != len(served):
        yield f"{decided} requests were decided, {len(served)} were sent"
    for one in served:
        digests = {digest for _, digest in named.get(one.sequence, ())}
        if one.ok and one.sequence >= 0 and one.policy not in digests:
            yield f"a client was told of sequence {one.sequence} and policy {one.policy[:12]}"
