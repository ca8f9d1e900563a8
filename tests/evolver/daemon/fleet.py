"""A daemon whose traffic, clock and searches are made up, and whose store is a real one."""

from contextlib import contextmanager

from measurements import SOURCE, measurements

from evolver.daemon.config import DaemonConfig
from evolver.daemon.core import Daemon, Parts
from evolver.daemon.job import read_job
from evolver.daemon.protocols import Change, Ended, Ground, Stretch
from policy_store import Origin, PolicyStore
from policy_store.records import Alias, HostReport
from sandbox.cluster import load_cluster
from telemetry import generate, load_profile

RULE = """
name = "any"
action = "canary"
weight = 0.1
touches = "anything"
most_a_day = 9
may_be_missing = ["fairness"]
[gain_percent]
active = 3
[trial]
promote_after_requests = 100
"""
TRACE = generate(load_profile("azure2023_conv"), n=300, seed=1)
CONFIG = {
    "watch": {"request_log": "requests.jsonl", "cluster": "edge-8b", "least_requests": 100,
              "least_s": 10.0, "every_s": 0.05},
    "decide": {"cool_down_s": 0.0, "worth": 1e9},
    "http": {"port": 0},
}  # fmt: skip


class Killed(BaseException):
    """Stands for the end of the process, which nothing catches."""


class Traffic:
    """Windows and cluster; each look is at traffic that nobody has seen.

    Attributes:
        kind: of the traffic; events: of the cluster; since: when the traffic changed.
    """

    def __init__(self, store):
        self.unix_s, self.kind, self.events = store.rules.now().timestamp(), 1.0, []
        self.cluster, self.since, self.said, self.stale = load_cluster("edge-8b"), None, "", ""

    def collect(self, now_unix_s):
        pass

    def see(self, stretch):
        pass

    def rest(self):
        pass

    def close(self):
        pass

    def poll(self):
        events, self.events = self.events, []
        return events

    def tend(self, stretch, live):
        said, self.said = self.said, ""
        return said

    def now(self, stretch):
        return Ground(self.cluster, stale=self.stale)

    def last(self, span_s, now_unix_s):
        self.unix_s += 1000.0
        return Stretch(TRACE, self.unix_s - 500.0, self.unix_s)

    def features(self, stretch, ground):
        return {"gpus": self.kind}

    def change(self, before, after, searched_unix_s):
        if self.since is not None:
            return Change(1.0, True, "Changed.", self.unix_s - self.since)
        return Change(0.0, before != after, "It is as it was." if before == after else "Changed.")


class MadeUp:
    """Searches that end at once, in the store as another process would leave them.

    Attributes:
        finds: whether there is a winner; faults: how the next ones break off; breaks_off: an
            error ends the run itself.
    """

    def __init__(self, where):
        self.where, self.finds, self.faults, self.started, self._ended = where, True, [], 0, None
        self.breaks_off, self.folder = False, None

    def ensure(self, job, folder):
        assert read_job(folder) == job
        self.started, self.folder = self.started + 1, folder
        if self.faults:
            self._ended = self.faults.pop(0)
            return
        with PolicyStore.open(self.where) as store:
            self._search(store, job)
        self._ended = Ended()

    def ended(self, folder):
        ended, self._ended = self._ended, None
        return ended if self.folder in (None, folder) else None

    def stop(self, within_s):
        self._ended = None

    def _search(self, store, job):
        config = {"inputs": job.inputs(), "seed": job.seed}
        run = store.runs.start_run("evolve", config).id
        if self.breaks_off:
            store.runs.finish_run(run, "failed", {"error": "SimulationError"})
            return
        knee = float(job.episode)
        digest = self.proposed(store, job.author, knee, run) if self.finds else None
        summary = {"policy": digest, "gain": 0.09, "reason": "Proved.", "seconds": 7.0,
                   "evaluations": 30.0, "tokens": 0, "price_usd": 0.0}  # fmt: skip
        store.runs.finish_run(run, "improved" if self.finds else "no_change", summary)

    @staticmethod
    def proposed(store, author, knee, run=None):
        """A policy with its measurements."""
        digest = store.propose(
            SOURCE, name="c", origin=Origin.MUTATOR, author=author, contract_version=1,
            parameters={"KNEE": knee}, run=run,
        ).digest  # fmt: skip
        store.record_verified(digest, by=author)
        store.attach_evidence(digest, measurements(digest).document(), by=author)
        return digest


class World:
    """One deployment: its store, its traffic, what hosts say, and as many daemons as die."""

    def __init__(self, store, folder, **config):
        where = store._database.engine.url.render_as_string(hide_password=False)
        self.store, self.folder = store, folder
        self.traffic, self.searches = Traffic(store), MadeUp(where)
        self.published, self.leaders = 0, 0
        self.config = DaemonConfig.model_validate({**CONFIG, **config})
        self.new_daemon()

    def new_daemon(self):
        """As after the end of the process before."""
        self.leaders += 1
        parts = Parts(
            self.traffic, self.traffic, self.traffic, self.searches,
            self.publish, lambda: self.store.rules.now().timestamp(),
        )  # fmt: skip
        self.daemon = Daemon(self.config, self.store, self.folder, parts)
        held = self.store.leases.state("daemon:default")
        if held is not None:
            from policy_store.leases import Lease

            self.store.leases.release(Lease("daemon:default", held.holder, held.fencing))
        self.lease = self.store.leases.hold("daemon:default", f"p{self.leaders}", 30.0)

    def publish(self):
        self.published += 1
        return True

    def turn(self):
        looked = self.daemon.turn(self.lease)
        if self.lease.taken:
            self.lease = self.store.leases.hold("daemon:default", self.lease.holder, 30.0)
        return looked

    def turn_under_lease(self):
        """A turn of a world whose lease was given back."""
        self.lease = self.store.leases.hold("daemon:default", "mine", 30.0)
        return self.turn()

    def turns(self, until, most=30):
        """Turns until the step is there."""
        for _ in range(most):
            if self.turn().step == until:
                return
        raise AssertionError(f"no {until} in {most} turns: {self.actions()}")

    def hosts_say(self, standing, ejections=()):
        """About whatever is the canary; nothing while there is none."""
        slot = self.store.slot(Alias.CANARY)
        facts = {"canary": slot.digest or "", "canary_standing": standing,
                 "canary_requests": 150, "control_requests": 150}  # fmt: skip
        self.store.report_host(HostReport("h", "default", slot.sequence, None,
                                          self.store.rules.now(), ejections, facts))  # fmt: skip

    def actions(self):
        entries = self.store.audit.entries(actor="daemon:default", limit=1000)
        return [one.action for one in entries if one.action.startswith("daemon_")]

    def said(self, action):
        """The notes of the daemon's entries with an action."""
        found = self.store.audit.entries(actor="daemon:default", action=action, limit=1000)
        return [one.note for one in found]

    def outcomes(self):
        return [one.outcome for one in reversed(self.store.daemons.episodes("default"))]


@contextmanager
def killing(store, at, after):
    """The process ends at the `at`-th decision, before it is committed or just after."""
    database, count = store._database, [0]
    deciding = type(database).deciding

    @contextmanager
    def deadly():
        count[0] += 1
        mine = count[0]
        with deciding(database) as session:
            yield session
            if mine == at and not after:
                raise Killed
        if mine == at:
            raise Killed

    database.deciding = deadly
    try:
        yield
    finally:
        del database.deciding
