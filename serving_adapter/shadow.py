"""The default policy asked beside the live one, so that it is known to work before it is needed."""

from __future__ import annotations

import numpy as np

from sandbox import contract
from sandbox.records import dtype_of
from serving_adapter.activation import Ready, is_valid
from serving_adapter.decision import DecisionInput

AGREE, DIFFER, FAULT = "agree", "differ", "fault"


class ShadowCompare:
    """Asks a policy again what another one was asked; belongs to one thread."""

    def __init__(self, ready: Ready) -> None:
        self._ready = ready

    def result(self, given: DecisionInput) -> str:
        """Whether it answers `given` as was answered, otherwise, or not at all."""
        router = self._ready.router
        if router is None:
            return FAULT
        request = np.frombuffer(given.request, dtype_of(contract.Request)).copy()
        rows = np.frombuffer(given.instances, dtype_of(contract.Instance)).copy()
        memory = self._ready.memory
        try:
            choice = router.route(request, rows, memory, given.rotation, given.fuel)
            valid = type(choice) is int and is_valid(choice, rows)
        # Nothing hangs on a shadow; that it failed is what is wanted to be known.
        except Exception:
            return FAULT
        if not valid:
            return FAULT
        return AGREE if choice == given.choice else DIFFER
