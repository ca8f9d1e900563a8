"""The one gate for every policy, from a model, a person, the store or a snapshot.

Cheapest checks first: textual limits, syntax, names, kinds, paths, cost, and RestrictedPython's
own policy over the lowered code as a second opinion. What passes is canonical and can be run by
either engine; what does not is refused with every line, a stable code, a reason and a mend.
"""

from __future__ import annotations

import ast
from types import MappingProxyType

from sandbox.errors import PolicyRefused, Refusal
from sandbox.language import canonical, cost, lifting, lowering, syntax
from sandbox.language.flow import check_flow
from sandbox.language.inference import Inference
from sandbox.language.kinds import PLANNER_HOOKS
from sandbox.language.lengths import settle_lengths
from sandbox.language.program import Program, check_writers, literal, read_program
from sandbox.language.trees import single_statements, tree_of
from sandbox.source import PolicySource

__all__ = ["PolicyRefused", "Refusal", "verify"]


MAX_LOWERED = 100_000  # characters; compilers take long over more


def verify(text: str, name: str = "policy") -> PolicySource:
    """Admit a policy, or say why not.

    Raises:
        PolicyRefused: with one refusal for each thing to mend.
    """
    try:
        return _verified(text, name)
    except (RecursionError, MemoryError, IndentationError):
        raise PolicyRefused(
            [Refusal(1, "too-deep", "The code is nested too deeply.", "Use variables.")]
        ) from None


def _verified(text: str, name: str) -> PolicySource:
    tree = syntax.parse(text)
    program = read_program(lifting.lifted(tree), syntax.tune_ranges(text))
    _stop_if_refused(program)
    program.drop_unused()
    inference = Inference(program)
    inference.run()
    check_writers(program)
    _stop_if_refused(program)
    check_flow(program, inference)
    _stop_if_refused(program)
    settle_lengths(program, inference)
    lowered, costs = lowering.lower(program, inference)
    _check_costs(program, costs)
    if len(lowered) > MAX_LOWERED:
        program.refuse(
            tree, "too-long", "There is too much code once it is written out plainly.",
            "Do the same thing in one place, in a helper or a loop.",
        )  # fmt: skip
    _stop_if_refused(program)
    check_restricted(lowered)
    syntax.check_compiles(tree)
    tree = canonical.keep(tree, {*program.functions, *program.constants, *program.derived})
    _spell_floats(tree, program)
    source = PolicySource(
        name=name,
        canonical=canonical.text_of(tree),
        claim=canonical.claim_of(text),
        tunables=tuple(program.constants.values()),
        hooks=tuple(program.hooks),
        helpers=tuple(
            key for key in program.functions if key not in program.hooks and "__" not in key
        ),
        cost=MappingProxyType(costs),
        fields_read=frozenset().union(*inference.fields_read.values()),
        lowered=lowered,
    )
    syntax.check_text(source.annotated())
    return source


def _spell_floats(tree: ast.Module, program: Program) -> None:
    """A range of floats makes a float of `SHARE = 1`; what is hashed and shown has to say so."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            tunable = program.constants.get(node.targets[0].id)
            if tunable and not tunable.integer and isinstance(literal(node.value), int):
                node.value = ast.Constant(tunable.value)


def _stop_if_refused(program: Program) -> None:
    if program.refusals:
        raise PolicyRefused(sorted(program.refusals, key=lambda refusal: refusal.line)[:20])


def _check_costs(program: Program, costs: dict[str, int]) -> None:
    for hook, units in costs.items():
        if hook not in PLANNER_HOOKS and units > cost.REQUEST_HOOK_LIMIT:
            program.refuse(
                program.functions[hook], "cost",
                f"{hook} may cost {units:,} of {cost.REQUEST_HOOK_LIMIT:,} units of fuel.",
                _cheaper(program, hook),
            )  # fmt: skip


def _cheaper(program: Program, hook: str) -> str:
    """How to bring a cost down; loops to an integer constant are counted to its range's end."""
    read = {
        node.id
        for name in program.reached_from(hook)
        for node in ast.walk(program.functions[name])
        if isinstance(node, ast.Name)
    }
    wide = [
        one for one in program.constants.values()
        if one.integer and one.name in read and one.high > one.value > 0
    ]  # fmt: skip
    if not wide:
        return "Use fewer or shorter loops, or compute in schedule()."
    one = min(wide, key=lambda tunable: tunable.value)
    return (
        f"Use shorter loops; {one.name} counts as {int(one.high)}: say "
        f"# tune: 1 .. {int(one.value)} where loops run to it."
    )


def check_restricted(lowered: str) -> None:
    """The second opinion, on lowered code.

    Raises:
        PolicyRefused: RestrictedPython does not admit it.
    """
    from RestrictedPython.compile import compile_restricted_exec

    found = [compile_restricted_exec(one).errors for one in single_statements(tree_of(lowered))]
    if any(found):
        raise PolicyRefused(
            [Refusal(1, "restricted", "The second gate refused it.", "Write it more plainly.")]
        )
