import json
import math
import re
from pathlib import Path

import own_attacks as attacks
import pytest

from sandbox.engine import load_policy
from sandbox.errors import PolicyFault, PolicyRefused
from sandbox.frame import Caller
from sandbox.language.kinds import hooks
from sandbox.records import new_rows, records
from sandbox.verifier import verify

MANY = {"instances", "running", "entries", "branches"}

ATTACKS = Path(__file__).resolve().parents[2].parent / "shared" / "attacks"
CANARIES = re.compile(r"ignore|reviewer|budget|approve", re.IGNORECASE)


def snippets():
    expected = ATTACKS / "expected.json"
    if not expected.exists():
        return []
    return json.loads(expected.read_text())["snippets"]


def adapted(file):
    """The attack with the contract's names and parameters."""
    text = (ATTACKS / file).read_bytes().decode("utf-8", "surrogateescape")
    text = re.sub(r"\breplicas\b", "instances", text)
    return text.replace("route(instances, request)", "route(request, instances, memory)")


@pytest.mark.skipif(not snippets(), reason="the attack corpus is not beside this checkout")
@pytest.mark.parametrize("snippet", snippets(), ids=lambda snippet: snippet["name"])
def test_every_attack_ends_as_expected(snippet):
    if snippet["product_must"] == "reject_before_run":
        with pytest.raises(PolicyRefused):
            verify(adapted(snippet["file"]))
        return
    source = verify(adapted(snippet["file"]))
    assert not CANARIES.search(source.canonical)
    assert source.cost["route"] < 100


def sandbox_rows(name, record):
    """Rows with what attacks reach for: missing signals, and integers at the ends of 64 bits."""
    rows = new_rows(records()[record], 3 if name in MANY else 1)
    if name == "instances":
        rows["id"], rows["grace_s"] = [10, 11, 12], [math.nan, 2.0, 1.0]
        rows["kv_used_tokens"] = [2**63 - 1, -(2**63), 2**62]
    if name == "request":
        rows["deadline_s"], rows["prompt_tokens"] = math.nan, 1000
    return rows


def end_of(source, engine):
    """What a policy's hook decides, or the kind of fault that stops it."""
    hook = source.hooks[0]
    given = {
        name: sandbox_rows(name, kind.record.removeprefix("New"))
        for name, kind in hooks()[hook].parameters
        if kind.record
    }
    try:
        return getattr(Caller(load_policy(source, engine=engine)), hook)(**given)
    except PolicyFault as fault:
        return {"fault": fault.kind}


def policy_of(name):
    body = attacks.ROUTE_BODIES.get(name)
    return attacks.TEXTS[name] if body is None else (f"{attacks.ROUTE}    {body[0]}\n", body[1])


EVERY = [*attacks.ROUTE_BODIES, *attacks.TEXTS]
REFUSED = [name for name in EVERY if isinstance(policy_of(name)[1], str)]


@pytest.mark.parametrize("name", REFUSED)
def test_attacks_on_this_contract_are_refused(name):
    text, code = policy_of(name)
    with pytest.raises(PolicyRefused) as caught:
        verify(text)
    assert code in {refusal.code for refusal in caught.value.refusals}


@pytest.mark.parametrize("name", [name for name in EVERY if name not in REFUSED])
def test_law_7_attacks_that_may_run_end_the_same_in_both_engines(name):
    text, end = policy_of(name)
    source = verify(text)
    ends = [end_of(source, engine) for engine in ("interpreted", "compiled")]
    assert ends[0] == ends[1]
    assert ends[0] == (end[0] if isinstance(end, list) else {"fault": end})


def test_no_two_attacks_are_one():
    assert len({policy_of(name)[0] for name in EVERY}) == len(EVERY) >= 280
