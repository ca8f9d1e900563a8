"""Paths through a function: every variable is set before it is read, every path returns."""

from __future__ import annotations

import ast

from sandbox.language.inference import Inference
from sandbox.language.kinds import NOTHING, UNKNOWN
from sandbox.language.program import Program

Names = frozenset[str]


def check_flow(program: Program, inference: Inference) -> None:
    """Refuse reads that may come before the assignment, paths without an answer, absent values."""
    for name in program.order:
        function = program.functions[name]
        flow = _Flow(program, inference.locals_of(name))
        start = frozenset(argument.arg for argument in function.args.args)
        end = flow.block(function.body, start)
        result = inference.results.get(name, UNKNOWN)
        returns_none = result in (NOTHING, UNKNOWN) or result.name == "optional"
        if end is not None and not returns_none:
            program.refuse(
                function, "no-return", f"A path through {name} ends without an answer.",
                f"End {name} with a return of {result}.",
            )  # fmt: skip
    if not program.refusals:  # else it may be what was refused that would give the value
        _check_values(program, inference)


def _check_values(program: Program, inference: Inference) -> None:
    """Refuse values that there never are: they have no kind, and so no lowered form."""
    for node in inference.absent:
        what = node.id if isinstance(node, ast.Name) else "This"
        program.refuse(
            node, "none", f"{what} is always None.", "Give it a value somewhere, or remove it."
        )
    never = [node for node, kind in inference.expressions.items() if kind == UNKNOWN]
    if never and not inference.absent:
        program.refuse(never[0], "none", "This never has a value.", "Give it one, or remove it.")


class _Flow:
    def __init__(self, program: Program, local: set[str]) -> None:
        self.program = program
        self.local = local
        self.breaks: list[list[Names]] = []  # of each open loop: what is set where it breaks

    def block(self, body: list[ast.stmt], known: Names) -> Names | None:
        """Names that are surely set after a block; None when it is never left at its end."""
        state: Names | None = known
        for statement in body:
            if state is None:
                return None
            state = self._statement(statement, state)
        return state

    def _statement(self, node: ast.stmt, known: Names) -> Names | None:
        if isinstance(node, ast.If):
            self.reads(node.test, known)
            ends = [self.block(node.body, known), self.block(node.orelse, known)]
            open_ends = [end for end in ends if end is not None]
            return frozenset.intersection(*open_ends) if open_ends else None
        if isinstance(node, ast.For):
            return self._loop(node, known)
        if isinstance(node, ast.Break | ast.Continue):
            if not self.breaks:
                self.program.refuse(node, "syntax", "This is outside a loop.", "Remove it.")
            elif isinstance(node, ast.Break):
                self.breaks[-1].append(known)
        if isinstance(node, ast.Return | ast.Break | ast.Continue):
            if isinstance(node, ast.Return) and node.value is not None:
                self.reads(node.value, known)
            return None
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.reads(child, known)
        if isinstance(node, ast.AugAssign):
            self.reads_name(node.target, known)
        targets = node.targets if isinstance(node, ast.Assign) else []
        return known.union(*(_targets(target) for target in targets)) if targets else known

    def _loop(self, node: ast.For, known: Names) -> Names | None:
        """What is surely set after a loop: after its breaks, and after its `else`."""
        self.reads(node.iter, known)
        self.breaks.append([])
        self.block(node.body, known | _targets(node.target))
        ends = self.breaks.pop()
        last = self.block(node.orelse, known)
        if not node.orelse:
            return known
        ends += [last] if last is not None else []
        return frozenset.intersection(*ends) if ends else None

    def reads(self, node: ast.expr, known: Names) -> None:
        """Check every variable that an expression reads."""
        if isinstance(node, ast.GeneratorExp | ast.ListComp):
            for generator in node.generators:
                self.reads(generator.iter, known)
                known = known | _targets(generator.target)
                for test in generator.ifs:
                    self.reads(test, known)
            self.reads(node.elt, known)
            return
        if isinstance(node, ast.Lambda):
            own = frozenset(argument.arg for argument in node.args.args)
            self.reads(node.body, known | own)
            return
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            self.reads_name(node, known)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.reads(child, known)
            elif isinstance(child, ast.keyword):
                self.reads(child.value, known)

    def reads_name(self, node: ast.expr, known: Names) -> None:
        """Check one variable."""
        if isinstance(node, ast.Name) and node.id in self.local and node.id not in known:
            self.program.refuse(
                node, "maybe-unassigned", f"{node.id} may be read before it is set.",
                "Set it before the if or the loop.",
            )  # fmt: skip


def _targets(node: ast.expr) -> Names:
    return frozenset(
        name.id
        for name in ast.walk(node)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    )
