"""Digests name one policy each, on every machine."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.identity import canonical_json, policy_digest, source_digest

PARAMETERS = st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False))


def test_digest_is_what_the_documentation_says():
    source = hashlib.sha256(b"def route(): return 0").hexdigest()
    text = f'{{"contract":1,"parameters":{{"A":0.1,"B":2.0}},"source":"{source}"}}'
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert policy_digest("def route(): return 0", {"B": 2, "A": 0.1}, 1) == expected


@given(PARAMETERS)
def test_order_of_parameters_does_not_matter(parameters):
    turned = dict(reversed(parameters.items()))
    assert policy_digest("x", parameters, 1) == policy_digest("x", turned, 1)


@given(PARAMETERS, PARAMETERS)
def test_other_parameters_are_another_policy(one, other):
    same = canonical_json(one) == canonical_json(other)
    assert (policy_digest("x", one, 1) == policy_digest("x", other, 1)) == same


def test_contract_and_source_are_part_of_the_identity():
    assert policy_digest("x", {}, 1) != policy_digest("x", {}, 2)
    assert policy_digest("x", {}, 1) != policy_digest("y", {}, 1)
    assert len(source_digest("x")) == 64


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_parameter_is_refused(value):
    with pytest.raises(ValueError, match="finite"):
        policy_digest("x", {"A": value}, 1)
