"""One turn of the daemon: look, follow trials, go one step.

    watching --worth its price--> evolving --a winner--> proposed --a rule started it--> trial
        ^                             |                      |                             |
        `--------- learned -----------+----------------------+-----------------------------'

Each arrow is one transaction of `policy_store.daemon_book` with its reason in the audit log, and
each step looks at the store for what it would do before it does it: whatever ends this process, at
any point, the next one goes on from there. What rules decide about trials, and the file that hosts
follow, are looked at in every turn, whichever step it is.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from evolver.daemon.accounts import SETTLED, changed, fate_of, notes_of, opened, spent_by
from evolver.daemon.config import DaemonConfig
from evolver.daemon.deciding import (
    KINDS,
    Choice,
    Seen,
    decide,
    lasts,
    searched_until,
    spent,
)
from evolver.daemon.job import read_job, run_of
from evolver.daemon.pen import Pen
from evolver.daemon.protocols import (
    Change,
    Ground,
    Grounds,
    Publisher,
    Searches,
    Shift,
    Stretch,
    Windows,
)
from evolver.daemon.trials import follow_trials
from evolver.daemon.watching import (
    folder_of,
    forget_old,
    later,
    lay_out,
    live_digest,
    live_pair,
    needed_s,
    order,
    searched_on,
    seen_of,
)
from evolver.errors import RecordStale
from policy_store.daemon_book import DaemonState
from policy_store.errors import InvalidInput, StoreError
from policy_store.leases import Lease, check_lease
from policy_store.records import Alias, Run
from policy_store.rule_application import apply_rules
from policy_store.store import PolicyStore
from telemetry.cluster_events import ClusterEvent
from telemetry.errors import TelemetryError

MOST_EVENTS = 64  # of one turn, each with an entry of its own in the audit log


class Step(StrEnum):
    """Where a daemon stands."""

    WATCHING = "watching"
    EVOLVING = "evolving"
    PROPOSED = "proposed"
    TRIAL = "trial"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a daemon works with."""

    windows: Windows
    grounds: Grounds
    shift: Shift
    searches: Searches
    publish: Publisher
    clock: Callable[[], float] = time.time


@dataclass(slots=True)
class Looked:
    """What a turn saw, for the pages.

    Attributes:
        choice: of the last decision in step `watching`.
        spent: in the last 24 hours, by kind of budget; `runs` among them.
        trouble: what did not work; empty when all did.
    """

    at_unix_s: float = 0.0
    step: str = Step.WATCHING
    episode: int = 0
    requests: int = 0
    choice: Choice | None = None
    units: float | None = None
    trouble: str = ""
    features: Mapping[str, float] = field(default_factory=dict)
    spent: Mapping[str, float] = field(default_factory=dict)


