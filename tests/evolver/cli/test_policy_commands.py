"""`evolver policy` and `evolver status`: from proposed to active and back, and every refusal."""

from datetime import UTC, datetime, timedelta

import pytest

from evolver.cli.policies import open_store
from policy_store import Origin, PolicyStore, read_snapshot
from policy_store.errors import SnapshotUntrusted
from policy_store.keys import read_trusted
from sandbox.verifier import verify

NOTE = ("--note", "measured")


@pytest.fixture
def proposed(home, policy_file):
    """File a policy and bring it to a state; its digest."""

    def file(text=None, name="mine", evaluated=True):
        source = verify(text or policy_file.read_text(), name)
        with open_store() as store:
            version = store.propose(
                source.canonical, name=name, origin=Origin.PERSON, author="eve",
                contract_version=1, parameters=source.parameters(), claim=source.claim)
            store.record_verified(version.digest, by="verifier")
            if evaluated:
                store.attach_evidence(version.digest, {"verdict": "better"}, by="simulator")
        return version.digest

    return file


@pytest.fixture
def live(home):
    """What a host of this home reads."""
    return lambda: read_snapshot(home / "active.json", read_trusted(home / "trusted_keys.json"))


@pytest.fixture
def activated(evolver, proposed):
    """The digest of a policy that is live."""
    digest = proposed()
    evolver("policy", "approve", digest[:8], *NOTE)
    assert evolver("policy", "activate", digest[:8], *NOTE).code == 0
    return digest


def test_a_policy_goes_live_and_is_taken_back(evolver, proposed, live):
    digest = proposed()
    assert evolver("policy", "approve", digest[:8], *NOTE).code == 0
    done = evolver("policy", "activate", digest[:8], *NOTE)
    assert f"active {digest[:12]}" in done.out
    assert "made signing key" in done.err
    assert (live().digest, live().sequence) == (digest, 1)
    assert evolver("policy", "rollback", "--note", "slow").code == 0
    assert (live().digest, live().sequence) == (None, 2)


def test_the_snapshot_names_who_approved(activated, live, home):
    with open_store() as store:
        hashes = {entry.action: entry.hash for entry in store.history(activated)}
    approved = live().active.approved
    assert (approved.by, approved.entry) == ("ada", hashes["approved"])


def test_a_term_is_renewed_under_a_new_sequence(evolver, activated, live):
    before = live()
    done = evolver("policy", "renew", "--note", "still good", "--valid-days", 90)
    assert (done.code, "valid until" in done.err) == (0, True)
    assert (live().sequence, live().digest) == (2, activated)
    assert (live().expires_at - before.expires_at).days == 60


def test_a_changed_key_publishes_again(evolver, activated, live, home):
    old = live().signature.key
    evolver("keys", "new", "--replace")
    assert evolver("policy", "publish").code == 0
    assert live().signature.key != old
    evolver("keys", "distrust", live().signature.key)
    with pytest.raises(SnapshotUntrusted):
        live()


def test_without_a_usable_key_nothing_is_decided(evolver, activated, home):
    (home / "keys" / "signing.pem").chmod(0o644)
    assert evolver("policy", "rollback", *NOTE).code == 1
    with open_store() as store:
        assert store.slot().digest == activated


def test_an_ended_term_is_not_written_again(evolver, proposed, home):
    digest = proposed()
    evolver("policy", "approve", digest[:8], *NOTE)
    long_ago = datetime.now(UTC) - timedelta(days=31)
    with PolicyStore.open(home / "store.db", clock=lambda: long_ago) as store:
        store.activate(digest, 0, "ada", "long ago")
    done = evolver("policy", "publish")
    assert (done.code, "evolver policy renew" in done.err) == (1, True)
    assert evolver("policy", "publish", "--valid-days", 60).code == 0


def test_who_decided_and_why_is_kept(evolver, proposed):
    digest = proposed()
    evolver("policy", "approve", digest[:8], "--note", "seven percent", "--by", "grace")
    history = evolver("policy", "show", digest[:8], "-o", "json").json["history"]
    assert history[-1]["by"] == "grace"
    assert history[-1]["note"] == "seven percent"


