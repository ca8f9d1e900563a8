"""A simulation run in stretches, from one monitoring point to a later one, each under its policy.

State is carried over whole: what runs, waits, loads and is planned stays as it is, and only who is
asked changes. A run in stretches under one policy is the run of `simulate`, bit for bit.
"""

from __future__ import annotations

import math

from sandbox.engine import LoadedPolicy
from sandbox.kernel.calls import HOOKS
from sandbox.kernel.program import Program
from sandbox.kernel.state import NEVER, PS_PER_S, Sim
from sandbox.simulation import (
    EVENTS_PER_CALL,
    Outcome,
    Setup,
    SimulationError,
    build,
    outcome_at_end,
)

PLANNER_SCOPE = frozenset({"should_reschedule", "schedule"})


class Stretches:
    """One simulation that can be stopped at monitoring points.

    Args:
        setup: what is simulated.
        policy: who decides at first. It, and those that enter later, have hooks of the planner
            only: rows of the other scopes are laid out for one policy.
        default: answers for hooks that a policy lacks.

    Raises:
        SimulationError: no plan fits the cluster at the start, or a policy has other hooks.
    """

    def __init__(self, setup: Setup, policy: LoadedPolicy, default: LoadedPolicy) -> None:
        self.setup = setup
        self.over = False
        self._default = default
        self.sim: Sim = build(setup, default, default)
        self._program = Program(self.sim)
        self._living = [policy]
        self._connect(policy)
        if not self._program.start():
            raise SimulationError(
                f"No plan fits {setup.cluster.name} at the start; begin the capacity elsewhere."
            )

    @property
    def now_s(self) -> float:
        """The monitoring point that comes next: when whoever enters is asked first."""
        return float(self.sim.totals[0]["next_monitor"]) / PS_PER_S

    def run_to(self, time_s: float = math.inf) -> bool:
        """Run up to the first monitoring point at or after a time; False when the run is over.

        That point has not been handled yet; the next stretch begins with it.
        """
        until = NEVER if math.isinf(time_s) else round(time_s * PS_PER_S)
        totals = self.sim.totals[0]
        while not self.over:
            before = int(totals["handled"])
            if not self._program.run(EVENTS_PER_CALL, until):
                self.over = True
            elif int(totals["handled"]) - before < EVENTS_PER_CALL:
                return True
        return False

    def enter(self, policy: LoadedPolicy) -> None:
        """Another policy decides from the next monitoring point on, with fresh memory.

        A plan that is being computed comes into force all the same: the old policy made it.
        """
        self._connect(policy)
        self.sim.planner_memory[0] = 0.0
        self._living.append(policy)

    def outcome(self) -> Outcome:
        """What happened; runs to the end first."""
        self.run_to()
        return outcome_at_end(self.sim, self.setup)

    def _connect(self, policy: LoadedPolicy) -> None:
        others = set(policy.hooks) - PLANNER_SCOPE
        if others and policy is not self._default:
            raise SimulationError(
                f"A policy that enters in mid-run has planner hooks only; leave out {min(others)}."
            )
        for hook in PLANNER_SCOPE:
            own = policy if hook in policy.hooks else self._default
            self.sim.hooks[HOOKS.index(hook)] = own.address(hook)
            self.sim.hook_parameters[HOOKS.index(hook)] = own.parameters_of(hook).ctypes.data