class Daemon:
    """The daemon of one deployment, without its process.

    Args:
        folder: for windows and logs of searches.
    """

    def __init__(
        self, config: DaemonConfig, store: PolicyStore, folder: Path, parts: Parts
    ) -> None:
        self._config, self._store, self._folder, self._parts = config, store, folder, parts

    def told(self, events: tuple[ClusterEvent, ...]) -> bool:
        """Something happened to the cluster; the next turn writes it down. False: no room."""
        return self._parts.grounds.told(events)

    def turn(self, lease: Lease) -> Looked:
        """Look once and go at most one step.

        Raises:
            Fenced: another daemon leads.
            StoreError: the store is not there; the next turn may find it again.
        """
        clock = self._parts.clock
        pen = Pen(self._store, lease, self._config.actor, clock, Step.WATCHING)
        state = self._store.daemons.read(self._config.deployment)
        looked = Looked(clock())
        state = self._lead(lease, state, pen)
        # First of all, and told to hosts at once: whatever logs and metrics hold, trials go on.
        state = follow_trials(self._store, self._config, lease, state, pen)
        self._publish(looked)
        state = self._heard(state, pen)
        stretch = self._collected(looked)
        if state.step == Step.WATCHING:
            state = self._watch(state, pen, looked, stretch)
        elif state.step == Step.EVOLVING:
            state = self._evolve(state, pen)
        elif state.step == Step.PROPOSED:
            state = self._propose(lease, state, pen)
        else:
            state = self._await_fate(state, pen)
        self._publish(looked)
        looked.step, looked.episode = state.step, state.episode
        return looked

    def end_search(self, within_s: float) -> None:
        """End the search that runs, from any thread; it can go on."""
        self._parts.searches.stop(within_s)

    def rest(self, within_s: float) -> None:
        """Between two turns: end and let go of what only the one who leads may have."""
        self.end_search(within_s)
        self._parts.grounds.rest()
        self._parts.windows.close()

    def stop(self, within_s: float) -> None:
        """End what runs, for good; all of it can go on."""
        self.rest(within_s)
        self._parts.grounds.close()

    def _lead(self, lease: Lease, state: DaemonState, pen: Pen) -> DaemonState:
        """Say who leads."""
        if not lease.taken:
            return state
        words = f"{lease.holder} leads now, as number {lease.fencing}, from step {state.step}."
        return pen.note(state, "daemon_leads", words)

    def _heard(self, state: DaemonState, pen: Pen) -> DaemonState:
        """What happened to the cluster; of very much at once, the first and how much more."""
        events = self._parts.grounds.poll()
        for event in events[:MOST_EVENTS]:
            details = {"kind": event.kind, "unix_s": event.at_unix_s, **event.facts}
            state = pen.note(state, "daemon_saw", event.what, details=details)
        more = Counter(event.kind for event in events[MOST_EVENTS:])
        if more:
            words = ", ".join(f"{count:,} {kind}" for kind, count in sorted(more.items()))
            note = f"More happened to the cluster at once: {words}."
            state = pen.note(state, "daemon_saw", note, details=dict(more))
        return state

    def _collected(self, looked: Looked) -> Stretch | None:
        """What arrived lately; taken in at every turn, as logs are rotated."""
        windows = self._parts.windows
        try:
            windows.collect(looked.at_unix_s)
            stretch = windows.last(self._config.watch.span_s, looked.at_unix_s)
        except (TelemetryError, OSError) as error:
            looked.trouble = str(error)
            return None
        if stretch is not None:
            self._parts.shift.see(stretch)
        return stretch

    def _watch(
        self, state: DaemonState, pen: Pen, looked: Looked, stretch: Stretch | None
    ) -> DaemonState:
        """Decide whether to evolve."""
        if stretch is None or not len(stretch.trace):
            code = "unreadable" if looked.trouble else "gathering"
            words = looked.trouble or "No request was answered yet."
            return self._wait(state, pen, Choice(False, code, words), looked)
        live = live_digest(self._store, self._config, pen.moment)
        state = self._tend(state, pen, stretch, live)
        past = self._store.daemons.episodes(state.deployment, 1)
        before, searched = searched_on(state), searched_until(past)
        ground, features, change = self._compared(stretch, before, searched)
        if change.since_unix_s is not None:  # what came before is of other traffic
            part = later(stretch, change.since_unix_s)
            if lasts(self._config, len(part.trace), part.span_s, needed_s(part.e2e_s)):
                stretch = part
                ground, features, _ = self._compared(part, before, searched)
        seen = seen_of(
            self._store, state.deployment, live, pen.moment, stretch, ground, features, change
        )
        choice = self._settled(seen, change) or decide(self._config, seen)
        looked.spent = {kind: spent(seen.today, kind) for kind in KINDS}
        looked.spent = {**looked.spent, "runs": float(len(seen.today))}
        looked.requests, looked.features, looked.units = seen.requests, features, change.units
        if not choice.evolve:
            return self._wait(state, pen, choice, looked)
        looked.choice = choice
        return self._begin(state, pen, choice, live, stretch, ground, features)

    def _compared(
        self, stretch: Stretch, before: Mapping[str, float], searched_unix_s: float
    ) -> tuple[Ground, dict[str, float], Change]:
        ground = self._parts.grounds.now(stretch)
        features = dict(self._parts.shift.features(stretch, ground))
        return ground, features, self._parts.shift.change(before, features, searched_unix_s)

    def _settled(self, seen: Seen, change: Change) -> Choice | None:
        """After a change, wait for enough of the new traffic, but no longer than a whole span."""
        since = change.since_unix_s
        if since is None or seen.began_unix_s >= since:
            return None
        if seen.now_unix_s - since >= self._config.watch.span_s:
            return None
        words = f"{change.reason} A search waits until there is enough of the new traffic."
        return Choice(False, "settling", words)

    def _tend(
        self, state: DaemonState, pen: Pen, stretch: Stretch, live: str | None
    ) -> DaemonState:
        """Keep the simulator true to the cluster, and look whether promises still hold."""
        said = self._parts.grounds.tend(stretch, live_pair(self._store, state.deployment, live))
        return pen.note(state, "daemon_saw", said) if said else state

    def _wait(self, state: DaemonState, pen: Pen, choice: Choice, looked: Looked) -> DaemonState:
        """Why not is said once, until there is another reason."""
        looked.choice = choice
        if state.body.get("waits") == choice.code:
            return state
        body = {**state.body, "waits": choice.code}
        return pen.note(state, "daemon_waits", choice.reason, body=body)

    def _begin(
        self,
        state: DaemonState,
        pen: Pen,
        choice: Choice,
        live: str | None,
        stretch: Stretch,
        ground: Ground,
        features: Mapping[str, float],
    ) -> DaemonState:
        """The window and the order first, as files; then the episode, which makes them count."""
        if choice.limits is None:
            raise ValueError("a search without limits was decided on")
        number = state.episode + 1
        job = order(self._store, self._config, live, number, choice.limits, stretch, ground)
        lay_out(folder_of(self._folder, number), job, stretch)
        episode = opened(state.deployment, number, pen.moment, choice, stretch, ground, features)
        body = {"searched_on": dict(features), "said": state.body.get("said", {}), "tries": 0}
        state = pen.move(
            state, Step.EVOLVING, body, "daemon_evolves", choice.reason,
            details={"episode": number, "against": job.active_name, **episode.facts},
            episode=episode,
        )  # fmt: skip
        forget_old(self._folder, number)
        return state

    def _evolve(self, state: DaemonState, pen: Pen) -> DaemonState:
        """Have the search run until its run in the store has an end."""
        run = run_of(self._store, state.deployment, state.episode)
        if run is not None and run.finished_at is not None:
            return self._evolved(state, pen, run)
        folder = folder_of(self._folder, state.episode)
        ended = self._parts.searches.ended(folder)
        if ended is not None:
            tries = int(str(state.body.get("tries", 0))) + 1
            if ended.hopeless or tries >= self._config.run.tries:
                return self._failed(state, pen, run, ended.fault)
            fault = ended.fault or "Its process ended before its run did."
            note = f"The search of episode {state.episode} broke off and goes on. {fault}"
            state = pen.note(state, "daemon_saw", note, body={**state.body, "tries": tries})
        try:
            self._parts.searches.ensure(read_job(folder), folder)
        except (RecordStale, OSError) as error:
            return self._failed(state, pen, run, str(error))
        return state

    def _evolved(self, state: DaemonState, pen: Pen, run: Run) -> DaemonState:
        """The run has come to its end."""
        summary, verdict = run.summary or {}, str(run.verdict)
        found = summary.get("policy")
        policy = found if isinstance(found, str) else None
        words = f"Run {run.id[:12]} ended: {verdict.replace('_', ' ')}."
        note = " ".join([words, str(summary.get("reason", "")), *notes_of(run)])
        facts = {"spent": spent_by(run), "gain": summary.get("gain")}
        episode = changed(pen.episode(state), run.id, policy, facts)
        details = {"run": run.id, "verdict": verdict, **facts}
        if policy is None:
            return pen.rest(state, "daemon_evolved", note, episode, verdict, details=details)
        return pen.move(
            state, Step.PROPOSED, {**state.body, "policy": policy}, "daemon_evolved", note,
            subject=policy, details=details, episode=episode,
        )  # fmt: skip

    def _failed(self, state: DaemonState, pen: Pen, run: Run | None, fault: str) -> DaemonState:
        """Given up; what it may have spent counts as spent."""
        if run is not None:
            try:
                summary = {"error": fault[:400]}
                self._store.runs.finish_run(run.id, "failed", summary, pen.still_leads)
            except InvalidInput:  # it came to its end just now; the next turn sees it
                return state
        episode = pen.episode(state)
        nothing = dict.fromkeys(KINDS, 0.0)
        episode = changed(episode, run.id) if run else changed(episode, facts={"spent": nothing})
        note = f"The search of episode {state.episode} was given up. {fault}"
        return pen.rest(state, "daemon_evolved", note, episode, "failed")

    def _propose(self, lease: Lease, state: DaemonState, pen: Pen) -> DaemonState:
        """Ask the rules; asked again after a kill, they find what they did."""
        policy = str(state.body["policy"])
        applied = apply_rules(
            self._store, policy, state.deployment,
            check=lambda session: check_lease(session, lease),
        )  # fmt: skip
        said = applied.said or "No approval rule is installed."
        outcome = fate_of(self._store, policy)
        if outcome in SETTLED or self._on_trial(policy):  # by a turn that was cut short, perhaps
            note = f"It is on trial: {said}" if applied.rule else "It was on trial already."
            return pen.move(state, Step.TRIAL, state.body, "daemon_asked", note, subject=policy)
        note = f"It is left to a person. {said}"
        return pen.rest(state, "daemon_asked", note, pen.episode(state), outcome, subject=policy)

    def _await_fate(self, state: DaemonState, pen: Pen) -> DaemonState:
        """The trial has ended when the policy holds no place of a trial any more."""
        policy = str(state.body["policy"])
        if self._on_trial(policy):
            return state
        outcome = fate_of(self._store, policy)
        last = self._store.history(policy)[-1]
        note = f"Its trial is over, {outcome.replace('_', ' ')}: {last.note}"
        return pen.rest(state, "daemon_learned", note, pen.episode(state), outcome, subject=policy)

    def _on_trial(self, policy: str) -> bool:
        slots = self._store.slots(self._config.deployment)
        trials = (Alias.CANARY, Alias.SHADOW)
        return any(slot.digest == policy for slot in slots if slot.alias in trials)

    def _publish(self, looked: Looked) -> None:
        """Hosts learn of what was decided; tried again in the next turn when it fails."""
        try:
            self._parts.publish()
        except StoreError as error:
            looked.trouble = str(error)
