"""A store after nine days of use: policies in every state, what was measured, hosts, runs, rules.

All of it is made from a fixed clock and fixed seeds, so that pages look the same each time.
"""

import random
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

from proof import close_windows, evidence
from telling import tell_run

from evolver.library import read
from policy_store import Origin, PolicyStore
from policy_store.records import Alias, Ejection, HostReport, Kind
from policy_store.records import Role as PersonRole
from sandbox.close_up import CloseUp
from sandbox.evidence import Outcome, Role
from sandbox.policies import default_source
from sandbox.verifier import verify

NOW = datetime(2026, 3, 12, 10, 30, tzinfo=UTC)
PASSWORD = "four words are enough"
PEOPLE = {"ada": PersonRole.ADMIN, "ben": PersonRole.REVIEWER, "vic": PersonRole.VIEWER}
RULE = """name = "constants-to-canary"
action = "canary"
weight = 0.05
touches = "constants"
most_a_day = 4
sealed_units = 8

[gain_percent]
active = 3.0
human = 0.5
"""
ENDLESS = "def route(request, instances, memory):\n    while 1:\n        pass\n"
LATE = "A decision took 7.2 ms at p99; 5 ms is the limit."
SOONEST = read("least_predicted_completion")
CONSIDERATE = (
    SOONEST.replace(
        "where this request would be finished first.",
        "where this request costs itself and others the least.",
    )
    .replace(
        "UNKNOWN_TOKENS = 256.0  # tune: 16 .. 4096\n",
        "UNKNOWN_TOKENS = 256.0  # tune: 16 .. 4096\nHARM = 1.0  # tune: 0 .. 4\n",
    )
    .replace(
        "def route(",
        "def delay_to_others_s(request, inst):\n"
        "    return inst.running_requests * prefill_time_s(inst, request.prompt_tokens)\n\n\n"
        "def route(",
    )
    .replace(
        "completion_s(request, inst) * (1.0",
        "(completion_s(request, inst) + HARM * delay_to_others_s(request, inst)) * (1.0",
    )
)
LOWER_KNEE = SOONEST.replace("KV_KNEE = 0.9 ", "KV_KNEE = 0.82 ")


@dataclass
class Clock:
    """The store's: it stands still until it is moved."""

    now: datetime = NOW - timedelta(days=9)

    def __call__(self) -> datetime:
        return self.now

    def before(self, **span: float) -> None:
        """Move it to so long before the present of the scene."""
        self.now = NOW - timedelta(**span)

    def later(self, **span: float) -> None:
        self.now += timedelta(**span)


def fill(path: Path, *, people: bool) -> dict[str, str]:
    """Make the store, with or without accounts; the digests of its policies by name."""
    clock, chance = Clock(), random.Random(1)
    ids = mock.patch("uuid.uuid4", side_effect=lambda: uuid.UUID(int=chance.getrandbits(128)))
    with ids, PolicyStore.open(path, clock=clock) as store:
        scene = Scene(store, clock)
        if people:
            let_in(store)
        scene.past()
        scene.trials()
        scene.queue()
        scene.hosts()
        return scene.known


def let_in(store: PolicyStore) -> None:
    """Give everybody an account and a password."""
    for name, role in PEOPLE.items():
        store.accounts.add(name, role, by="root")
        store.accounts.use_link(store.accounts.link_for(name, by="root"), PASSWORD)


