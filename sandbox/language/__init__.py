"""The policy language: what the verifier reads, checks and lowers, from text to plain checked code.

In the order of a policy's way through it:

1. `syntax`, `spelling`, `canonical`: textual limits, allow-list, one spelling for one thing.
2. `program`, `lifting`: constants, hooks and helpers; inner functions become helpers.
3. `kinds`, `lattice`, `inference` (with `operators`, `calls`, `iterables`, `list_kinds`), `flow`:
   the kind of every expression, and that every path answers.
4. `lowering` (with `expressions`, `comparisons`, `conversions`, `reductions`, `walks`,
   `list_code`, `writer`): the plain code both engines run, with `cost` and `lengths` for its fuel.

`sandbox.verifier` is the gate in front of it; `sandbox.arithmetic` and `sandbox.lists` are what
lowered code calls.
"""
