"""Proposals, evidence and lookups."""

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from policy_store import Origin, PolicyStore, State
from policy_store.errors import (
    AmbiguousPolicy,
    DamagedStore,
    ForbiddenMove,
    InvalidInput,
    UnknownPolicy,
)
from policy_store.tables import VersionRow
from sandbox.identity import policy_digest


def tamper(path, statement):
    raw = sqlite3.connect(path)
    raw.execute(statement)
    raw.commit()
    raw.close()


def test_identity_is_the_policy_digest(store):
    version = store.propose(
        "x = 1", name="a", origin=Origin.LLM, author="m", contract_version=3, parameters={"K": 2}
    )
    assert version.digest == policy_digest("x = 1", {"K": 2.0}, 3)
    assert version.state is State.PROPOSED


def test_the_same_policy_is_filed_once(store, proposed):
    first = proposed(parameters={"K": 1.0}, name="first")
    assert proposed(parameters={"K": 1.0}, name="second") == first
    assert [version.name for version in store.list_policies()] == ["first"]
    assert len(store.history(first)) == 1


def test_one_source_carries_many_versions(store, proposed):
    one, other = (store.show(proposed()) for _ in range(2))
    assert one.version.digest != other.version.digest
    assert one.source == other.source


def test_lineage_and_run_are_kept(store, proposed):
    run = store.runs.start_run("evolve", {"seed": 1}).id
    mother, father = proposed(), proposed()
    child = proposed(parents=[father[:8], mother], run=run)
    assert store.show(child).version.parents == (father, mother)
    assert [version.digest for version in store.list_policies(run=run)] == [child]


def test_unknown_parent_leaves_nothing_behind(store, proposed):
    with pytest.raises(UnknownPolicy):
        proposed(parents=["abcdef"])
    assert store.list_policies() == ()
    assert store.audit.entries() == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "a\x1b[31m"},
        {"name": "n" * 81},
        {"parameters": {"K": float("nan")}},
        {"parameters": {f"K{i}": 0.0 for i in range(257)}},
        {"claim": "c" * 5000},
        {"claim": "half \ud800"},
        {"run": "nowhere"},
        {"author": " "},
    ],
)
def test_what_cannot_be_kept_is_refused(store, proposed, fields):
    with pytest.raises(InvalidInput):
        proposed(**fields)
    assert store.list_policies() == ()


def test_newest_first_and_by_state(store, proposed):
    digests = [proposed(), proposed(), proposed()]
    assert [version.digest for version in store.list_policies(limit=2)] == digests[:0:-1]
    last = digests[0]
    store.record_verified(last, by="verifier")
    assert [v.digest for v in store.list_policies(state=State.VERIFIED)] == [last]


def test_evidence_moves_a_verified_policy_and_is_filed_once(store, proposed):
    digest = proposed()
    store.record_verified(digest, by="verifier")
    first = store.attach_evidence(digest, {"b": 1, "a": [0.1, None]}, by="simulator")
    again = store.attach_evidence(digest, {"a": [0.1, None], "b": 1}, by="simulator")
    details = store.show(digest)
    assert first == again
    assert details.version.state is State.EVALUATED
    assert [dict(each.document) for each in details.evidence] == [{"a": [0.1, None], "b": 1}]


def test_evidence_needs_a_verified_policy_and_real_json(store, proposed):
    digest = proposed()
    with pytest.raises(ForbiddenMove, match="proposed cannot become evaluated"):
        store.attach_evidence(digest, {}, by="simulator")
    with pytest.raises(InvalidInput, match="None for a missing measurement"):
        store.attach_evidence(digest, {"ttft_s": float("nan")}, by="simulator")


def test_refusal_keeps_its_reasons(store, proposed):
    digest = proposed()
    assert store.record_refused(digest, ["line 3: no import"], by="verifier").state == "refused"
    assert store.history(digest)[-1].details == {"reasons": ["line 3: no import"]}
    assert store.record_verified(digest, by="a later verifier").state is State.VERIFIED


