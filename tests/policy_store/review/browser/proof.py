"""What was measured: evidence whose effects follow from its windows, and close-ups."""

import math
import random
from dataclasses import replace

from looks import MINE

from sandbox import stats
from sandbox.close_up import Conduct, End, Fate, Request, Series, Tenant, Why, Window
from sandbox.evidence import (
    Contender,
    Effect,
    Evidence,
    Gate,
    GateStatus,
    Outcome,
    Role,
    TimeSplit,
    WindowEvidence,
)

SEALED, TRAINING, WINDOW_S = 10, 9, 300.0
CLOSE = (("w19", Why.WORST), ("w16", Why.TYPICAL), ("w22", Why.BEST))


def evidence(digest: str, source: str, rivals: dict[Role, tuple[str, str, float]], seed: int,
             spread: float, outcome: Outcome, failed: str) -> Evidence:  # fmt: skip
    """Evidence whose effects follow from its windows."""
    chance = random.Random(seed)
    windows = tuple(_window(k, rivals, chance, spread) for k in range(TRAINING + SEALED))
    sealed = [one.objective for one in windows if one.sealed]
    effects = []
    for role in rivals:
        ratios = stats.log_ratios([one[role] for one in sealed],
                                  [one[Role.CANDIDATE] for one in sealed])  # fmt: skip
        interval = stats.paired_bootstrap(ratios, seed=seed)
        effects.append(Effect(role, "mean end-to-end time", True, interval,
                              stats.sign_flip_p(ratios, seed=seed)))  # fmt: skip
    low, high = (
        100 * stats.relative_gain(x) for x in (effects[0].interval.low, effects[0].interval.high)
    )
    time = TimeSplit(0.6 + seed / 50, 0.0, 3120.0)
    return Evidence(
        outcome, f"{low:.1f} to {high:.1f} % less time than what was active, on 10 sealed windows.",
        source,
        (Contender(Role.CANDIDATE, "candidate", digest, time, 410.0 + seed),
         *(Contender(role, name, whose, TimeSplit(0.5, 0.0, 3260.0), 258.0)
           for role, (name, whose, _) in rivals.items())),
        gates(failed), windows, tuple(effects), "H100 x Llama-3.1-8B, L40S x Llama-3.1-8B",
        "four-engines", "0.1.0", 1, 2.0, seed, (0.8,), 67, 4,
    )  # fmt: skip


def _window(k: int, rivals: dict[Role, tuple[str, str, float]], chance: random.Random,
            spread: float) -> WindowEvidence:  # fmt: skip
    level = 3.6 + 0.9 * math.sin(k / 3) + 0.3 * chance.random()
    objective = {Role.CANDIDATE: level}
    for role, (_, _, gain) in rivals.items():
        objective[role] = level * math.exp(gain + spread * chance.gauss(0, 1))
    metrics = {role: {"e2e_p50_s": 0.7 * value, "e2e_p99_s": 3.1 * value, "ttft_p99_s": value / 4,
                      "ttft_mean_s": value / 19, "tpot_mean_s": 0.004 * value, "preemptions": 0.0,
                      "reconfigurations": 0.0, "rejected": 0.0, "unfinished": 0.0,
                      "smooth_goodput": 1900.0 - 90 * value, "slo_attainment": 0.97}
               for role, value in objective.items()}  # fmt: skip
    return WindowEvidence(f"w{k + 5:02d}", f"w{k + 5:02d}", k >= TRAINING, WINDOW_S * k,
                    WINDOW_S * (k + 1), 0.8, k, objective, metrics)  # fmt: skip


def gates(failed: str) -> tuple[Gate, ...]:
    """What a run tries, all passed but one."""
    said = {
        "smooth_goodput": "Smooth goodput +1.1 %.",
        "ttft_p99_s": "p99 time to first token -6.2 % over all windows, 0.95 s on the worst.",
        "tpot_p99_s": "p99 time per output token +0.8 % over all windows, 0.021 s on the worst.",
        "rejected": "Rejected or unfinished requests +0; at most +2.4.",
        "starvation": "Nobody waited longer than an answer may take, the longest 1.2 s.",
        "reconfigurations": "Reconfigurations 0 an hour; at most 2.5.",
    }
    broken = "p99 time to first token +31.4 % over all windows; at most +5 % is allowed."
    tried = [
        Gate(name, GateStatus.FAIL, broken) if name == failed else Gate(name, GateStatus.PASS, why)
        for name, why in said.items()
    ]
    return (*tried, Gate("fairness", GateStatus.NOT_RUN, "Only one tenant has enough requests."))


def close_window(seed: int, name: str, why: Why, start_s: float = 2700.0) -> Window:
    """A window under two policies, with the requests that lost and gained most."""
    chance = random.Random(seed)

    def spread(scale: float, tail: float) -> tuple[float, ...]:
        return tuple(
            sorted(round(scale * math.exp(tail * chance.gauss(0, 1)), 4) for _ in range(33))
        )

    def curve(level: float) -> Series:
        bins = range(60)
        waves = [1 + 0.5 * math.sin(k / 6) for k in bins]
        return Series(
            tuple(round(level * wave + chance.random() / 2, 4) for wave in waves),
            tuple(round(18 * wave + 4 * chance.random(), 2) for wave in waves),
            tuple(round(max(0.0, level * (wave - 1) * 3 + chance.random()), 2) for wave in waves),
            tuple(round(0.3 + 0.1 * chance.random(), 3) for _ in bins), (0,) * 60,
            tuple(round(0.5 + 0.25 * math.sin(k / 9), 3) for k in bins), (4,) * 60,
        )  # fmt: skip

    def fate(e2e_s: float) -> Fate:
        return Fate(End.FINISHED, 13.7, round(e2e_s, 3), round(e2e_s / 9, 3), chance.randrange(4),
                    0, 0, chance.randrange(2), (12, 14, 9, 3), (0, 2, 5, 0))  # fmt: skip

    def conduct(level: float) -> Conduct:
        return replace(
            MINE, objective_s=level, e2e_s=spread(level, 0.6), ttft_s=spread(level / 8, 0.9),
            tpot_s=spread(0.02, 0.2), finished=1200, instance_share=(0.28, 0.22, 0.26, 0.24),
            fuel_per_decision=160.0 * level, series=curve(level),
        )  # fmt: skip

    lost = tuple(Request(40 + 31 * k, 13.7 * k, 1, 2900 - 97 * k, 210 + 7 * k, 5.0 - k / 2,
                         fate(8.0 - k / 2), fate(3.0)) for k in range(8))  # fmt: skip
    gained = tuple(Request(400 + k, 13.7 * k, 1, 90 + k, 210 + 7 * k, k - 7.0, fate(2.0),
                           fate(9.0 - k)) for k in range(3))  # fmt: skip
    tenants = (Tenant(0, 0.5, 0.51, 0.49, 2.1, 2.4), Tenant(1, 0.3, 0.29, 0.31, 1.9, 2.2),
               Tenant(-1, 0.2, 0.2, 0.2, 2.0, 3.1))  # fmt: skip
    return Window(name, why, True, start_s, start_s + 300.0, 5.0, 1207, conduct(2.6), conduct(2.9),
                  lost, gained, tenants)  # fmt: skip


def close_windows(last_s: float) -> tuple[tuple[Window, ...], tuple[Window, ...]]:
    """Three sealed windows, and the last hour, which ends at a second of the calendar."""
    sealed = tuple(close_window(k, name, why) for k, (name, why) in enumerate(CLOSE))
    return sealed, (close_window(5, "last-hour", Why.LAST_HOUR, last_s - 300.0),)
