"""Prints whether a large store is as fast as a small one: what the page and hosts ask, and upkeep.

Run by `make bench-store`. Two stores are made in the same run, one with a hundred policies and a
thousand audit entries, one with ten thousand and a million, each entry chained to the one before.
Then the same is asked of both, medians and 99th percentiles, and their ratio. SQLite always;
PostgreSQL where a server is given (EVOLVER_TEST_POSTGRES=URL) or installed.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import random
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path

from sqlalchemy import Connection, insert, text, update

from policy_store import PolicyStore, State, audit
from policy_store.records import Kind, Origin
from policy_store.tables import (
    AttachmentRow,
    AuditHeadRow,
    AuditRow,
    EvidenceRow,
    ParentRow,
    SourceRow,
    VersionRow,
)
from sandbox.identity import canonical_json, identity_digest, text_digest

SMALL, LARGE = (100, 1_000), (10_000, 1_000_000)  # policies, audit entries
START = datetime(2031, 1, 1, tzinfo=UTC)
ROWS_AT_ONCE = 5_000
PEOPLE = ("ada", "bo", "cleo", "evolver", "host-1", "host-2")
BEFORE_A_DECISION = ("proposed", "verified", "evidence_attached", "rejected")
LATER = ("signed_in", "host_ejected", "renewed")
SOURCE = '"""Policy {number}."""\nKNEE = 0.5\n\n\ndef route(request, instances, memory):\n' + (
    "    # room for what a policy of forty lines weighs\n" * 40
)


@dataclass
class Filled:
    """A store of a known size.

    Attributes:
        waiting: digests of policies that wait for a decision, not used up yet.
    """

    store: PolicyStore
    digests: list[str]
    waiting: list[str]
    numbers: Iterator[int] = field(default_factory=lambda: count(10**6))
    random: random.Random = field(default_factory=lambda: random.Random(1))

    def any(self) -> str:
        """A policy, another each time."""
        return self.random.choice(self.digests)


def fill(store: PolicyStore, policies: int, entries: int) -> Filled:
    """Rows in bulk, in one transaction: as the store would have written them one by one."""
    with store._database.appending() as connection:
        digests = _policies(connection, policies)
        _entries(connection, digests, entries)
    if connection.dialect.name == "postgresql":
        with store._database.appending() as connection:
            connection.execute(text("ANALYZE"))
    return Filled(store, digests, digests[::2])


def _policies(connection: Connection, policies: int) -> list[str]:
    sources, versions, evidence, attachments, parents, digests = [], [], [], [], [], []
    for number in range(policies):
        at = START + timedelta(seconds=number)
        source = SOURCE.format(number=number)
        digest = identity_digest(text_digest(source), {"KNEE": 0.5}, 1)
        document = canonical_json({"of": digest, "windows": [[n * 0.5, n] for n in range(200)]})
        sources.append(
            {"digest": text_digest(source), "text": source, "claim": "", "created_at": at}
        )
        versions.append({
            "digest": digest, "source_digest": text_digest(source), "contract_version": 1,
            "parameters": canonical_json({"KNEE": 0.5}), "name": f"policy-{number}",
            "origin": Origin.MUTATOR, "author": "evolver", "run_id": None, "created_at": at,
            "state": State.REJECTED if number % 2 else State.EVALUATED,
        })  # fmt: skip
        evidence.append({"digest": text_digest(document), "document": document, "created_at": at})
        attachments.append({"version_digest": digest, "evidence_digest": text_digest(document),
                            "attached_at": at, "kind": Kind.EVIDENCE})  # fmt: skip
        if number:
            parents.append({"child": digest, "position": 0, "parent": digests[number // 2]})
        digests.append(digest)
    for table, rows in ((SourceRow, sources), (VersionRow, versions), (EvidenceRow, evidence),
                        (AttachmentRow, attachments), (ParentRow, parents)):  # fmt: skip
        connection.execute(insert(table), rows)
    return digests


def _entries(connection: Connection, digests: Sequence[str], entries: int) -> None:
    head = audit.FIRST_HASH
    rows = _chain(digests, entries)
    while page := list(islice(rows, ROWS_AT_ONCE)):
        connection.execute(insert(AuditRow), page)
        head = str(page[-1]["hash"])
    connection.execute(update(AuditHeadRow).values(sequence=entries, hash=head))


def _chain(digests: Sequence[str], entries: int) -> Iterator[dict[str, object]]:
    previous = audit.FIRST_HASH
    for sequence in range(1, entries + 1):
        of_policies = sequence <= len(digests) * len(BEFORE_A_DECISION)
        actions = BEFORE_A_DECISION if of_policies else LATER
        action = actions[sequence % len(actions)]
        row: dict[str, object] = {
            "sequence": sequence,
            "at": audit.moment_text(START + timedelta(seconds=sequence)),
            "actor": PEOPLE[sequence % len(PEOPLE)],
            "action": action,
            "subject": digests[sequence * 31 % len(digests)],
            "deployment": "default" if action == "renewed" else None,
            "note": "as the evidence says" if sequence % 3 else "",
            "details": canonical_json({"evidence": digests[sequence % len(digests)]}),
            "previous_hash": previous,
        }
        previous = audit.entry_hash(*row.values())  # type: ignore[arg-type]  # in this order
        yield {**row, "hash": previous}


def propose(filled: Filled) -> str:
    """One more policy."""
    number = next(filled.numbers)
    return filled.store.propose(
        SOURCE.format(number=number), name="new", origin=Origin.MUTATOR, author="evolver",
        contract_version=1, parents=[filled.any()],
    ).digest  # fmt: skip


def decide(filled: Filled) -> None:
    """Approve one that waits, make it live, take it back."""
    store = filled.store
    digest = filled.waiting.pop()
    store.approve(digest, by="ada", note="good")
    store.activate(digest, store.slot().sequence, by="ada", note="live")
    store.rollback("ada", "slow")


def append(filled: Filled) -> None:
    """One entry, alone in its transaction."""
    database = filled.store._database
    with database.deciding() as session:
        audit.append(session, at=database.clock(), actor="ada", action="noted", note="n")


QUESTIONS: tuple[tuple[str, int, Callable[[Filled], object]], ...] = (
    ("list the queue, a page of 50", 100,
     lambda f: f.store.list_policies(state=State.EVALUATED, limit=50)),
    ("list everything, a page of 50", 100, lambda f: f.store.list_policies(limit=50)),
    ("count who waits", 100, lambda f: f.store.waiting()),
    ("show a policy", 100, lambda f: f.store.show(f.any())),
    ("a policy's history", 100, lambda f: f.store.history(f.any())[-1:]),
    ("what is live: slots", 100, lambda f: f.store.slots()),
    ("what is live: the snapshot", 100, lambda f: f.store.snapshot()),
    ("propose", 100, propose),
    ("approve, activate, roll back", 25, decide),
    ("append an audit entry", 100, append),
    ("a page of the log, the newest", 100,
     lambda f: f.store.audit.entries(limit=50, newest_first=True)),
    ("a page of one person's entries", 100,
     lambda f: f.store.audit.entries(limit=50, newest_first=True, actor="bo")),
    ("a page of one action", 100,
     lambda f: f.store.audit.entries(limit=50, newest_first=True, action="renewed")),
    ("a deployment's timeline", 25, lambda f: f.store.audit.about_deployment("default")),
)  # fmt: skip


def timed(question: Callable[[Filled], object], filled: Filled) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    question(filled)
    return (time.perf_counter() - began) * 1e3


def ask(stores: Sequence[Filled]) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Median and 99th percentile of each question in each store, in milliseconds.

    The stores take turns, so that whatever else the machine does meets them alike.
    """
    for name, times, question in QUESTIONS:
        took: list[list[float]] = [[] for _ in stores]
        for turn in range(times + 1):
            for found, filled in zip(took, stores, strict=True):
                milliseconds = timed(question, filled)
                if turn:  # the first time, statements are compiled
                    found.append(milliseconds)
        yield name, [(quantile(found, 0.5), quantile(found, 0.99)) for found in took]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that so many are not above."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def keep(filled: Filled, folder: Path, fresh: str) -> dict[str, float]:
    """Seconds that upkeep of the whole takes."""
    backup = folder / f"{len(filled.digests)}.evb"
    chores: tuple[tuple[str, Callable[[Filled], object]], ...] = (
        ("verify the audit log", lambda f: f.store.audit.verify()),
        ("verify everything", lambda f: f.store.check()),
        ("count what may go", lambda f: f.store.retention.plan(30)),
        ("back up", lambda f: f.store.back_up(backup)),
        ("restore and verify", lambda _: PolicyStore.restore(fresh, backup, by="ada")),
    )
    found = {name: timed(chore, filled) / 1e3 for name, chore in chores}
    verdict = filled.store.check()
    if not verdict.intact:
        raise SystemExit(f"the store is not intact: {verdict.findings[0]}")
    entries = verdict.audit.entries
    print(f"  {entries:,} entries: {filled.store.size_bytes() / 1e6:,.0f} MB in the database, "
          f"{backup.stat().st_size / 1e6:,.1f} MB of backup")  # fmt: skip
    return found


