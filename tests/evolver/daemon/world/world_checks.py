"""What must have held in a world, each with the figures that it was judged by."""

import json
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from world_plan import Kind

from policy_store import PolicyStore
from policy_store.gates import measured
from policy_store.lifecycle import State
from sandbox.evidence import Outcome, Role
from sandbox.stats import relative_gain
from serving_adapter.decision import BUILT_IN_DIGEST

MOST_OVERHEAD = 0.10  # of the median time to first token
LOSS_SEEN_S = 5.0  # from an engine's end to the last answer that broke off because of it
OUT_AGAIN_S = 30.0  # from a decision in the store to the last request that was decided before it
OUT = (State.EJECTED, State.REJECTED, State.ROLLED_BACK)
DECIDES = (
    "approved", "rejected", "ejected", "activated", "rolled_back", "placed", "withdrawn", "renewed",
)  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One thing that was to hold, whether it did, and what was measured."""

    name: str
    held: bool
    figures: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """What a world left behind."""

    plan: object
    home: Path
    served: list  # by regime
    happened: list
    bad: dict
    daemon_lives: int
    processor_s: float

    @property
    def all(self):
        return [one for part in self.served for one in part]

    def log(self):
        """The request log of the gateway."""
        with (self.home / "requests.jsonl").open() as file:
            return [json.loads(line) for line in file]


def all_checks(evidence):
    """Every check, in the order of the story."""
    log = evidence.log()
    with PolicyStore.open(evidence.home / "store.db") as store:
        return [
            served(evidence, log), counted(evidence, log), overhead(evidence, log),
            improved(evidence, store, log), bad_ones(evidence, store, log),
            lawful(store, log), explained(store), lives(evidence), cost(evidence),
        ]  # fmt: skip


def served(evidence, log):
    """Every request was answered in full; an answer broke off only where its engine was lost."""
    failed = [one for one in evidence.all if not one.ok]
    losses = [at for at, what in evidence.happened if "is lost" in what]
    broken = [at for one in evidence.all for at in one.broken_unix_s]
    strange = [at for at in broken if not any(0 <= at - lost < LOSS_SEEN_S for lost in losses)]
    figures = [f"{len(evidence.all)} requests, {len(failed)} never answered in full"]
    figures.append(
        f"{len(broken)} answers broke off and were asked for again, {len(strange)} of them not "
        f"within {LOSS_SEEN_S:g} s of the loss of an engine ({len(losses)} losses)"
    )
    for regime, part in zip(evidence.plan.regimes, evidence.served, strict=True):
        figures.append(f"{regime.name}: {_times(part)}")
    return Check("requests served, none lost", not failed and not strange, tuple(figures))


def _times(part):
    done = [one for one in part if one.ok]
    if not done:
        return "nothing was answered"
    ttft, e2e = [one.ttft_s for one in done], [one.e2e_s for one in done]
    return (
        f"{len(part)} requests, time to first token median {statistics.median(ttft):.3f} s, mean "
        f"{statistics.mean(ttft):.3f} s; end to end mean {statistics.mean(e2e):.3f} s (engine time)"
    )


def counted(evidence, log):
    """Law 1: what clients sent ended exactly once in the gateway's own log."""
    sent = sum(1 + len(one.broken_unix_s) for one in evidence.all)
    outcomes = Counter(row["outcome"] for row in log)
    answered = sum(one.ok for one in evidence.all)
    names = {one.decision for one in evidence.all if one.ok}
    held = len(log) == sent and outcomes["ok"] == answered == len(names)
    figures = f"{sent} attempts, {len(log)} records: {dict(outcomes)}"
    return Check("every request ended exactly once", held, (figures,))


def overhead(evidence, log):
    """What the gateway adds to the first token: all of a client's wait but that for its engine."""
    if not evidence.plan.http:
        return Check("gateway's own overhead", True, ("no gateway in this form",))
    records = {row["decision"]: row for row in log if row["ttft_s"] is not None}
    scale = evidence.plan.scale
    added, ttft = [], []
    for one in evidence.all:
        row = records.get(one.decision)
        if one.ok and row is not None and row["attempts"] == 1:
            added.append(one.ttft_s - scale * (row["ttft_s"] - row["waited_s"]))
            ttft.append(one.ttft_s)
    if not added:
        return Check("gateway's own overhead", False, ("no request to measure it by",))
    usual, median = statistics.median(added), statistics.median(ttft)
    share = usual / median
    figures = (
        f"median {1000 * usual / scale:.2f} ms, x scale {scale:g} = {1000 * usual:.2f} ms; p95 "
        f"{1000 * _p95(added):.2f} ms; client and network on this machine included",
        f"{share:.1%} of the median time to first token, {1000 * median:.0f} ms",
    )
    held = share < MOST_OVERHEAD or evidence.plan.busy
    return Check("gateway's own overhead", held, figures)


def improved(evidence, store, log):
    """A policy with the verdict improved went live, and what it was worth then."""
    figures, real = [], 0
    for live in store.activations()[1:]:
        if live.digest is None or live.digest in evidence.bad:
            continue
        details = store.show(live.digest)
        found = measured(details.evidence[-1]) if details.evidence else None
        if found is None or found.outcome is not Outcome.IMPROVED:
            continue
        before = _before(store, live)
        if before is None:
            continue
        real += 1
        effect = next(e for e in found.effects if e.sealed and e.against is Role.ACTIVE)
        low, high = relative_gain(effect.interval.low), relative_gain(effect.interval.high)
        figures.append(
            f"{details.version.name} {live.digest[:12]} by {details.version.author}: promised "
            f"{100 * low:+.1f} to {100 * high:+.1f} % against what was active"
        )
        figures += _realised(log, live, evidence.plan.scale)
    return Check("at least one real improvement promoted", real > 0, tuple(figures) or ("none",))


