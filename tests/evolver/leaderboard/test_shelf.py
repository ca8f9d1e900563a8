"""The library in machine code: a hook that cannot be compiled costs no other hook its code."""

import pytest

from evolver import library
from evolver.leaderboard import shelf as module
from evolver.leaderboard.runs import verified
from evolver.leaderboard.shelf import Shelf
from sandbox.errors import CompileFailed
from sandbox.hook_text import hook_text
from sandbox.native.machine_code import MachineCode
from sandbox.native.policy_code import PolicyCode

HOOKS = ("route", "priority")


@pytest.fixture
def failing(monkeypatch):
    """A compiler that gives up at every `priority`."""

    def machine_code(source, only, _compiler):
        wanted = [hook for hook in source.hooks if hook in only]
        if "priority" in wanted:
            raise CompileFailed("The policy does not compile within 30 s: make it simpler.")
        digests = {hook: hook_text(source, hook).digest for hook in wanted}
        return PolicyCode({h: MachineCode(d, "0" * 64, {h: h}, ()) for h, d in digests.items()})

    monkeypatch.setattr(module, "machine_code", machine_code)


def test_a_hook_that_does_not_compile_is_left_out_alone(failing):
    codes = Shelf.made(HOOKS, workers=2).codes
    sources = [verified(library.read(name)) for name in library.names()]
    assert any(set(HOOKS) <= set(source.hooks) for source in sources)
    wanted = {hook_text(one, "route").digest for one in sources if "route" in one.hooks}
    assert wanted <= codes.keys()
    assert {hook for code in codes.values() for hook in code.hooks} == {"route"}