def bench(
    title: str, places: Sequence[str], sizes: Sequence[tuple[int, int]], folder: Path
) -> None:
    """Make both stores, ask both, print both."""
    print(f"\n{title}")
    small, large = (f"{entries:,}" for _, entries in sizes)
    with ExitStack() as stack:
        stores = []
        for place, (policies, entries) in zip(places[::2], sizes, strict=True):
            began = time.perf_counter()
            stores.append(fill(stack.enter_context(PolicyStore.open(place)), policies, entries))
            print(f"  filled with {policies:,} policies and {entries:,} entries in "
                  f"{time.perf_counter() - began:.1f} s", flush=True)  # fmt: skip
        print(f"\n| {title} | {small}: ms | p99 | {large}: ms | p99 | ratio |")
        print("|---|--:|--:|--:|--:|--:|")
        for name, (few, many) in ask(stores):
            print(f"| {name} | {few[0]:.2f} | {few[1]:.2f} | {many[0]:.2f} | {many[1]:.2f} "
                  f"| {many[0] / few[0]:.1f} |", flush=True)  # fmt: skip
        kept = [keep(filled, folder, fresh)
                for filled, fresh in zip(stores, places[1::2], strict=True)]  # fmt: skip
    print(f"\n| {title}, the whole | {small}: s | {large}: s |\n|---|--:|--:|")
    for name, seconds in kept[0].items():
        print(f"| {name} | {seconds:.3f} | {kept[1][name]:.1f} |", flush=True)


