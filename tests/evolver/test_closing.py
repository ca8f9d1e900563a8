"""After a run: the winner's close-up is kept beside its evidence, and its lack fails nothing."""

from dataclasses import replace

import pytest
from close_up_record import RECORD
from measurements import measurements

from evolver.cli.policy_report import details_document, details_report
from evolver.closing import attach_close_up, telling_windows
from evolver.library import read
from policy_store import Origin, PolicyStore
from policy_store.records import Kind
from sandbox.close_up import CloseUp, Why
from sandbox.cluster import load_cluster
from sandbox.evidence import Role
from sandbox.policies import default_source
from sandbox.report_html import body_of
from sandbox.scenario import Scenario
from sandbox.verifier import verify
from telemetry.generator import generate
from telemetry.profile import load_profile

TRACE = generate(load_profile("azure2023_conv"), n=120, seed=4, rate_scale=1.5)
EVIDENCE = measurements("a" * 64)


@pytest.fixture
def store(tmp_path):
    with PolicyStore.open(tmp_path / "store.db") as opened:
        yield opened


def proposed(store, text, parameters):
    digest = store.propose(text, name="winner", origin=Origin.MUTATOR, author="mutator",
                           contract_version=1, parameters=parameters).digest  # fmt: skip
    store.record_verified(digest, by="verifier")
    store.attach_evidence(digest, EVIDENCE.document(), by="evolver")
    return digest


def scenarios():
    cluster = load_cluster("edge-8b")
    return [Scenario(w.name, TRACE, cluster, None, 2.0, 1) for w in EVIDENCE.windows]


def test_the_telling_windows_are_the_worst_the_typical_and_the_best_sealed_one():
    found = telling_windows(EVIDENCE)
    assert list(found) == [Why.WORST, Why.TYPICAL, Why.BEST]
    assert all(window.sealed for window in found.values())
    ratio = {why: w.objective[Role.CANDIDATE] / w.objective[Role.ACTIVE]
             for why, w in found.items()}  # fmt: skip
    sealed = [w.objective[Role.CANDIDATE] / w.objective[Role.ACTIVE]
              for w in EVIDENCE.windows if w.sealed]  # fmt: skip
    assert ratio[Why.WORST] == max(sealed)
    assert ratio[Why.BEST] == min(sealed)


def test_one_window_is_looked_at_once_and_repeats_are_left_out():
    first = EVIDENCE.windows[-1]
    repeat = replace(first, name=f"{first.name}+seed", variant=True)
    found = telling_windows(replace(EVIDENCE, windows=(first, repeat)))
    assert [(why, window.name) for why, window in found.items()] == [(Why.WORST, first.name)]
    assert telling_windows(replace(EVIDENCE, windows=())) == {}


def test_the_close_up_is_attached_to_the_winner_and_audited(store):
    source = verify(read("least_loaded"))
    policy = proposed(store, source.canonical, source.parameters())
    said = attach_close_up(
        store, policy, EVIDENCE, scenarios(), active=None, author="evolver"
    )  # fmt: skip
    assert said.startswith("Looked closely at w")
    (record,) = store.show(policy).of_kind(Kind.CLOSE_UP)
    close_up = CloseUp.from_document(record.document)
    assert (close_up.candidate, close_up.active) == (policy, default_source().digest())
    assert [window.why for window in close_up.windows] == [Why.WORST, Why.TYPICAL, Why.BEST]
    assert store.history(policy)[-1].action == "close_up_attached"


def test_without_one_the_run_is_as_good_and_why_is_said(store):
    policy = proposed(store, "import os\n", {})
    said = attach_close_up(
        store, policy, EVIDENCE, scenarios(), active=None, author="evolver"
    )  # fmt: skip
    assert said.startswith("There is no close-up of it: The candidate was refused")
    assert store.show(policy).of_kind(Kind.CLOSE_UP) == ()


def test_a_stored_policy_shows_its_close_ups_in_words(store):
    policy = proposed(store, "KNEE = 0.5\n", {})
    store.attach_evidence(policy, RECORD.document(), "evolver", Kind.CLOSE_UP)
    store.attach_evidence(policy, {"windows": "<b>"}, "somebody", Kind.LAST_HOUR)
    details, history = store.show(policy), store.history(policy)
    text = body_of(details_report(details, history))
    assert "w03+rate1.25 (sealed, where it does worst): 3 requests, 1 s against 1 s" in text
    assert "most was lost by a prompt of 100 tokens at 1.0 s: no end on instance -1" in text
    assert "no close-up of this version" in text
    kinds = [one["kind"] for one in details_document(details, history)["close_ups"]]
    assert kinds == ["close_up", "last_hour"]
