"""What is said of a change is true, and nothing is said of what is none."""

import ast
import functools
import json
import random

import pytest

from evolver import library
from evolver.archive import Member
from evolver.mutator import Mutator
from evolver.proposer import ProposalRequest
from sandbox.change_words import SAME, number
from sandbox.changes import ChangeKind, changes
from sandbox.errors import PolicyRefused
from sandbox.language.kinds import constants, hooks, tools
from sandbox.language.program import BUILTINS
from sandbox.outline import outline_of
from sandbox.policies import default_source, default_text
from sandbox.verifier import verify

KNEE = '''"""Fewest queued requests."""
KNEE = 0.5  # tune: 0 .. 1
TABLE = (1.0, KNEE)


def weighed(inst):
    return inst.queued_requests + KNEE * TABLE[0]


def route(request, instances, memory):
    best, least = HOLD, INF
    for inst in instances:
        cost = weighed(inst)
        if cost < least:
            best, least = inst.id, cost
    return best
'''
SOME = library.names()[::3]  # each takes a second
MUTANTS = 2  # of each of them
KNOWN = {one for hook in hooks().values() for one, _ in hook.parameters} | hooks().keys()
KNOWN |= tools().keys() | BUILTINS | constants().keys()


class Renamed(ast.NodeTransformer):
    """Other names for variables and helpers, their definitions in another order, more words."""

    def __init__(self, seed):
        self.seed = seed

    def named(self, name):
        return name if name in KNOWN or name.isupper() else f"z_{name}"

    def visit_Name(self, node):
        return ast.Name(self.named(node.id), node.ctx)

    def visit_arg(self, node):
        return ast.arg(self.named(node.arg))

    def visit_keyword(self, node):
        self.generic_visit(node)
        return ast.keyword(node.arg if node.arg == "key" else self.named(node.arg), node.value)

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        words = ast.Expr(ast.Constant("Says something else."))
        return ast.FunctionDef(self.named(node.name), node.args, [words, *node.body], [])

    def visit_Module(self, node):
        self.generic_visit(node)
        functions = [one for one in node.body if isinstance(one, ast.FunctionDef)]
        random.Random(self.seed).shuffle(functions)
        rest = [one for one in node.body if not isinstance(one, ast.FunctionDef | ast.Expr)]
        return ast.fix_missing_locations(ast.Module([*rest, *functions], []))


@pytest.mark.parametrize("name", ["default", *SOME])
def test_other_names_words_and_order_are_no_change(name):
    text = default_text() if name == "default" else library.read(name)
    other = "# a comment\n" + ast.unparse(Renamed(3).visit(ast.parse(text)))
    found = changes(text, other)
    assert (found.kind, found.sentence()) == (ChangeKind.NONE, SAME)
    assert found.before.loops == found.after.loops
    assert found.reads == found.constants_added == found.tables_changed == ()


def said(old, new, *parameters):
    return changes(old, new, *parameters).sentence()


def test_a_constant_that_moved_is_said_with_both_values():
    assert said(KNEE, KNEE.replace("0.5", "0.62")) == "Only KNEE moved, from 0.5 to 0.62."


def test_a_value_set_apart_counts_as_if_it_were_written():
    assert said(KNEE, KNEE, {}, {"KNEE": 0.62}) == "Only KNEE moved, from 0.5 to 0.62."
    written = KNEE.replace("0.5", "0.62")
    assert changes(KNEE, written, {"KNEE": 0.62}, {"GONE": 1.0}).kind is ChangeKind.NONE


def test_fields_of_helpers_and_of_the_toolkit_count():
    other = KNEE.replace("inst.queued_requests", "inst.kv_used_tokens").replace(
        "        cost = weighed(inst)\n",
        "        cost = weighed(inst)\n        for again in instances:\n"
        "            cost = cost + log(again.tp)\n",
    )
    assert said(KNEE, other) == (
        "route now also reads kv_used_tokens and tp and no longer queued_requests, and now also "
        "calls log; 9 to 11 lines, one more loop; no new constant."
    )
    through = changes(None, "def route(request, instances, memory):\n    return HOLD\n")
    assert "Instance.max_num_seqs" in through.reads_no_more  # completion_s reads it


def test_a_number_in_the_code_a_new_constant_and_a_table_are_told_apart():
    assert said(
        KNEE.replace("return inst", "return 3 + inst"),
        KNEE.replace("return inst", "return 2 + inst"),
    ) == ("route has another number in its code: 3 is now 2; still 9 lines; no new constant.")
    assert "new constant EDGE (2)" in said(
        KNEE, KNEE.replace("KNEE *", "EDGE *").replace("TABLE =", "EDGE = 2.0\nTABLE =")
    )
    table = changes(KNEE, KNEE.replace("(1.0, KNEE)", "(2.0, KNEE)"))
    assert table.kind is ChangeKind.STRUCTURE
    assert table.sentence().endswith("another value of TABLE.")


