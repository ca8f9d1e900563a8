"""The one gate for every policy, from a model, a person, the store or a snapshot.

Cheapest checks first: textual limits, syntax, names, kinds, paths, cost, and RestrictedPython's
own policy over the lowered code as a second opinion. What passes is canonical and can be run by
either engine; what does not is refused with every line, a stable code, a reason and a mend.
"""

from __future__ import annotations

import ast
from types import MappingProxyType

from sandbox import canonical, cost, lowering, syntax
from sandbox.errors import PolicyRefused, Refusal
from sandbox.flow import check_flow
from sandbox.inference import Inference
from sandbox.kinds import PLANNER_HOOKS
from sandbox.program import Program, check_writers, read_program
from sandbox.source import PolicySource

__all__ = ["PolicyRefused", "Refusal", "verify"]


def verify(text: str, name: str = "policy") -> PolicySource:
    """Admit a policy, or say why not.

    Raises:
        PolicyRefused: with one refusal for each thing to mend.
    """
    tree = syntax.parse(text)
    program = read_program(tree, syntax.tune_ranges(text))
    _stop_if_refused(program)
    program.drop_unused()
    inference = Inference(program)
    inference.run()
    check_writers(program)
    _stop_if_refused(program)
    check_flow(program, inference)
    _stop_if_refused(program)
    lowered, costs = lowering.lower(program, inference)
    _check_costs(program, costs)
    _check_restricted(lowered)
    _stop_if_refused(program)
    tree = canonical.keep(tree, {*program.functions, *program.constants})
    source = PolicySource(
        name=name,
        canonical=canonical.text_of(tree),
        claim=canonical.claim_of(text),
        tunables=tuple(program.constants.values()),
        hooks=tuple(program.hooks),
        helpers=tuple(key for key in program.functions if key not in program.hooks),
        cost=MappingProxyType(costs),
        fields_read=frozenset().union(*inference.fields_read.values()),
        lowered=lowered,
    )
    syntax.check_text(source.annotated())
    return source


def _stop_if_refused(program: Program) -> None:
    if program.refusals:
        raise PolicyRefused(sorted(program.refusals, key=lambda refusal: refusal.line)[:20])


def _check_costs(program: Program, costs: dict[str, int]) -> None:
    for hook, units in costs.items():
        if hook not in PLANNER_HOOKS and units > cost.REQUEST_HOOK_LIMIT:
            program.refuse(
                program.functions[hook], "cost",
                f"{hook} may cost {units:,} of {cost.REQUEST_HOOK_LIMIT:,} units of fuel.",
                "Use fewer or shorter loops, or compute in schedule().",
            )  # fmt: skip


def _check_restricted(lowered: str) -> None:
    from RestrictedPython.compile import compile_restricted_exec

    errors = compile_restricted_exec(ast.parse(lowered)).errors
    if errors:
        raise PolicyRefused(
            [Refusal(1, "restricted", "The second gate refused it.", "Write it more plainly.")]
        )
