"""The one `contract.Request` record of a router, written anew for each decision."""

from __future__ import annotations

import struct

import numpy as np

from sandbox import contract
from sandbox.records import dtype_of
from serving_adapter.activation import missing_rows
from serving_adapter.facts import RequestFacts
from serving_adapter.instance_rows import Rows

_PLACES = {name: place[1] for name, place in (dtype_of(contract.Request).fields or {}).items()}


class _Run:
    """Writes fields of the record that lie one behind the other, of eight bytes each.

    Args:
        layout: of their values, in the language of `struct`.
    """

    def __init__(self, layout: str, *names: str) -> None:
        self.start = _PLACES[names[0]]
        if [_PLACES[name] for name in names] != [self.start + 8 * k for k in range(len(names))]:
            raise ValueError(f"{names} are not one behind the other in the record")
        self.write = struct.Struct("=" + layout).pack_into


_ASKED = _Run("ddqqdd", "now_s", "age_s", "seed", "prompt_tokens", "predicted_output_tokens",
              "predicted_output_error")  # fmt: skip
_WHOSE = _Run("qd?", "tenant", "weight", "online")
_SESSION = _Run("qqqq", "session", "turn", "last_instance", "prefix_key")
_HELD = _Run("q", "held_count")


class RequestRow:
    """What a policy is shown of the request that asks.

    Four runs take half the time of as many words, and a sixth of the record's columns.

    Attributes:
        row: the record; the same array for every request.
    """

    def __init__(self) -> None:
        self.row = _new_request()
        self._bytes = self.row.view(np.uint8).data

    def fill(self, facts: RequestFacts, now_s: float, seed: int, held_count: int) -> None:
        """Show this request."""
        content = self._bytes
        _ASKED.write(
            content, _ASKED.start, now_s, now_s - facts.arrived_s, seed, facts.prompt_tokens,
            facts.predicted_output_tokens, facts.predicted_output_error,
        )  # fmt: skip
        _WHOSE.write(content, _WHOSE.start, facts.tenant, facts.weight, facts.online)
        _SESSION.write(
            content, _SESSION.start, facts.session, facts.turn, facts.last_instance,
            facts.prefix_key,
        )  # fmt: skip
        _HELD.write(content, _HELD.start, held_count)


def _new_request() -> Rows:
    """One record with what is true of every request at a gateway."""
    request = missing_rows(contract.Request, 1)
    for name in ("done_tokens", "workflow_done_calls", "branch"):
        request[name] = 0
    for name in ("held_count", "preempted_count", "moved_count"):
        request[name] = 0
    request["class_id"] = request["branch_count"] = 1
    return request
