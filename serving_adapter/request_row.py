"""The one `contract.Request` record of a router, written anew for each decision."""

from __future__ import annotations

import numpy as np

from sandbox import contract
from sandbox.records import dtype_of
from serving_adapter.activation import missing_rows
from serving_adapter.facts import RequestFacts
from serving_adapter.instance_rows import WORD_BYTES, Rows


def _word(name: str) -> int:
    """Which word of the record a field is; every number has one of its own."""
    at: int = dtype_of(contract.Request).fields[name][1]  # type: ignore[index]  # it has fields
    return at // WORD_BYTES


_NOW, _AGE, _SEED, _HELD = (_word(one) for one in ("now_s", "age_s", "seed", "held_count"))
_PROMPT, _TENANT, _SESSION = (_word(one) for one in ("prompt_tokens", "tenant", "session"))
_TURN, _LAST, _PREFIX = (_word(one) for one in ("turn", "last_instance", "prefix_key"))
_PREDICTED, _ERROR = (_word(one) for one in ("predicted_output_tokens", "predicted_output_error"))
_WEIGHT, _ONLINE = _word("weight"), _word("online") * WORD_BYTES


class RequestRow:
    """What a policy is shown of the request that asks.

    To write a word of memory costs a third of what writing a column of the record does.

    Attributes:
        row: the record; the same array for every request.
    """

    def __init__(self) -> None:
        self.row = _new_request()
        content = self.row.view(np.uint8).data
        self._bytes, self._ints, self._floats = content, content.cast("q"), content.cast("d")

    def fill(self, facts: RequestFacts, now_s: float, seed: int, held_count: int) -> None:
        """Show this request."""
        ints, floats = self._ints, self._floats
        floats[_NOW], floats[_AGE], ints[_SEED] = now_s, now_s - facts.arrived_s, seed
        ints[_HELD] = held_count
        ints[_PROMPT] = facts.prompt_tokens
        floats[_PREDICTED] = facts.predicted_output_tokens
        floats[_ERROR] = facts.predicted_output_error
        ints[_TENANT], ints[_SESSION], ints[_TURN] = facts.tenant, facts.session, facts.turn
        ints[_LAST], ints[_PREFIX] = facts.last_instance, facts.prefix_key
        floats[_WEIGHT], self._bytes[_ONLINE] = facts.weight, facts.online


def _new_request() -> Rows:
    """One record with what is true of every request at a gateway."""
    request = missing_rows(contract.Request, 1)
    for name in ("done_tokens", "workflow_done_calls", "branch"):
        request[name] = 0
    for name in ("held_count", "preempted_count", "moved_count"):
        request[name] = 0
    request["class_id"] = request["branch_count"] = 1
    return request
