"""A small scenario for tests, with changes."""

from evolver.leaderboard.ground import Scenario
from evolver.leaderboard.reading import checked, overlaid

FILE = {
    "schema": 1,
    "name": "small",
    "system": "sglang",
    "code": "sgl-project/sglang",
    "says": "a made-up evaluation",
    "read": "notes",
    "decides": ["route"],
    "load": 0.7,
    "load_why": "some queueing",
    "cluster": {"model": "Llama-3.1-8B", "pool": [{"gpu": "A100", "count": 2}]},
    "cluster_why": "two engines",
    "traffic": [
        {
            "requests": 400,
            "drawn": {"prompt": {"median": 400, "sigma": 0.5}, "output": {"median": 50}},
        }
    ],
    "metric": {"name": "e2e_mean_s", "better": "lower"},
    "baseline": {"policy": "round_robin", "why": "stands for taking turns"},
    "control": [
        {
            "name": "alike",
            "changes": {"traffic": {"0": {"drawn.prompt.sigma": 0.0}}},
            "expect": "even",
            "why": "nothing to tell apart",
        }
    ],
}
# A technique that changes nothing, under the default policy: there is nothing to compile.
PLAIN = {"policy": "default", "cluster": {"name": "plain"}, "why": "the same cluster"}
NOTHING_NEW = {"system": None, "technique": "none", "baseline": PLAIN}


def scenario(**changes):
    """It, with changes as a control has them; None leaves a key out."""
    content = {key: value for key, value in FILE.items() if changes.get(key, 1) is not None}
    given = {key: value for key, value in changes.items() if value is not None}
    return Scenario(checked(overlaid(content, given), "small"))
