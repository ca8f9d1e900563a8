"""A hook's own text: what is left of names and places, and what of a policy it depends on."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolver.draft import Draft
from evolver.library import names, read
from evolver.splice import take_hook
from sandbox.hook_text import hook_text
from sandbox.verifier import verify

ADMIT = "def admit(request, instance, memory):\n    return request.turn < SOME\n"
TEXT = f"""
LIMIT = 3.0  # tune: 0 .. 10
SOME = 4  # tune: 1 .. 9
SHARE = 0.5  # tune: 0 .. 1

def cost(request, inst):
    limit = LIMIT * inst.queued_requests
    return limit + SHARE * request.age_s

def route(request, instances, memory):
    best, least = instances[0].id, INF
    for inst in instances:
        if cost(request, inst) < least:
            best, least = inst.id, cost(request, inst)
    memory[0] = LIMIT
    return best

{ADMIT}"""
NAMES = ("cost", "LIMIT", "SHARE", "limit", "inst", "best", "least")


def text_of(source, hook="route"):
    return hook_text(verify(source), hook)


@given(st.permutations(["one", "two", "three", "v_0", "c_1", "f_0", "t_1"]))
def test_law_names_are_not_in_it(new):
    pairs = zip(NAMES, new, strict=True)
    cases = {old: one.upper() if old.isupper() else one for old, one in pairs}
    pattern = rf"(?<![.\w])({'|'.join(NAMES)})\b"
    renamed = re.sub(pattern, lambda found: cases[found.group()], TEXT)
    assert text_of(renamed).lowered == text_of(TEXT).lowered


def test_values_ranges_other_hooks_and_the_order_of_constants_are_not_in_it():
    before = text_of(TEXT)
    assert text_of(TEXT.replace("= 3.0  # tune: 0 .. 10", "= 7.5  # tune: 1 .. 9")) == before
    assert text_of(TEXT.replace(ADMIT, "")).lowered == before.lowered
    lines = TEXT.strip().splitlines()
    turned = text_of("\n".join([*lines[2::-1], *lines[3:]]))
    assert turned.digest == before.digest
    assert (before.places, turned.places) == ((0, 2), (2, 0))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3.0  # tune: 0 .. 10", "LIMIT = 3  # tune: 0 .. 10"),  # of another kind
        ("memory[0] = LIMIT", "memory[0] = SHARE"),
        ("memory[0] = LIMIT", "memory[1] = LIMIT"),
        ("SHARE * request.age_s", "SHARE * request.tpot_slo_s"),
        ("limit + SHARE", "limit - SHARE"),
    ],
)
def test_what_a_hook_does_is_in_it(old, new):
    assert old in TEXT
    assert text_of(TEXT.replace(old, new)).digest != text_of(TEXT).digest


def test_the_name_of_the_hook_is_in_it():
    body = "(request, instances, memory):\n    return instances[0].id\n"
    both = f"def route{body}\n\ndef route_decode{body}"
    assert text_of(both).digest != text_of(both, "route_decode").digest


def test_a_hook_that_another_calls_comes_along():
    decode = "\ndef route_decode(request, instances, memory):\n"
    text = TEXT + decode + "    return route(request, instances, memory)\n"
    assert text_of(text) == text_of(TEXT)
    whole = text_of(text, "route_decode")
    assert whole.places == (0, 2)
    assert text_of(text.replace("memory[0]", "memory[1]"), "route_decode").digest != whole.digest


def test_a_hook_taken_over_keeps_its_text():
    own = {name: verify(read(name)) for name in names()[::4]}
    drafts = {name: Draft.read(source.annotated(), {}) for name, source in own.items()}
    pairs = [(base, donor) for base in own for donor in own if base != donor]
    for base, donor in random.Random(3).sample(pairs, 30):
        hook = drafts[donor].hooks[-1]
        child = drafts[base].copy()
        take_hook(child, drafts[donor], hook)
        source = verify(child.text())
        assert hook_text(source, hook).digest == hook_text(own[donor], hook).digest
        for other in set(own[base].hooks) - {hook}:
            assert hook_text(source, other) == hook_text(own[base], other)
