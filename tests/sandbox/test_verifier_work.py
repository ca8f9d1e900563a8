"""Law 7 begins at the gate: the verifier's own work grows with a text, never with 2**depth."""

import sys

import pytest

from sandbox.errors import PolicyRefused
from sandbox.verifier import verify

TOWERS = [
    "({0} < 1)", "(0 < {0} < 2)", "(not {0})", "(-{0})", "({0} + 1)", "(1 + {0})", "({0} or 1)",
    "(1 and {0})", "(-({0} or 1))", "({0} if x else 2)", "(1 if {0} else 2)", "min({0}, 1)",
    "({0} or 1 if x else 2)", "({0}) ** 2", "({0} in (1, 2))", "({0} << 1)", "round({0} * 1.0)",
    "int({0})", "({0}, 1)[0]", "[{0}, 1][0]", "sum([{0}])", "len([{0}])", "(None if x else {0})",
    "({0} is None)", "min([1], key=lambda k: {0})", "sorted([{0}, 2])[0]", "h({0})",
    "[{0}, 2][0:1][0]", "any([{0} > 0])", "(({0}, 1) < (1, 2))",
]  # fmt: skip


def calls_of(text):
    """How many Python calls it takes to verify a text: the same on every machine."""
    calls = [0]

    def count(_frame, event, _argument):
        calls[0] += event == "call"

    sys.setprofile(count)
    try:
        verify(text)
    finally:
        sys.setprofile(None)
    return calls[0]


def tower(level, depth):
    value = "x"
    for _ in range(depth):
        value = level.format(value)
    return (
        "def h(v):\n    return v\n\n\ndef route(request, instances, memory):\n"
        f"    x = request.turn\n    y = {value}\n    return 1 if y else 0\n"
    )


@pytest.mark.parametrize("level", TOWERS)
def test_law_7_twice_the_depth_is_at_most_about_twice_the_work(level):
    verify(tower(level, 1))  # what is read once for all
    assert calls_of(tower(level, 12)) < 3 * calls_of(tower(level, 6))


def test_a_tower_too_high_is_refused():
    with pytest.raises(PolicyRefused, match="deep"):
        verify(tower("({0} < 1)", 60))
