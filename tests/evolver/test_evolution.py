"""Who takes part in a run: every human policy can be verified on what the problem exercises."""

import pytest

from evolver.evolution import humans
from evolver.exercised import exercised_hooks
from evolver.serving_task import ServingTask
from evolver.task import Description, Human, Refused
from sandbox.policies import default_text

PLANNER_ONLY = '''"""Never plans."""


def should_reschedule(window, cluster, plan, memory):
    return False
'''


@pytest.mark.parametrize("replans", [False, True])
@pytest.mark.parametrize("text", [default_text(), PLANNER_ONLY])
def test_the_active_policy_is_always_among_those_to_beat(text, replans):
    hooks = exercised_hooks(replans)
    task = ServingTask(None, {}, Description("", ""), hooks)
    everyone = humans(hooks, Human("now", text, active=True))
    assert [human.active for human in everyone].count(True) == 1
    verified = [task.verify(human.text, human.name) for human in everyone]
    assert not [program for program in verified if isinstance(program, Refused)]
