"""Turns a proposal request into the messages a model reads, from templates and generated parts.

The contract and the toolkit are read from their source files, so the prompt cannot disagree with
what runs. What comes from measurements enters as numbers: `number_lines` takes numeric fields of
records and drops every string, so that nothing a request's sender chose can reach a model. Lines
that others made are held to short printable ASCII without code fences.

The templates lie in `prompts/v<version>/`; a changed template is a new version.
"""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib import resources
from string import Template

from evolver.archive import Member
from evolver.proposer import Attempt, ProposalRequest
from evolver.task import Refusal
from sandbox.language.program import BUILTINS

PROMPT_VERSION = 1
MAX_LINE_CHARACTERS = 240
MAX_LINES = 60
MAX_OTHERS = 2
MAX_FAILED = 12
MAX_REFUSALS = 12
SERIES_SHOWN = 6

Message = dict[str, str]
_KNOWN_LABELS = frozenset({"all", "online", "offline"})


def messages_for(request: ProposalRequest) -> list[Message]:
    """System message, task, and the earlier tries of this request with the verifier's words."""
    messages = [_message("system", system_text()), _message("user", task_text(request))]
    for attempt in request.feedback.attempts:
        messages += repair_messages(attempt)
    return messages


def repair_messages(attempt: Attempt) -> list[Message]:
    """A try as the model's own words, and what was wrong with it."""
    return [_message("assistant", f"```python\n{attempt.text}```"), _repair(attempt.refusals)]


def unusable_messages(reply: str, reason: str) -> list[Message]:
    """A reply without a policy, shortened, and the wish for one."""
    return [
        _message("assistant", reply[:2000] or "(nothing)"),
        _message("user", _fill("unusable", reason=reason)),
    ]


@functools.cache
def system_text() -> str:
    """Contract, toolkit and rules: the same for every request, so that providers can cache it."""
    return _fill(
        "system",
        contract=_source("contract.py").strip(),
        toolkit=toolkit_text(),
        builtins=", ".join(sorted(BUILTINS)),
    )


def task_text(request: ProposalRequest) -> str:
    """Objective, traffic, parent, its measurements, ideas from others and failed tries."""
    parent, feedback = request.parent, request.feedback
    return _fill(
        "task",
        objective=_lines(feedback.objective_text.splitlines()) or "Lower is better.",
        window=_lines(feedback.window_lines) or "(not described)",
        digest=parent.digest[:12],
        score=_number(parent.score),
        parent=parent.text.strip(),
        constants=_lines(_constants(parent)) or "(none)",
        scores=_lines([*feedback.score_lines, *_results(parent)]),
        others="".join(
            _fill("other", score=_number(other.score), source=other.text.strip())
            for other in request.others[:MAX_OTHERS]
        ),
        failed=_lines(feedback.tried_and_failed[:MAX_FAILED]) or "(nothing yet)",
    )


def number_lines(record: object) -> tuple[str, ...]:
    """The numbers of a dataclass, one line for it and each part; text in it is left out.

    Rows of a table are called by their place. Series longer than six are left out, too.
    """
    if not is_dataclass(record) or isinstance(record, type):
        raise TypeError("Only records of numbers can be described: give a dataclass.")
    numbers, parts = [], list[str]()
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, bool | int | float):
            numbers.append(f"{field.name} {_number(value)}")
        elif is_dataclass(value):
            parts += [f"{field.name}: {line}" for line in number_lines(value)]
        elif isinstance(value, tuple) and value and all(is_dataclass(x) for x in value):
            parts += _table_lines(field.name, value)
        elif isinstance(value, tuple) and _is_short_series(value):
            numbers.append(f"{field.name} {' '.join(map(_number, value))}")
    return tuple([", ".join(numbers), *parts] if numbers else parts)


def _table_lines(name: str, rows: Sequence[object]) -> list[str]:
    lines = []
    for place, row in enumerate(rows, 1):
        label = getattr(row, "label", None)
        head = label if label in _KNOWN_LABELS else f"{name} {place}"
        lines += [f"{head}: {line}" for line in number_lines(row)]
    return lines


def _is_short_series(value: tuple[object, ...]) -> bool:
    return 0 < len(value) <= SERIES_SHOWN and all(isinstance(x, int | float) for x in value)


@functools.cache
def toolkit_text() -> str:
    """Signature and docstring of every function a policy may call, without the hidden frame."""
    tree = ast.parse(_source("toolkit.py"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return "\n".join([*(_tool(node) for node in functions if _is_tool(node)), _SCRATCH])


_SCRATCH = (
    "def zeros(n, m)  # Scratch for this call: zeros(n) is n floats a[i], zeros(n, m) is n rows "
    "a[i, j]; all zero, 16,384 floats in all."
)


def _is_tool(node: ast.FunctionDef) -> bool:
    return not node.name.startswith("_")


def _tool(node: ast.FunctionDef) -> str:
    # a tool that may fault or charge fuel takes the call frame, which policies do not see
    given = [a for a in node.args.args if a.arg != "frame"]
    arguments = [f"{a.arg}{_plain_type(': ', a.annotation)}" for a in given]
    returns = _plain_type(" -> ", node.returns)
    words = " ".join((ast.get_docstring(node) or "").split())
    return f"def {node.name}({', '.join(arguments)}){returns}  # {words}"


def _plain_type(mark: str, annotation: ast.expr | None) -> str:
    """A type that policies know; our own aliases for rows and vectors are left out."""
    text = ast.unparse(annotation) if annotation else ""
    return mark + text if text in ("int", "float", "bool", "None") else ""


def _constants(member: Member) -> Iterable[str]:
    for tunable in member.program.tunables:
        value = member.parameters.get(tunable.name, tunable.value)
        kind = ", whole" if tunable.integer else ""
        yield (
            f"{tunable.name} = {_number(value)} "
            f"({_number(tunable.low)} .. {_number(tunable.high)}{kind})"
        )


def _results(member: Member) -> Iterable[str]:
    """One line per training window, by place: objective, fault and metrics."""
    for place, (_, result) in enumerate(sorted(member.results.items()), 1):
        fault = ", decisions failed" if result.fault else ""
        yield f"window {place}: objective {_number(result.objective)}{fault}; " + _metrics(
            result.metrics
        )


def _metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in sorted(metrics.items()))


def _repair(refusals: Sequence[Refusal]) -> Message:
    if not refusals:
        return _message("user", _fill("repeated"))
    lines = [f"line {r.line}: {r.reason} {r.mend} [{r.code}]" for r in refusals[:MAX_REFUSALS]]
    return _message("user", _fill("repair", refusals=_lines(lines)))


def _lines(lines: Iterable[str]) -> str:
    """Others' lines, made harmless, as a list."""
    return "\n".join(f"- {_harmless(line)}" for line in [*lines][:MAX_LINES] if line.strip())


def _harmless(line: str) -> str:
    plain = "".join(c if " " <= c <= "~" and c != "`" else " " for c in line)
    return " ".join(plain.split())[:MAX_LINE_CHARACTERS]


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "unknown"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e7 else f"{value:.4g}"


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _fill(name: str, **parts: str) -> str:
    return _template(name).substitute(parts)


@functools.cache
def _template(name: str) -> Template:
    folder = resources.files("evolver").joinpath("prompts", f"v{PROMPT_VERSION}")
    return Template(folder.joinpath(f"{name}.md").read_text(encoding="utf-8"))


@functools.cache
def _source(name: str) -> str:
    return resources.files("sandbox").joinpath(name).read_text(encoding="utf-8")
