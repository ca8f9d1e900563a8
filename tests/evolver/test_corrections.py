"""Every way to fail is explained."""

import numpy as np
import pytest

from evolver.corrections import MENDS, mend_of
from sandbox.frame import FAULTS
from sandbox.kernel import state
from sandbox.kernel.calls import HOOKS, INVALID_DECISION
from sandbox.scenario import fault_name


@pytest.mark.parametrize("kind", [*FAULTS, INVALID_DECISION])
def test_every_fault_of_a_simulation_has_words(kind):
    totals = np.zeros(1, state.TOTALS)[0]
    totals["first_fault"], totals["fault_hook"] = kind, HOOKS.index("route")
    name = fault_name(totals).removesuffix(" in route")
    assert mend_of(fault_name(totals)) == MENDS[name]


def test_a_fault_is_found_within_a_sentence():
    assert mend_of("index on w03: 2 decisions") == MENDS["index"]
    assert "does not expect" in mend_of("3 faulty decisions")
