"""A whole world, unattended: engines, the real gateway, traffic, mishaps, and a daemon or a script.

    python tests/evolver/daemon/world/world.py --form hour
    python tests/evolver/daemon/world/world.py --form fast
    python tests/evolver/daemon/world/world.py --form small --control script
    python tests/evolver/daemon/world/world.py --form short --beside python -m pytest

Prints what happened and every check with its figures; ends with 1 when one does not hold.
"""

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parents[3]), str(TESTS / "evolver"),
                    str(TESTS / "policy_store" / "review")]  # fmt: skip

from fake_endpoint import FakeEndpoint, failure, stream  # noqa: E402
from world_checks import Evidence, all_checks  # noqa: E402
from world_clock import jumping  # noqa: E402
from world_daemon import DaemonInside  # noqa: E402
from world_inside import Inside  # noqa: E402
from world_outside import Outside  # noqa: E402
from world_plan import GPUS, PLANS, Kind, cluster_text, daemon_text  # noqa: E402
from world_policies import BAD_FAULTY, BAD_SLOW, BY_SPEED, file_measured  # noqa: E402
from world_programs import Program, processor_s  # noqa: E402
from world_script import run_script  # noqa: E402

from evolver.cli.publishing import publish, signing_key  # noqa: E402
from evolver.cli.screen import Screen  # noqa: E402
from evolver.library import read  # noqa: E402
from policy_store import PolicyStore  # noqa: E402
from policy_store.rule_application import apply_rules  # noqa: E402

RULE = """
name = "unattended"
action = "canary"
weight = 0.5
touches = "anything"
most_a_day = 50
may_be_missing = ["fairness"]
replace = true

[gain_percent]
active = 1

[trial]
promote_after_requests = 40
end_after_hours = 0.1
"""
LAST_ANSWERS_S = 45.0
ATTEMPTS = 4
MORE_S = 15.0


@dataclass
class World:
    """One world in one folder; `run` lets it go by."""

    plan: object
    home: Path
    by_daemon: bool
    say: object = print
    happened: list = field(default_factory=list)  # (unix s, what)
    bad: dict = field(default_factory=dict)  # digest: kind
    started_s: float = 0.0
    endpoint: object = None
    killing: bool = False
    clock: object = None  # one that jumps, where all of serving is in this process

    def tell(self, what):
        self.happened.append((time.time(), what))
        self.say(f"{time.monotonic() - self.started_s:7.1f} s  {what}", flush=True)

    async def run(self):
        """Everything; what is to be checked."""
        self.started_s, cpu_s = time.monotonic(), processor_s()
        self._found()
        async with contextlib.AsyncExitStack() as stack:
            self.stack = stack
            if self.clock is None:
                self.serving = Outside(self.plan, self.home)
            else:
                self.serving = Inside(self.plan, self.home, self.clock, self.store)
            await stack.enter_async_context(self.serving.running())
            self.tell("serving")
            control = asyncio.create_task(self._control(stack))
            mishaps = asyncio.create_task(self._mishaps())
            try:
                served = await self._load()
                await mishaps
            finally:
                for task in (control, mishaps):
                    task.cancel()
                ended = await asyncio.gather(control, mishaps, return_exceptions=True)
            for error in ended:
                if isinstance(error, Exception):
                    raise error
            if self.by_daemon:
                self.tell(f"the daemon was told to stop and ended with {await self.daemon.stop()}")
        return Evidence(self.plan, self.home, served, self.happened, self.bad, self._lives(),
                        processor_s() - cpu_s)  # fmt: skip

    def _lives(self):
        return self.daemon.lives if self.by_daemon else 0

    def _found(self):
        """The store, a signing key, the first policy and the rule: what a person does once."""
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "cluster.toml").write_text(cluster_text())
        self.key = signing_key(self.home, Screen(quiet=True), "ada")
        with self.store() as store:
            first = file_measured(store, read("round_robin"), "round_robin", author="ada")
            store.approve(first, "ada", "what the old balancer did")
            store.activate(first, 0, "ada", "what the old balancer did")
            store.rules.install(RULE, "ada", "nobody watches tonight")
            publish(store, self.home, self.key)

    def store(self):
        where = self.home / "store.db"
        return PolicyStore.open(where, *([self.clock.now] if self.clock else []))

    async def _control(self, stack):
        if not self.by_daemon:
            await run_script(self)
            return
        self.endpoint_port = _free_port()
        config = self.home / "daemon.toml"
        config.write_text(daemon_text(self.plan, self.endpoint_port))
        if self.clock is None:
            self.daemon = Program("daemon", ("daemon", "run", str(config)), self.home)
        else:
            self.daemon = DaemonInside(self.plan, self.home, self.key, self.clock, self.store)
        await self.daemon.start()
        stack.push_async_callback(self.daemon.stop)
        while True:
            if not self.daemon.runs:
                if not self.killing:
                    self.tell(f"the daemon ended by itself with {self.daemon.process.returncode}")
                await asyncio.sleep(1.0)
                await self.daemon.start()
                self.killing = False
            await asyncio.sleep(0.5)

    async def _load(self):
        pending = []
        for regime, requests in zip(self.plan.regimes, self.plan.requests(), strict=True):
            self.tell(f"regime {regime.name}: {len(requests)} requests")
            span_s = regime.lasts_s / self.plan.scale
            most_s = span_s + LAST_ANSWERS_S
            sending = self.serving.replay(requests, max_wall_s=most_s, attempts=ATTEMPTS)
            pending.append(asyncio.create_task(sending))
            await asyncio.sleep(span_s)
        late = [*await self._until_promoted()]
        served = [await task for task in pending]
        served[-1] += late
        return served

    async def _until_promoted(self):
        """More of the first regime while nothing was promoted: a slow machine needs its time."""
        first, found, until_s = self.plan.regimes[0], [], time.monotonic() + self.plan.patience_s
        for number in range(1000):
            if time.monotonic() > until_s or await asyncio.to_thread(self._promoted):
                return found
            if not number:
                self.tell(f"{first.name} come again until something is promoted")
            part = replace(first, lasts_s=MORE_S * self.plan.scale)
            (requests,) = replace(self.plan, regimes=(part,), seed=number + 2).requests()
            most_s = MORE_S + LAST_ANSWERS_S
            found += await self.serving.replay(requests, max_wall_s=most_s, attempts=ATTEMPTS)
        return found

    def _promoted(self):
        with self.store() as store:
            return len(store.activations()) > 1

    async def _mishaps(self):
        begun = [asyncio.create_task(self._mishap(one)) for one in self.plan.mishaps]
        await asyncio.gather(*begun)

    async def _mishap(self, one):
        await asyncio.sleep(one.at_s)
        if one.engine >= 0:
            await self._lose(one)
        elif one.kind is Kind.KILL_DAEMON:
            if self.by_daemon:
                self.tell("kill -9 of the daemon")
                self.killing = True
                await self.daemon.kill()
        elif one.kind is Kind.REVIVE_MODEL:
            if self.by_daemon:
                await self._revive_model()
        else:
            await self._until_nothing_is_tried()
            text = BAD_FAULTY if one.kind is Kind.BAD_FAULTY else BAD_SLOW
            await asyncio.to_thread(self._file_bad, text, one.kind)

    async def _until_nothing_is_tried(self):
        """What the daemon found must not take a bad candidate's place before anybody saw it."""
        for _ in range(60):
            if not self.by_daemon or await asyncio.to_thread(self._daemon_watches):
                return
            await asyncio.sleep(5.0)

    def _daemon_watches(self):
        with self.store() as store:
            return store.daemons.read("default").step == "watching"

    async def _revive_model(self):
        self.tell("the model endpoint answers from now on")
        answer = stream(f"```python\n{BY_SPEED}\n```")
        still_ill = [failure(503), failure(500)]
        self.endpoint = FakeEndpoint(*still_ill, answer, port=self.endpoint_port)
        self.stack.enter_context(self.endpoint)

    async def _lose(self, one):
        name = f"engine {one.engine} ({GPUS[one.engine]})"
        if one.kind is Kind.SLOW:
            self.tell(f"{name} is three times slower for {one.lasts_s:g} s")
            await self.serving.slow(one.engine, 3.0, one.lasts_s)
            return
        self.tell(f"{name} is lost: {one.kind}")
        lose = self.serving.kill if one.kind is Kind.CRASH else self.serving.stop
        await lose(one.engine)
        await asyncio.sleep(one.lasts_s)
        await self.serving.start(one.engine)
        self.tell(f"{name} is back")

    def _file_bad(self, text, kind):
        """A candidate whose evidence is good, judged by the rule like any other."""
        with self.store() as store:
            digest = file_measured(store, text, kind.value.replace(": ", "_").replace(" ", "_"))
            self.bad[digest] = kind
            applied = apply_rules(store, digest)
            publish(store, self.home, self.key)
        self.tell(f"{kind}: {digest[:12]} was filed; {applied.said}")