def machine() -> str:
    """What this runs on."""
    names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]  # fmt: skip
    return (f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, load "
            f"{os.getloadavg()[0]:.1f}; Python {platform.python_version()}, "
            f"SQLite {sqlite3.sqlite_version}")  # fmt: skip


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policies", type=int, default=LARGE[0])
    parser.add_argument("--entries", type=int, default=LARGE[1])
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    options = parser.parse_args()
    sizes = (SMALL, (options.policies, options.entries))
    print(machine())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.only != "postgresql":
            bench("SQLite", [str(folder / f"{n}.db") for n in range(4)], sizes, folder)
            for path in folder.iterdir():
                path.unlink()
        if options.only != "sqlite":
            _on_postgresql(stack, sizes, folder)
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


def _on_postgresql(stack: ExitStack, sizes: Sequence[tuple[int, int]], folder: Path) -> None:
    sys.path.append(str(Path(__file__).parents[1] / "tests" / "policy_store"))
    import postgres_server

    # Tests may lose what they wrote; here it is kept as in production.
    durable = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on",
               "shared_buffers": "128MB", "autovacuum": "on"}  # fmt: skip
    postgres_server.SETTINGS.update(durable)
    try:
        server = stack.enter_context(postgres_server.running_server())
    except postgres_server.NoServer as error:
        print(f"\nPostgreSQL was not measured: {error}")
        return
    with closing(postgres_server.raw_connection(server.url)) as raw:
        version = raw.info.server_version // 10_000
    places = [stack.enter_context(server.database()) for _ in range(4)]
    bench(f"PostgreSQL {version}", places, sizes, folder)


if __name__ == "__main__":
    main()
