"""What a decision looks at, and the order of a search that it comes to."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from evolver.daemon.config import Budget, DaemonConfig
from evolver.daemon.deciding import Seen
from evolver.daemon.grounds import usd_per_hour
from evolver.daemon.job import WINDOW, Job, JobCapacity, write_job
from evolver.daemon.protocols import Change, Ground, LivePair, Stretch
from evolver.regimes import finite, regime_in
from evolver.written import written
from policy_store.daemon_book import DaemonState
from policy_store.records import Alias
from policy_store.store import PolicyStore
from sandbox.errors import PolicyRefused
from sandbox.policies import default_text
from sandbox.verifier import verify
from sandbox.windows import PROVABLE_WINDOWS, TIMES_E2E, WARMUP_TIMES_E2E

DAY = timedelta(hours=24)
KNOWN_EPISODES = 200
KEPT_FOLDERS = 20


def live_digest(store: PolicyStore, config: DaemonConfig, moment: datetime) -> str | None:
    """What serving hosts decide with; None for the built-in default.

    That is the active policy, unless all that speak have thrown it out and run the same instead:
    the last good one or the default. It stays in its place until somebody decides about it.
    """
    slots = {slot.alias: slot for slot in store.slots(config.deployment)}
    active, good = slots[Alias.ACTIVE], slots[Alias.LAST_GOOD].digest
    speak = [
        report for report in store.hosts(config.deployment)
        if report.seen_at >= moment - timedelta(seconds=config.hosts_s)
        and report.sequence >= active.sequence
    ]  # fmt: skip
    out = all(any(one.digest == active.digest for one in host.ejections) for host in speak)
    run = {host.digest for host in speak}
    if out and len(run) == 1 and run <= {None, good} - {active.digest}:
        return run.pop()
    return active.digest


def seen_of(
    store: PolicyStore,
    deployment: str,
    live: str | None,
    moment: datetime,
    stretch: Stretch,
    ground: Ground,
    features: Mapping[str, float],
    change: Change,
) -> Seen:
    """All that a decision rests on."""
    slots = {slot.alias: slot for slot in store.slots(deployment)}
    trial = slots[Alias.CANARY].digest or slots[Alias.SHADOW].digest
    evidence = store.show(live).evidence if live is not None else ()
    age_s = (moment - evidence[-1].attached_at).total_seconds() if evidence else None
    return Seen(
        now_unix_s=moment.timestamp(),
        requests=len(stretch.trace),
        span_s=stretch.span_s,
        needed_s=needed_s(stretch.e2e_s),
        began_unix_s=stretch.began_unix_s,
        until_unix_s=stretch.until_unix_s,
        change=change,
        evidence_age_s=age_s,
        stale=ground.stale,
        holder=trial or "",
        usd_per_hour=usd_per_hour(ground.cluster),
        regime=regime_in(features) or {},
        today=store.daemons.since(deployment, moment - DAY),
        past=store.daemons.episodes(deployment, KNOWN_EPISODES),
    )


def later(stretch: Stretch, since_unix_s: float) -> Stretch:
    """What arrived of a stretch since a moment within it."""
    length_s = stretch.until_unix_s - stretch.began_unix_s
    if not stretch.began_unix_s < since_unix_s < stretch.until_unix_s:
        return stretch
    share = (since_unix_s - stretch.began_unix_s) / length_s
    trace = stretch.trace.slice(share * stretch.trace.span_s, stretch.trace.span_s)
    return replace(stretch, trace=trace, began_unix_s=since_unix_s)


def needed_s(e2e_s: float) -> float:
    """How long a stretch has to be for its sealed windows to be enough, of the mean request."""
    return (PROVABLE_WINDOWS * TIMES_E2E + WARMUP_TIMES_E2E) * e2e_s


def searched_on(state: DaemonState) -> dict[str, float]:
    """What the traffic of the last search was like; empty before the first."""
    before = state.body.get("searched_on")
    if not isinstance(before, Mapping):
        return {}
    known = {str(name): finite(value) for name, value in before.items()}
    return {name: value for name, value in known.items() if value is not None}


def order(
    store: PolicyStore,
    config: DaemonConfig,
    live: str | None,
    number: int,
    limits: Budget,
    stretch: Stretch,
    ground: Ground,
) -> Job:
    """The search of an episode, which compares with what is live."""
    name, text = named_text(store, live)
    return Job(
        deployment=config.deployment,
        episode=number,
        author=config.actor,
        cluster=ground.cluster,
        seed=number,
        limits=limits.limits(),
        models=tuple(model.settings() for model in config.models),
        workers=config.run.workers,
        nice=config.run.nice,
        accept_missing=config.run.accept_missing,
        began_unix_s=stretch.began_unix_s,
        active_name=name,
        active_text=text,
        capacity=None if ground.capacity is None else JobCapacity.of(ground.capacity),
    )


def lay_out(folder: Path, job: Job, stretch: Stretch) -> None:
    """Order and window as files, in place of what a turn that was cut short left there."""
    write_job(folder, job)
    stretch.trace.save(folder / WINDOW)


def folder_of(folder: Path, number: int) -> Path:
    """Where the files of an episode are."""
    return folder / f"{number:06d}"


def forget_old(folder: Path, number: int) -> None:
    """Remove windows and logs of long ago."""
    if number > KEPT_FOLDERS:
        shutil.rmtree(folder_of(folder, number - KEPT_FOLDERS), ignore_errors=True)


def live_pair(store: PolicyStore, deployment: str, live: str | None) -> LivePair:
    """What is live, and what it replaced."""
    good = store.slot(Alias.LAST_GOOD, deployment).digest
    before = None if good == live else good
    evidence = store.show(live).evidence if live is not None else ()
    document = evidence[-1].document if evidence else None
    return LivePair(live, named_text(store, live)[1], named_text(store, before)[1], document)


def named_text(store: PolicyStore, digest: str | None) -> tuple[str, str]:
    """Name and text of a stored policy, its constants written in; without one the default's."""
    if digest is None:
        return "default", default_text()
    details = store.show(digest)
    name = f"{details.version.name} {digest[:8]}"
    try:
        source = verify(details.source.text, details.version.name)
    except PolicyRefused:
        return "default", default_text()
    return name, written(source.annotated(), dict(details.version.parameters), name).annotated()
