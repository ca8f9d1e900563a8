"""What happens in a world: engines, traffic in regimes, and everything that goes wrong, by time."""

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from serving_adapter.emulation.fleet import EngineSpec
from serving_adapter.emulation.load import LoadRequest

GPUS = ("B200", "L40S", "L40S")
MODEL = "Llama-3.1-8B"
MODEL_NAME = "world"
SEATS = 8
STEP_TOKENS = 2048
LONGEST_TOKENS = 15_000
TURN_GROWS = 1.2
THINK_S = 4.0


@dataclass(frozen=True)
class Regime:
    """A stretch of traffic: seconds, requests a second and mean lengths, on the engines' clock.

    `turns` is the mean length of a session: later turns begin with the same tokens.
    """

    name: str
    lasts_s: float
    rate_rps: float
    prompt_tokens: float
    output_tokens: float
    turns: float = 1.0


class Kind(StrEnum):
    DRAIN = "drain"  # an engine ends after what it runs, as when a spot instance is called back
    CRASH = "crash"  # an engine is killed
    SLOW = "slow"  # an engine takes three times as long
    KILL_DAEMON = "kill daemon"
    REVIVE_MODEL = "revive model"
    BAD_FAULTY = "bad candidate: faults"
    BAD_SLOW = "bad candidate: slow"


@dataclass(frozen=True)
class Mishap:
    """At real second `at_s`; an engine comes back `lasts_s` later."""

    at_s: float
    kind: Kind
    engine: int = -1
    lasts_s: float = 0.0


@dataclass(frozen=True)
class Plan:
    """One world. Regimes follow each other on the engines' clock, `scale` times as fast as ours."""

    name: str
    regimes: tuple[Regime, ...]
    mishaps: tuple[Mishap, ...]
    scale: float = 1.0
    http: bool = True  # else all but searches is in one process, on a clock that jumps
    busy: bool = False  # other work wants the same processors, so latencies say nothing
    seed: int = 1
    least_requests: int = 160  # that a search of the daemon needs, in `least_s`
    least_s: float = 60.0
    evaluations: int = 12
    seconds: float = 90.0
    rest_s: float = 20.0
    looks_every_s: float = 1.0  # between two turns of the daemon
    search_s: float = 120.0  # of a clock that jumps, for a search of whatever length
    patience_s: float = 180.0  # that the first regime may come again until something was promoted

    @property
    def span_s(self):
        """Real seconds."""
        return sum(regime.lasts_s for regime in self.regimes) / self.scale

    def specs(self):
        """The engines."""
        return [
            EngineSpec(gpu=gpu, model=MODEL, time_scale=self.scale, max_num_seqs=SEATS,
                       max_num_batched_tokens=STEP_TOKENS, prefix_caching=True)
            for gpu in GPUS
        ]  # fmt: skip

    def requests(self):
        """All of the traffic by regime, arrivals on the engines' clock from each one's start."""
        rng = np.random.default_rng(self.seed)
        numbers = iter(range(1_000_000 * self.seed, 10**9))  # no session of another seed
        return [list(_traffic(regime, rng, numbers)) for regime in self.regimes]


def _traffic(regime, rng, numbers):
    """Poisson sessions of geometric length; lognormal lengths (sigma 0.6, mean as asked for)."""
    found = []
    at_s, every_s = 0.0, regime.turns / regime.rate_rps
    while (at_s := at_s + rng.exponential(every_s)) < regime.lasts_s:
        session, turn_s = next(numbers), at_s
        prompt = _length(rng, regime.prompt_tokens / TURN_GROWS ** (regime.turns - 1.0))
        for _ in range(rng.geometric(1.0 / regime.turns)):
            if turn_s >= regime.lasts_s:
                break
            output = _length(rng, regime.output_tokens)
            found.append(LoadRequest(turn_s, min(prompt, LONGEST_TOKENS), output, session))
            prompt = int(prompt * TURN_GROWS) + output
            turn_s += rng.exponential(THINK_S)
    return sorted(found, key=lambda one: one.arrival_s)


def _length(rng, mean):
    return max(1, int(rng.lognormal(np.log(mean) - 0.18, 0.6)))


