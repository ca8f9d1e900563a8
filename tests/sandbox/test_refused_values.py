"""What has no value at any time, and what Python cannot do, is refused before it is lowered."""

import pytest

from sandbox.errors import PolicyRefused
from sandbox.verifier import verify

ROUTE = "def route(request, instances, memory):\n"
HELPER = "def of(x):\n    return x.id\n\n"

NEVER_THERE = {
    "a loop over a field of None, its rows given to a helper":
        HELPER + ROUTE + "    best = None\n    for row in best.id:\n        memory[0] = of(row)\n"
        "    return 0\n",
    "a field of None": ROUTE + "    best = None\n    return best.id\n",
    "a field of a helper's parameter that is None wherever it is called":
        HELPER + ROUTE + "    return of(None)\n",
    "a field of what a list of None holds":
        ROUTE + "    for row in [None]:\n        memory[0] = row.id\n    return 0\n",
    "a loop over None": ROUTE + "    for row in None:\n        pass\n    return 0\n",
    "an element of None": ROUTE + "    rows = None\n    return rows[0]\n",
    "an element of None that is written to":
        ROUTE + "    rows = None\n    rows[0] = 1\n    return 0\n",
    "a part of None": ROUTE + "    rows = None\n    rows = rows[1:]\n    return 0\n",
    "the length of None": ROUTE + "    return len(None)\n",
    "the sum of None": ROUTE + "    return sum(None)\n",
    "a number in None": ROUTE + "    return 1 if 3 in None else 0\n",
    "a row appended to None": ROUTE + "    rows = None\n    rows.append(3)\n    return 0\n",
}  # fmt: skip


@pytest.mark.parametrize("name", NEVER_THERE)
def test_what_can_only_be_none_is_refused(name):
    with pytest.raises(PolicyRefused) as caught:
        verify(NEVER_THERE[name])
    assert {refusal.code for refusal in caught.value.refusals} == {"none"}


OTHERWISE = {
    "names for the parts of None": (ROUTE + "    a, b = None\n    return 0\n", "tuple"),
    "enumerate with a keyword of another function":
        (ROUTE + "    for i, x in enumerate(memory, step=3):\n        pass\n    return 0\n",
         "arguments"),
    "a place with a comma":
        (ROUTE + "    memory[0] = memory[1,]\n    return 0\n", "subscript"),
    "enumerate from its end":
        (ROUTE + "    for i, x in reversed(enumerate(memory)):\n        pass\n    return 0\n",
         "iterator"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_python_cannot_do_is_refused(name):
    text, code = OTHERWISE[name]
    with pytest.raises(PolicyRefused) as caught:
        verify(text)
    assert {refusal.code for refusal in caught.value.refusals} == {code}


def test_what_a_refused_line_would_have_given_is_not_called_none():
    with pytest.raises(PolicyRefused) as caught:
        verify(ROUTE + "    best = None\n    best = instances.first\n    return best.id\n")
    assert [refusal.line for refusal in caught.value.refusals] == [3]


WITH_NONE = {
    "a parameter that a default fills":
        "def of(x, most=None):\n    return x.id if most is None else most\n\n"
        + ROUTE + "    return of(instances[0])\n",
    "a row that may be None":
        ROUTE + "    best = None\n    for row in instances:\n        best = row\n"
        "    return best.id\n",
    "a list that nothing is put in":
        ROUTE + "    for row in []:\n        memory[0] = row\n    return 0\n",
}  # fmt: skip


@pytest.mark.parametrize("name", WITH_NONE)
def test_what_may_be_none_is_admitted(name):
    assert verify(WITH_NONE[name]).hooks == ("route",)
