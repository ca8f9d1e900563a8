"""Signatures: one text, one purpose, one spelling."""

import pytest

from policy_store.errors import SnapshotForged, SnapshotUntrusted
from policy_store.keys import TrustedKeys
from policy_store.signing import Signature, check_text, sign_text


def test_a_signature_names_its_key(signing_key, trusted):
    signature = sign_text("text", "test", signing_key)
    assert check_text("text", "test", signature, trusted) == signing_key.public
    assert signature.key == signing_key.public.id


@pytest.mark.parametrize(("text", "purpose"), [("texts", "test"), ("text", "other")])
def test_another_text_or_purpose_needs_another_signature(signing_key, trusted, text, purpose):
    signature = sign_text("text", "test", signing_key)
    with pytest.raises(SnapshotForged):
        check_text(text, purpose, signature, trusted)


def test_a_key_that_is_not_trusted_does_not_count(signing_key):
    signature = sign_text("text", "test", signing_key)
    with pytest.raises(SnapshotUntrusted):
        check_text("text", "test", signature, TrustedKeys())


@pytest.mark.parametrize("respell", [str.upper, lambda v: v + " ", lambda v: v[:-2], lambda _: ""])
def test_a_signature_has_one_spelling(signing_key, trusted, respell):
    signature = sign_text("text", "test", signing_key)
    with pytest.raises(SnapshotForged):
        check_text("text", "test", Signature(signature.key, respell(signature.value)), trusted)
