"""A policy with its constants written in is the policy that ran with them."""

import pytest

from evolver.written import written
from sandbox.verifier import PolicyRefused, verify

POLICY = """%s


def route(request, instances, memory):
    return instances[min(int(abs(A)), 0)].id
"""


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A = 2 * 3  # tune: 1 .. 9", 4.0),
        ("A = 2.0 * 3  # tune: 1 .. 9", 4.5),
        ("A = -1  # tune: -5 .. 3", -4.0),
        ("A = 1  # tune: 0.5 .. 3.0", 1.734),
        ("A = 1  # tune: 0 .. 9007199254740992", 2.0**53),
        ("A = 1.0  # tune: 1e-320 .. 5", 1e-320),
    ],
)
def test_a_tuned_constant_is_written_whatever_it_was_written_as(line, value):
    source = verify(POLICY % line)
    found = written(source.annotated(), {"A": value})
    assert found.parameters() == {"A": value}
    assert written(source.canonical, {"A": value}).parameters() == {"A": value}


def test_whole_constants_stay_whole():
    source = verify(POLICY % "A = -1  # tune: -5 .. 3")
    assert "A = -4\n" in written(source.annotated(), {"A": -4.0}).canonical


def test_a_range_that_no_constant_could_be_written_from_is_refused():
    with pytest.raises(PolicyRefused, match="tune range"):
        verify(POLICY % "A = 1  # tune: 0 .. 99999999999999999999999999")