@pytest.mark.parametrize("reference", ["abcde", "", "latest", "../etc", "%", "g" * 8])
def test_a_reference_is_six_hex_digits_or_more(store, reference):
    with pytest.raises(UnknownPolicy, match="six or more"):
        store.resolve(reference)


def test_prefix_finds_one_and_says_when_ambiguous(store, proposed):
    digest = proposed()
    assert store.resolve(digest[:6].upper()) == digest
    with store._database.deciding() as session:
        row = session.get_one(VersionRow, digest)
        fields = {c.key: getattr(row, c.key) for c in VersionRow.__table__.c}
        twin = digest[:-1] + ("0" if digest[-1] != "0" else "1")
        session.add(VersionRow(**fields | {"digest": twin}))
    with pytest.raises(AmbiguousPolicy, match=f"{digest}|{twin}"):
        store.resolve(digest[:10])
    assert store.resolve(digest) == digest


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sources SET text = text || ' '",
        "UPDATE versions SET parameters = '{\"KNEE\":9.0}'",
        "UPDATE versions SET parameters = 'gibberish'",
        "UPDATE versions SET contract_version = 2",
        "UPDATE evidence SET document = '{\"gain\":99}'",
    ],
)
def test_altered_content_is_noticed_on_read(store, store_path, evaluated, statement):
    digest = evaluated()
    tamper(store_path, statement)
    with pytest.raises(DamagedStore, match="no longer matches"):
        store.show(digest)


def test_both_sides_of_a_diff(store):
    fields = {"origin": Origin.PERSON, "author": "ada", "contract_version": 1}
    old = store.propose("x = 1", name="a", **fields)
    new = store.propose("x = 2", name="b", **fields)
    sides = store.sources_to_diff(old.digest, new.digest)
    assert [side.text for side in sides] == ["x = 1", "x = 2"]


def test_many_versions_are_found_at_once(store, proposed, monkeypatch):
    monkeypatch.setattr("policy_store.catalog.DIGESTS_AT_ONCE", 2)
    digests = [proposed() for _ in range(5)]
    found = store.find_policies([*digests, "f" * 64])
    assert found == {version.digest: version for version in store.list_policies()}


def test_policies_are_listed_page_by_page_without_gap_or_repeat(store_path):
    now = datetime(2026, 5, 1, tzinfo=UTC)
    with PolicyStore.open(store_path, clock=lambda: now) as store:  # all made in one moment
        made = {
            propose_at(store, number, author="ada" if number % 2 else "ben") for number in range(7)
        }
        seen, after = [], None
        while page := store.list_policies(limit=3, after=after):
            seen += [version.digest for version in page]
            after = page[-1].digest
        assert sorted(seen) == sorted(made)
        by_ada = store.list_policies(author="ada", origin=Origin.PERSON)
        assert len(by_ada) == 3
        assert store.list_policies(origin=Origin.LLM) == ()


def propose_at(store, number, author):
    return store.propose(
        "def route(request, instances, memory):\n    return 0\n", name="one", origin=Origin.PERSON,
        author=author, contract_version=1, parameters={"KNEE": float(number)},
    ).digest  # fmt: skip


def test_what_was_measured_last_is_last_though_the_clock_went_back(store_path):
    clock = iter(datetime(2030, 1, 1, tzinfo=UTC) - timedelta(minutes=k) for k in range(99))
    with PolicyStore.open(store_path, lambda: next(clock)) as store:
        fields = {"origin": Origin.LLM, "author": "m", "contract_version": 1}
        digest = store.propose("def route():\n    return 0\n", name="p", **fields).digest
        store.record_verified(digest, by="verifier")
        for gain in (0.1, -0.1, 0.2):
            store.attach_evidence(digest, {"gain": gain}, by="simulator")
        assert [one.document["gain"] for one in store.show(digest).evidence] == [0.1, -0.1, 0.2]