def _before(store, live):
    """What was active before a sequence, where this one was not that already."""
    earlier = [one for one in store.activations() if one.sequence < live.sequence]
    return earlier[-1] if earlier and earlier[-1].digest != live.digest else None


def _realised(log, live, scale):
    """Beside its control while it was a canary, then all requests just before and after."""
    trial = [row for row in log if row["compared"] == live.digest]
    at = live.at.timestamp()
    trial = [row for row in trial if row["arrived_unix_s"] < at]
    arms = defaultdict(list)
    for row in trial:
        if row["outcome"] == "ok":
            arms[row["arm"]].append(scale * row["e2e_s"])
    words = [f"{arm} {statistics.mean(times):.3f} s ({len(times)})" for arm, times in arms.items()]
    around = [row for row in log if row["outcome"] == "ok"]
    sides = (("the minute before", -60.0, 0.0), ("the minute after", 5.0, 65.0))
    for name, first, last in sides:
        times = [scale * row["e2e_s"] for row in around
                 if first <= row["arrived_unix_s"] - at < last]  # fmt: skip
        words.append(f"{name} {statistics.mean(times):.3f} s ({len(times)})" if times else name)
    return [f"realised mean end to end, engine time: {'; '.join(words)}"]


def bad_ones(evidence, store, log):
    """Each bad candidate was taken out, and decides nothing any more."""
    figures, held = [], True
    planned = sum(one.kind in (Kind.BAD_FAULTY, Kind.BAD_SLOW) for one in evidence.plan.mishaps)
    for digest, kind in evidence.bad.items():
        version = store.show(digest).version
        entries = [one for one in store.history(digest) if one.action in {s.value for s in OUT}]
        tried = [row for row in log if row["compared"] == digest or row["digest"] == digest]
        out = version.state in OUT and bool(entries) and bool(tried)
        late = 0
        if entries:
            gone = entries[0].at.timestamp() + OUT_AGAIN_S
            late = sum(row["digest"] == digest and row["arrived_unix_s"] > gone for row in log)
        held = held and out and not late
        why = entries[0] if entries else None
        figures.append(
            f"{kind} {digest[:12]}: {version.state.value}; it took part in {len(tried)} decisions, "
            f"{late} of them late; {why.actor if why else 'nobody'}: {why.note if why else '-'}"
        )
    return Check("bad candidates taken out", held and len(evidence.bad) == planned, tuple(figures))


def lawful(store, log):
    """Law 9: whoever decided was approved, and placed or activated before."""
    entries = _every(store)
    named = {one.subject for one in entries if one.action in ("placed", "activated")}
    strange = [row for row in log if row["digest"] not in {*named, BUILT_IN_DIGEST, ""}]
    sequences = [row["sequence"] for row in log if row["sequence"] >= 0]
    figures = (
        f"{len({row['digest'] for row in log})} policies decided, {len(strange)} decisions by one "
        f"that nobody put there; sequences {min(sequences)} to {max(sequences)}",
    )
    return Check("what decided was approved", not strange, figures)


def explained(store):
    """The log is whole, and each decision of the control plane says why."""
    verdict = store.audit.verify()
    entries = _every(store)
    decided = [one for one in entries if one.action in DECIDES]
    mute = [one for one in decided if len(one.note.strip()) < 3]
    counts = Counter(f"{one.action} by {one.actor}" for one in entries)
    told = [f"{count} x {what}" for what, count in sorted(counts.items())]
    figures = (
        f"{verdict.entries} entries, chain {'intact' if verdict.intact else verdict.reason}; "
        f"{len(decided)} decisions, {len(mute)} without a reason",
        "; ".join(told),
    )
    return Check("explained in the audit log", verdict.intact and not mute, figures)


def _every(store):
    found, after = [], 0
    while page := store.audit.entries(after=after, limit=1000):
        found += page
        after = page[-1].sequence
    return found


def lives(evidence):
    """Nothing but its kills ended the daemon, and each time it came back."""
    if not evidence.daemon_lives:
        return Check("daemon killed and back", True, ("a script was the control plane",))
    kills = sum(one.kind is Kind.KILL_DAEMON for one in evidence.plan.mishaps)
    alone = [what for _, what in evidence.happened if "daemon ended by itself with -9" not in what
             and "daemon ended by itself" in what]  # fmt: skip
    end = [what for _, what in evidence.happened if "told to stop" in what]
    held = evidence.daemon_lives == kills + 1 and not alone and end and end[0].endswith(" 0")
    return Check("daemon killed and back", bool(held),
                 (f"{kills} kills, {evidence.daemon_lives} lives", *alone, *end))  # fmt: skip


def cost(evidence):
    """What the world cost; never broken."""
    figures = f"{evidence.processor_s:.1f} s of processor for {evidence.plan.span_s:g} s of world"
    return Check("processor time", True, (figures,))


def _p95(values):
    return sorted(values)[int(0.95 * (len(values) - 1))]