def cluster_text():
    """The fleet as a cluster file, on the engines' clock."""
    counts = Counter(GPUS).items()
    pools = "".join(f'\n[[pool]]\ngpu = "{gpu}"\ncount = {count}\n' for gpu, count in counts)
    return (
        f'name = "three-engines"\nmodel = "{MODEL}"\nsignals = "gateway"\n{pools}\n'
        f"[engine]\nmax_num_seqs = {SEATS}\nmax_num_batched_tokens = {STEP_TOKENS}\n\n"
        "[slo]\nttft_s = 4.0\ntpot_s = 0.1\ne2e_s = 30.0\n\n[router]\ncount = 1\n"
    )


def daemon_text(plan, model_port):
    """The configuration of the daemon."""
    return f"""
[watch]
request_log = "requests.jsonl"
cluster = "cluster.toml"
every_s = {plan.looks_every_s}
span_s = {max(120.0, 900.0 / plan.scale)}
least_requests = {plan.least_requests}
least_s = {plan.least_s}
clock_speed = {plan.scale}

[decide]
cool_down_s = {plan.rest_s}

[run]
evaluations = {plan.evaluations}
seconds = {plan.seconds}

[day]
runs = 100
seconds = 7200

[[models]]
name = "openai/{MODEL_NAME}"
api_base = "http://127.0.0.1:{model_port}/v1"
patience_s = 10
price_in = 0
price_out = 0

[calibrate]
every_s = {3600.0 if plan.http else 0.0}

[lease]
ttl_s = {3.0 if plan.http else 0.5}

[http]
port = 0
"""


def _minutes(*regimes):
    return tuple(Regime(name, 60.0 * minutes, *rest) for name, minutes, *rest in regimes)


SHORT = Plan(
    "three minutes",
    _minutes(("long prompts", 1.75, 2.8, 6_000, 6), ("short prompts", 0.75, 2.0, 2_500, 6),
             ("sessions", 0.5, 1.5, 5_000, 6, 3.0)),
    (
        Mishap(10.0, Kind.BAD_FAULTY), Mishap(25.0, Kind.REVIVE_MODEL),
        Mishap(68.0, Kind.KILL_DAEMON), Mishap(85.0, Kind.DRAIN, 2, 10.0),
        Mishap(140.0, Kind.CRASH, 1, 8.0),
    ),
)  # fmt: skip
HOUR = Plan(
    "one hour",
    _minutes(("long prompts", 10, 2.8, 6_000, 6), ("short prompts", 10, 6.0, 2_000, 6),
             ("sessions", 10, 2.5, 5_000, 6, 3.0), ("long answers", 10, 2.5, 2_000, 40),
             ("long prompts again", 10, 3.0, 6_000, 6), ("a rush", 10, 5.0, 4_000, 6)),
    (
        Mishap(480.0, Kind.KILL_DAEMON), Mishap(720.0, Kind.DRAIN, 2, 120.0),
        Mishap(900.0, Kind.BAD_FAULTY), Mishap(1200.0, Kind.REVIVE_MODEL),
        Mishap(1560.0, Kind.CRASH, 1, 90.0), Mishap(1800.0, Kind.KILL_DAEMON),
        Mishap(2100.0, Kind.BAD_SLOW), Mishap(2460.0, Kind.SLOW, 0, 120.0),
        Mishap(2760.0, Kind.CRASH, 2, 60.0), Mishap(3000.0, Kind.KILL_DAEMON),
    ),
    least_requests=400, least_s=120.0, evaluations=60, seconds=240.0, rest_s=120.0,
)  # fmt: skip
FAST = replace(
    HOUR, name="one hour on a clock that jumps", http=False, looks_every_s=5.0, rest_s=600.0,
    evaluations=12,
)  # fmt: skip
SMALL = Plan(
    "five minutes on a clock that jumps",
    _minutes(("long prompts", 4.5, 2.8, 6_000, 6), ("sessions", 0.5, 2.0, 5_000, 6, 3.0)),
    (
        Mishap(60.0, Kind.DRAIN, 2, 10.0), Mishap(90.0, Kind.CRASH, 1, 8.0),
        Mishap(155.0, Kind.BAD_FAULTY), Mishap(180.0, Kind.BAD_SLOW),
    ),
    http=False,
)  # fmt: skip
PLANS = {"hour": HOUR, "short": SHORT, "fast": FAST, "small": SMALL}