def test_show_holds_source_evidence_and_history(evolver, proposed):
    done = evolver("policy", "show", proposed()[:8])
    assert all(word in done.out for word in ("def route", "WEIGHT", "better", "proposed"))
    assert "policy approve" in done.err


def test_list_shows_states(evolver, proposed):
    digest = proposed()
    done = evolver("policy", "list")
    assert digest[:12] in done.out
    assert "evaluated" in done.out
    assert evolver("policy", "list", "--state", "active", "-o", "json").json["policies"] == []


def test_the_library_is_listed(evolver):
    document = evolver("policy", "list", "--library", "-o", "json").json
    names = [policy["name"] for policy in document["policies"]]
    assert {"default", "round_robin", "static_plan"} <= set(names)


def test_diff_compares_with_the_active_policy(evolver, proposed, policy_file):
    digest = proposed()
    text = policy_file.read_text().replace("= 2.0 ", "= 3.0 ")
    (policy_file.parent / "other.py").write_text(text)
    done = evolver("policy", "diff", digest[:8], policy_file.parent / "other.py")
    assert "Only WEIGHT moved, from 2 to 3." in done.out
    assert "-WEIGHT = 2.0" in done.out
    assert "+WEIGHT = 3.0" in done.out
    assert "--- active (default)" in evolver("policy", "diff", digest[:8]).out
    change = evolver("policy", "diff", digest[:8], "-o", "json").json["change"]
    assert change["kind"] == "structure"
    assert change["hooks"][0]["hook"] == "route"


def test_a_rejected_policy_waits_no_more(evolver, proposed):
    digest = proposed()
    assert [v["digest"] for v in evolver("status", "-o", "json").json["waiting"]] == [digest]
    assert evolver("policy", "reject", digest[:8], *NOTE).code == 0
    assert evolver("status", "-o", "json").json["waiting"] == []


@pytest.mark.parametrize("verb", ["approve", "reject", "activate"])
def test_a_decision_needs_its_note(evolver, proposed, verb):
    digest = proposed()
    assert "Missing option '--note'" in evolver("policy", verb, digest[:8]).err
    done = evolver("policy", verb, digest[:8], "--note", "  ")
    assert done.code != 0
    assert "note" in done.err or "approved" in done.err


def test_an_unknown_digest_is_refused(evolver, proposed):
    proposed()
    done = evolver("policy", "approve", "000000", *NOTE)
    assert done.code == 2
    assert "No policy has a digest that starts with 000000" in done.err
    assert "next:  evolver policy list" in done.err


def test_what_was_not_measured_is_not_approved(evolver, proposed):
    done = evolver("policy", "approve", proposed(evaluated=False)[:8], *NOTE)
    assert done.code == 1
    assert "A policy that is verified cannot become approved" in done.err


def test_what_was_not_approved_is_not_activated(evolver, proposed, home):
    done = evolver("policy", "activate", proposed()[:8], *NOTE)
    assert done.code == 1
    assert not (home / "active.json").exists()


def test_nothing_live_cannot_be_taken_back(evolver):
    done = evolver("policy", "rollback", *NOTE)
    assert done.code == 1
    assert "there is nothing to take back" in done.err


def test_an_unknown_state_lists_the_known(evolver):
    done = evolver("policy", "list", "--state", "happy")
    assert done.code == 2
    assert "evaluated" in done.err


def test_status_of_a_fresh_home_says_what_to_do(evolver):
    done = evolver("status")
    assert "the built-in default" in done.out
    assert "evolver evolve" in done.err


def test_the_stored_active_policy_can_be_replayed(evolver, proposed, trace_file):
    digest = proposed()
    evolver("policy", "approve", digest[:8], *NOTE)
    evolver("policy", "activate", digest[:8], *NOTE)
    done = evolver("replay", trace_file, "-p", "active", "--load", 0.5, "-o", "json").json
    assert done["results"][0]["digest"] == digest


def test_nobody_decides_under_the_name_of_a_rule(evolver):
    refused = evolver("policy", "approve", "3f2a9c", "--note", "it is good", "--by", "rule:mine")
    assert refused.code == 2
    assert "no person's name" in refused.err