@dataclass
class Scene:
    """Files one thing after the other."""

    store: PolicyStore
    clock: Clock
    known: dict[str, str] = field(default_factory=dict)

    def past(self) -> None:
        """What was live before, and what became of it."""
        store = self.store
        self.policy("least-loaded", read("least_loaded"), Origin.PERSON, "ben")
        self.measure("least-loaded", 0.05, 1)
        self.live("least-loaded", "ada", "our first policy; evidence is clean")
        self.clock.before(days=6, hours=4)
        run = tell_run(store, self.clock, "monday-traffic", improved=True)
        self.policy(
            "soonest-completion", SOONEST, Origin.MUTATOR, parents=("least-loaded",), run=run
        )
        self.measure("soonest-completion", 0.083, 2)
        self.live("soonest-completion", "ben", "promoted after a day as canary")
        self.clock.before(days=5)
        self.policy("eager-prefill", CONSIDERATE.replace("HARM = 1.0", "HARM = 0.1"), Origin.LLM,
                    parents=("soonest-completion",))  # fmt: skip
        self.measure("eager-prefill", 0.06, 3)
        self.live("eager-prefill", "ada", "looks good on all windows")
        self.clock.before(days=4, hours=22)
        store.eject(self.known["eager-prefill"], "gateway-2", LATE, "LATENCY")
        self.clock.before(days=3)
        self.policy(
            "sticky-sessions", read("prefix_affinity"), Origin.LLM, parents=("soonest-completion",)
        )
        self.measure("sticky-sessions", 0.04, 4)
        self.live("sticky-sessions", "ben", "better for long conversations")
        self.clock.before(days=2, hours=20)
        store.rollback("ada", "first tokens came late after the swap")

    def trials(self) -> None:
        """What runs beside the active policy, and what was turned down."""
        store = self.store
        self.clock.before(days=1, hours=6)
        self.policy("calmer-knee", LOWER_KNEE.replace("0.82", "0.84"), Origin.MUTATOR,
                    parents=("soonest-completion",))  # fmt: skip
        self.measure("calmer-knee", 0.031, 5)
        self.place("calmer-knee", Alias.CANARY, "ada", "5 % of traffic first", 0.05)
        self.policy("two-choices", read("power_of_two"), Origin.LIBRARY, "library")
        self.measure("two-choices", 0.02, 6)
        self.place("two-choices", Alias.SHADOW, "ben", "watch it beside for a day", None)
        self.policy("always-first", read("round_robin"), Origin.LLM)
        self.measure("always-first", -0.07, 7, Outcome.NO_CHANGE)
        store.reject(self.known["always-first"], "ben", "slower than what we have")
        refused = store.propose(ENDLESS, name="endless", origin=Origin.LLM, author="evolver",
                                contract_version=1)  # fmt: skip
        store.record_refused(refused.digest, ["line 2: while has no bound."], by="verifier")
        store.rules.install(RULE, "root", "a month of these was fine")
        tell_run(store, self.clock, "tuesday-traffic", improved=False)

    def queue(self) -> None:
        """What waits for a decision."""
        self.clock.before(hours=9)
        run = tell_run(self.store, self.clock, "wednesday-traffic", improved=True)
        self.policy("sticky-prefixes", read("prefix_affinity").replace("0.5", "0.6"), Origin.LLM,
                    run=run, parents=("sticky-sessions",))  # fmt: skip
        self.measure("sticky-prefixes", 0.012, 8, Outcome.INCONCLUSIVE, spread=0.05)
        self.policy("greedy-batch", CONSIDERATE.replace("HARM = 1.0", "HARM = 0.0"), Origin.LLM,
                    run=run, parents=("soonest-completion",))  # fmt: skip
        self.measure("greedy-batch", 0.05, 9, Outcome.REJECTED, failed="ttft_p99_s")
        self.clock.before(hours=3)
        self.policy("by-hand", read("power_of_two").replace("4.0", "6.0"), Origin.PERSON, "ada")
        self.measure("by-hand", 0.04, 10)
        self.policy(
            "lower-knee", LOWER_KNEE, Origin.MUTATOR, parents=("soonest-completion",), run=run
        )
        self.measure("lower-knee", 0.042, 11)
        self.clock.before(hours=2)
        self.policy("considerate-completion", CONSIDERATE, Origin.LLM, run=run,
                    parents=("soonest-completion", "sticky-sessions"))  # fmt: skip
        self.measure("considerate-completion", 0.094, 12)
        self.look_closely("considerate-completion")
        self.clock.now = NOW
        self.store.runs.start_run("evolve", {"trace_name": "thursday-traffic", "seed": 4})

    def hosts(self) -> None:
        """Four gateways, one of which has been silent for a while."""
        slot, taken_out = self.store.slot(), self.known["eager-prefill"]
        gone = Ejection(taken_out, 3, "LATENCY", LATE,
                        NOW - timedelta(days=4, hours=22))  # fmt: skip
        for k in range(1, 5):
            facts = {"decisions": 118_000 + 977 * k, "fallbacks": k // 2,
                     "canary_decisions": 5850 + 71 * k}  # fmt: skip
            silent_s = 3.0 + k if k < 4 else 420.0
            report = HostReport(f"gateway-{k}", "default", slot.sequence, slot.digest,
                                NOW - timedelta(seconds=silent_s), (gone,) * (k == 2),
                                facts)  # fmt: skip
            self.store.report_host(report)

    def policy(self, name: str, text: str, origin: Origin, author: str = "evolver",
               parents: tuple[str, ...] = (), run: str | None = None) -> None:  # fmt: skip
        source = verify(text)
        digest = self.store.propose(
            source.canonical, name=name, origin=origin, author=author, contract_version=1,
            parameters=source.parameters(), claim=source.claim, run=run,
            parents=tuple(self.known[one] for one in parents),
        ).digest  # fmt: skip
        self.store.record_verified(digest, by="verifier")
        self.known[name] = digest

    def measure(self, name: str, gain: float, seed: int, outcome: Outcome = Outcome.IMPROVED,
                spread: float = 0.02, failed: str = "") -> None:  # fmt: skip
        digest = self.known[name]
        active = self.store.slot().digest or default_source().digest()
        known = self.store.find_policies([active])
        name_now = known[active].name if active in known else "default"
        best = ("least_predicted_completion", "e" * 64, gain * 0.7)
        rivals = {Role.ACTIVE: (name_now, active, gain), Role.BEST_HUMAN: best}
        document = evidence(digest, self.store.show(digest).source.digest, rivals, seed, spread,
                            outcome, failed).document()  # fmt: skip
        self.store.attach_evidence(digest, document, by="evolver")

    def live(self, name: str, by: str, note: str) -> None:
        self.store.approve(self.known[name], by="ada", note="good evidence")
        self.clock.later(hours=20)
        self.store.activate(self.known[name], self.store.slot().sequence, by, note)

    def place(self, name: str, alias: Alias, by: str, note: str, weight: float | None) -> None:
        self.store.approve(self.known[name], by, note)
        self.store.place(self.known[name], alias, self.store.slot(alias).sequence, by, note,
                         weight=weight)  # fmt: skip

    def look_closely(self, name: str) -> None:
        digest, active = self.known[name], self.store.slot().digest
        for windows, kind in zip(
            close_windows(NOW.timestamp()), (Kind.CLOSE_UP, Kind.LAST_HOUR), strict=True
        ):
            document = CloseUp(digest, active, windows).document()
            self.store.attach_evidence(digest, document, by="evolver", kind=kind)
