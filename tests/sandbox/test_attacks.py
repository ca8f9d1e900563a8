import json
import re
from pathlib import Path

import pytest

from sandbox.errors import PolicyRefused
from sandbox.verifier import verify

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


OWN = {
    "memory as rows": "    for row in memory[0]:\n        pass\n    return 0",
    "write a row into a row": "    instances[0] = instances[1]\n    return 0",
    "write through an alias": "    rows = instances\n    rows[0] = rows[1]\n    return 0",
    "hidden count of a record": "    return instances.n_rows",
    "dunder of a record": "    return request.__class__",
    "dtype of rows": "    return instances.dtype",
    "bytes of memory": "    return memory.data",
    "frame": "    return frame.fuel",
    "refuel": "    frame.fuel = 1000000\n    return 0",
    "internal function": "    charge(frame, -100000)\n    return 0",
    "parameter vector": "    P[0] = 1.0\n    return 0",
    "lowered name of a helper": "    return f_route(frame, P, request, instances, memory)",
    "intrinsic": "    return pointer(4096)",
    "native reader": "    return row_at(4096, request).turn",
    "numpy": "    return np.load(0)",
    "huge scratch twice": "    for i in range(99):\n        for j in range(99):\n"
    "            a = zeros(16384)\n    return 0",
    "range of a range": "    for i in range(256):\n        for j in range(256):\n"
    "            for k in range(256):\n                memory[0] += 1\n    return 0",
    "key that is a hook": "    return min(instances, key=route).id",
    "lambda kept": "    f = [lambda x: x]\n    return f[0](3)",
    "shadowed guard": "    _getattr_ = 1\n    return _getattr__",
    "float as index of rows": "    return instances[0.5].id",
    "boolean as index": "    return instances[True].id",
    "set_share on the present plan": "    set_share(request, 0, 0, 1.0)\n    return 0",
}


@pytest.mark.parametrize("name", OWN)
def test_attacks_on_this_contract_are_refused(name):
    with pytest.raises(PolicyRefused):
        verify(f"def route(request, instances, memory):\n{OWN[name]}\n")


def test_the_present_plan_cannot_be_written():
    with pytest.raises(PolicyRefused, match="new_plan"):
        verify(
            "def schedule(window, cluster, plan, new_plan, memory):\n"
            "    add_replica(plan, 0, 1, 1, MIXED)\n"
        )


