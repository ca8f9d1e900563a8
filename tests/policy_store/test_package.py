"""The package's surface: what it lists is there, and nothing heavy comes with it."""

import pytest

import policy_store


def test_exports_are_sorted_and_there():
    assert policy_store.__all__ == sorted(policy_store.__all__)
    for name in policy_store.__all__:
        assert getattr(policy_store, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = policy_store.Nothing
