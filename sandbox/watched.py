"""What guardrails watch on a window: who was slowed, who starved, what was late or left undone.

All are sums and counts, so that windows can be put together without averaging anything away.
Classes and tenants go by number, since their names may say more than a number should.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox.class_metrics import Floats, Marks
from sandbox.kernel.state import PS_PER_S, REJECTED
from sandbox.simulation import Outcome
from telemetry.trace import Trace

MOST_TENANTS = 16  # with the most requests of a window; the rest are told together
REST = "rest"


@dataclass(frozen=True, slots=True, eq=False)
class Watch:
    """One window's requests, arrays over all of its trace.

    Attributes:
        time_s: end to end as the objective charges it, NaN where a request does not count.
        alone_s: what it takes on an idle fleet.
        class_id, online: what it is.
        ttft_s, tpot_s, e2e_s: promised.
        done: it finished, and counts.
    """

    time_s: Floats
    alone_s: Floats
    class_id: NDArray[np.int32]
    online: Marks
    promised: dict[str, Floats]
    done: Marks

    @property
    def asked(self) -> Marks:
        """The requests that count."""
        return ~np.isnan(self.time_s)


def watched(watch: Watch, outcome: Outcome, trace: Trace) -> dict[str, float]:
    """Sums and counts by name.

    `starved`: online requests that waited longer for their first token than was promised for the
    whole answer; `longest_wait_s`: the longest such wait. `ttft_late`, `tpot_late`: requests that
    did not get what was promised, lost ones included. `charged_*_s` and `alone_*_s` of a class or
    tenant add up its requests' time, as charged and on an idle fleet; tenants' online ones only.
    """
    asked, done = watch.asked, watch.done
    online = asked & watch.online
    wait_s = _waits(outcome)
    came = online & (outcome.entered >= 0) & (outcome.state != REJECTED)
    starved = came & (wait_s > watch.promised["e2e_s"])
    numbers = {
        "starved": float(starved.sum()),
        "longest_wait_s": float(wait_s[came].max(initial=0.0)),
        **_late(watch, outcome, trace),
    }
    offline = asked & ~watch.online
    if offline.any():
        numbers["offline_requests"] = float(offline.sum())
        numbers["offline_finished"] = float((offline & done).sum())
        numbers["offline_charged_s"] = float(watch.time_s[offline].sum())
    for name, members in _groups(watch, trace):
        numbers[f"requests_{name}"] = float(members.sum())
        numbers[f"charged_{name}_s"] = float(watch.time_s[members].sum())
        numbers[f"alone_{name}_s"] = float(watch.alone_s[members].sum())
    return numbers


def _waits(outcome: Outcome) -> Floats:
    """From entering to the first token; to the end, for those that never got one."""
    until = np.where(outcome.first >= 0, outcome.first, int(outcome.totals["integrated"]))
    return np.asarray((until - outcome.entered) / PS_PER_S)


def _late(watch: Watch, outcome: Outcome, trace: Trace) -> dict[str, float]:
    ttft = (outcome.first - outcome.entered) / PS_PER_S
    tpot = (outcome.finish - outcome.first) / PS_PER_S / np.maximum(trace.output_tokens - 1, 1)
    told = {
        "ttft_late": ttft <= watch.promised["ttft_s"],
        "tpot_late": tpot <= watch.promised["tpot_s"],
    }
    return {
        name: float((watch.asked & watch.online & ~(watch.done & kept)).sum())
        for name, kept in told.items()
    }


def _groups(watch: Watch, trace: Trace) -> Iterator[tuple[str, Marks]]:
    """Online classes and tenants with their requests, where there are several of a kind."""
    online = watch.asked & watch.online
    classes = np.unique(watch.class_id[online])
    if len(classes) > 1:
        for number in classes:
            yield f"class_{number}", online & (watch.class_id == number)
    counts = np.bincount(trace.tenant[online], minlength=1)
    if (counts > 0).sum() < 2:
        return
    most = np.lexsort((np.arange(len(counts)), -counts))
    known, rest = most[:MOST_TENANTS], most[MOST_TENANTS:]
    for number in sorted(known[counts[known] > 0].tolist()):
        yield f"tenant_{number}", online & (trace.tenant == number)
    members = online & np.isin(trace.tenant, rest)
    if members.any():
        yield f"tenant_{REST}", members