def _free_port():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--form", choices=tuple(PLANS), default="short")
    parser.add_argument("--control", choices=("daemon", "script"), default="daemon")
    parser.add_argument("--scale", type=float, default=1.0, help="of the engines' clock, up to 5")
    parser.add_argument("--home", type=Path, help="kept; a temporary folder by default")
    parser.add_argument("--beside", nargs=argparse.REMAINDER, help="a command to run meanwhile")
    options = parser.parse_args()
    if not 1.0 <= options.scale <= 5.0:
        parser.error("the clock of the engines is 1 to 5 times ours")
    plan = PLANS[options.form]
    if plan.http:
        plan = replace(plan, scale=options.scale)
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder)
        return beside(plan, home, options) if options.beside else alone(plan, home, options)


def alone(plan, home, options, say=print):
    """Let the world go by, and report; 1 when something did not hold."""
    world = World(plan, home, by_daemon=options.control == "daemon", say=say)
    if plan.http:
        evidence = asyncio.run(world.run())
    else:
        with jumping() as world.clock:
            evidence = world.clock.run(world.run())
    return report(all_checks(evidence), say)


def beside(plan, home, options):
    """The same while a command runs, which says all that it has to say first.

    How long a gateway takes beside a command that wants the whole machine is no finding.
    """
    lines = []
    command = subprocess.Popen(options.beside)
    try:
        later = lambda *words, **_: lines.append(words)  # noqa: E731
        status = alone(replace(plan, busy=True), home, options, later)
    except BaseException:
        command.terminate()
        raise
    finally:
        ended = command.wait()
        print(*(" ".join(map(str, line)) for line in lines), sep="\n")
    return ended or status


def report(checks, say=print):
    """Print every check; 1 when one does not hold."""
    for check in checks:
        say(f"{'held' if check.held else 'BROKEN':7} {check.name}")
        for line in check.figures:
            say(f"          {line}")
    return 0 if all(check.held for check in checks) else 1


if __name__ == "__main__":
    raise SystemExit(main())
