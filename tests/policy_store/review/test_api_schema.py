"""Requests of every shape that the schema allows, and of many that it forbids, as an admin.

Nothing may fail inside, and every answer must be what the schema says. `SCHEMA_EXAMPLES` asks for
more requests of each kind than the few that every change is tried with.
"""

import os
from datetime import UTC, datetime

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from policy_store.records import Alias, Ejection, HostReport, Role, Scope
from policy_store.review import Settings, Site, create_app
from policy_store.review.access import Visitor

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "2"))
BASE = "http://testserver"
SIGNED_IN = {"Authorization": "Bearer ours"}


class OneToken:
    """Knows one token, of an admin."""

    def visitor(self, request):
        if request.headers.get("authorization") != SIGNED_IN["Authorization"]:
            return None
        return Visitor("root", Role.ADMIN, scopes=frozenset(Scope))


@pytest.fixture
def filled(store, measured):
    """A store with policies in most states, a live deployment, a run and hosts."""
    policies = [measured() for _ in range(4)]
    for policy in policies[:3]:
        store.approve(policy, by="ada", note="good")
    store.activate(policies[0], 0, by="ada", note="on")
    store.activate(policies[1], store.slot().sequence, by="ada", note="on")
    store.place(policies[2], Alias.CANARY, 0, by="ada", note="try", weight=0.1)
    run = store.runs.start_run("evolve", {"seed": 1})
    store.runs.append_events(run.id, [("candidate", {"n": n}) for n in range(3)])
    now = datetime.now(UTC)
    thrown = (Ejection(policies[0], 1, "ERROR", "too slow", now),)
    store.report_host(HostReport("gpu-1", "default", 2, policies[1], now, thrown, {"decisions": 9}))
    return {"policy": policies, "run": [run.id]}


def test_every_operation_answers_as_its_schema_says(store, filled):
    load_all_checks()
    site = Site(
        store,
        Settings(secret=b"s" * 32, base_url=BASE, posts_per_minute=10**6),
        (OneToken(),),
        lambda: None,
    )
    app = create_app(site)
    store.accounts.add("root", Role.ADMIN, by="root")
    store.accounts.add("ben", Role.VIEWER, by="root")
    filled["name"] = ["ben"]
    filled["document"] = [store.show(filled["policy"][0]).documents[0].digest]
    filled["other"] = filled["policy"]
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 20
    # What the verifier thinks of a text, or a decision of its signature, is in no schema.
    excluded = [CHECKS.get_one("positive_data_acceptance")]
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            tried(operation, mode, filled, excluded)


def tried(operation, mode, filled, excluded):
    """A few requests of one kind; often of things that are there."""

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode), number=st.integers(0, 7))
    def send(case, number):
        for name, known in filled.items():
            if mode is GenerationMode.POSITIVE and name in case.path_parameters:
                case.path_parameters[name] = known[number % len(known)]
        case.call_and_validate(headers=SIGNED_IN, excluded_checks=excluded)

    send()
