"""What every policy author is shown, read from the code that enforces it, so that it cannot lie."""

from __future__ import annotations

import ast
import functools
from importlib import resources

from sandbox.contract import SCRATCH_FLOATS
from sandbox.language.cost import REQUEST_HOOK_LIMIT, UNKNOWN_TURNS
from sandbox.language.kinds import COUNTED_ENGINES, PLANNER_HOOKS, WRITERS, fields, hooks
from sandbox.language.program import BUILTINS
from sandbox.language.trees import tree_of
from sandbox.policies import default_text

_SCRATCH = (
    "def zeros(n, m)  # Scratch for this call: zeros(n) is n floats a[i], zeros(n, m) is n rows "
    f"a[i, j]; all zero. With lists at most {SCRATCH_FLOATS:,} floats a call."
)


def contract_text() -> str:
    """The contract's source, verbatim."""
    return _source("contract.py").strip()


def default_policy_text() -> str:
    """The default policy's source: what decides where a hook is left out."""
    return default_text().strip()


def bounds() -> dict[str, str]:
    """Numbers and names of the language, by the names that the template gives them."""
    return {
        "builtins": ", ".join(sorted(BUILTINS)),
        "request_fuel": f"{REQUEST_HOOK_LIMIT:,}",
        "instances": str(COUNTED_ENGINES),
        "unknown_turns": str(UNKNOWN_TURNS),
        "planner_hooks": ", ".join(sorted(PLANNER_HOOKS)),
    }


@functools.cache
def toolkit_text() -> str:
    """Signature and docstring of every function a policy may call, without the hidden frame."""
    tree = tree_of(_source("toolkit.py"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    tools = [_tool(node) for node in functions if not node.name.startswith("_")]
    return "\n".join([*tools, _SCRATCH])


def _tool(node: ast.FunctionDef) -> str:
    # a tool that may fault or charge fuel takes the call frame, which policies do not see
    given = [a for a in node.args.args if a.arg != "frame"]
    arguments = [f"{a.arg}{_plain_type(': ', a.annotation)}" for a in given]
    returns = _plain_type(" -> ", node.returns)
    words = " ".join((ast.get_docstring(node) or "").split())
    only = f" Only in {WRITERS[node.name]}." if node.name in WRITERS else ""
    return f"def {node.name}({', '.join(arguments)}){returns}  # {words}{only}"


def _plain_type(mark: str, annotation: ast.expr | None) -> str:
    """A type that policies know; our own aliases for rows and vectors are left out."""
    text = ast.unparse(annotation) if annotation else ""
    return mark + text if text in ("int", "float", "bool", "None") else ""


@functools.cache
def hook_names() -> tuple[str, ...]:
    """Every hook of the contract, in its order."""
    return tuple(hooks())


@functools.cache
def signals(hook: str) -> frozenset[str]:
    """What a hook may read, as `Instance.kv_used_tokens`: its records and those within them."""
    found: set[str] = set()
    waiting = [kind.record for name, kind in hooks()[hook].parameters if name != "new_plan"]
    seen: set[str] = set()
    while waiting:
        record = waiting.pop()
        if record in seen or record not in fields():
            continue
        seen.add(record)
        for name, kind in fields()[record].items():
            if kind.name == "rows":
                waiting.append(kind.record)
            else:
                found.add(f"{record}.{name}")
    return frozenset(found)


@functools.cache
def _source(name: str) -> str:
    return resources.files("sandbox").joinpath(name).read_text(encoding="utf-8")