def test_a_whole_number_in_place_of_one_with_a_point_is_a_change_of_the_code():
    whole = KNEE.replace("0.5  # tune: 0 .. 1", "1")
    assert changes(whole, whole.replace("= 1\n", "= 1.0\n")).kind is ChangeKind.STRUCTURE


def test_a_hook_left_out_is_the_defaults():
    alone = "def route(request, instances, memory):\n    return HOLD\n"
    two = alone + "def tune(instance, memory):\n    set_speculation(instance, 2)\n"
    assert changes(alone, two).hooks_added == ("tune",)
    assert changes(two, alone).hooks_removed == ("tune",)
    as_default = "def tune(instance, memory):\n    return\n"
    assert changes(alone, alone + as_default).kind is ChangeKind.NONE
    assert changes(None, default_text()).kind is ChangeKind.NONE
    assert "no longer the built-in default's" in said(alone, two)
    assert "left to the built-in default now" in said(two, alone)


def test_a_name_of_the_defaults_is_no_constant_of_the_policys():
    old = "def priority(request, instance, memory):\n    return request.age_s\n"
    new = (
        old
        + "OFFLINE_ROOM = 0.5\n"
        + ("def tune(instance, memory):\n    set_offline_share(instance, OFFLINE_ROOM)\n")
    )
    found = changes(old, new)  # admit is the default's on both sides, with its own value
    assert found.moved == ()
    assert found.constants_added == (("OFFLINE_ROOM", "0.5"),)


def test_variables_of_a_comprehension_are_its_own():
    text = (
        "def route(request, instances, memory):\n    x = 1\n"
        "    best = min([x.queued_requests for x in instances]) + x\n    return best\n"
    )
    other = text.replace("[x.queued_requests for x in", "[y.queued_requests for y in")
    assert changes(text, other).kind is ChangeKind.NONE
    inside = text.replace("+ x", "+ min([x.tp for y in instances for x in instances])")
    outside = inside.replace("for y in instances for x", "for x in instances for y")
    assert changes(inside, outside).kind is ChangeKind.STRUCTURE


def test_what_is_no_policy_is_refused():
    with pytest.raises(PolicyRefused):
        changes(KNEE, "import os")
    with pytest.raises(PolicyRefused):
        changes(KNEE, "def route(request, instances, memory):\n    return nothing\n")


def test_simpler_is_smaller():
    small, large = outline_of(KNEE).size, outline_of(library.read("l4")).size
    assert small.lines < large.lines
    assert (small.loops, small.branches) == (1, 1)


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e300, -2.0, 0.5, 123456.75, 1 / 3])
def test_a_number_in_words_is_the_number(value):
    assert float(number(value)) == value


@functools.cache
def member(name):
    source = verify(library.read(name), name)
    return Member(
        source.digest(), name, source, source.parameters(), {}, 1.0, (0,), "human", "", (), 0
    )


def mutations(parent):
    """A few mutants with their parameters; those that the verifier does not admit left out."""
    others = tuple(member(name) for name in ("prefix_affinity", "shortest_predicted_first"))
    for seed in range(MUTANTS):
        proposal = Mutator().propose(ProposalRequest(member(parent), others, rng_seed=seed))
        if proposal is not None:
            try:
                yield verify(proposal.text), dict(proposal.parameters or {})
            except PolicyRefused:
                continue


@pytest.mark.parametrize("parent", SOME)
def test_what_is_said_of_a_mutation_is_true(parent):
    old, default = member(parent).program, default_source()
    for new, parameters in mutations(parent):
        found = changes(old.annotated(), new.annotated(), None, parameters)
        values = new.parameters() | parameters
        if found.kind is ChangeKind.NONE:
            assert sorted(new.canonical.splitlines()) == sorted(old.canonical.splitlines())
            assert values == old.parameters()
        assert set(found.reads) - {"memory"} <= new.fields_read | default.fields_read
        assert not set(found.reads) & old.fields_read
        assert not set(found.reads_no_more) & new.fields_read
        for one in found.moved:
            assert (one.old, one.new) == (old.parameters()[one.name], values[one.name])
        for name, _ in found.constants_added:
            assert name in new.canonical
        for name in found.hooks_added:
            assert name in new.hooks
        assert found.sentence().count(". ") <= 2
        assert json.loads(json.dumps(found.as_data()))["kind"] == found.kind.value
