"""What readers had to wait for: token deadlines, smooth goodput and what is lost to them.

After arXiv 2410.14257: a reader starts at the TTFT target and takes a token every TPOT target; a
late token keeps them waiting and resets their clock. Holding tokens back to even them out makes a
reader wait, and so does giving a request up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sandbox.class_metrics import Floats, Marks, Served
from sandbox.kernel.state import PS_PER_S
from sandbox.simulation import Outcome, Setup, latest_end_s
from telemetry.trace import Trace

Promises = dict[str, Floats]


def idle_s(outcome: Outcome, trace: Trace, promised: Promises, done: Marks) -> Floats:
    """Seconds that the reader of each finished request waited for late tokens.

    Exact where the simulator followed the reader (`Outcome.behind`); for slower readers than it
    follows, tokens between the first and the last are taken as evenly spaced.
    """
    first, pace = promised["ttft_s"][done], promised["tpot_s"][done]
    tokens = trace.output_tokens[done]
    ttft = (outcome.first - outcome.entered)[done] / PS_PER_S
    e2e = (outcome.finish - outcome.entered)[done] / PS_PER_S
    ends = np.maximum(ttft, e2e - pace * (tokens - 1))
    behind: NDArray[np.int64] = outcome.behind[done]
    return np.maximum(np.where(behind >= 0, behind / PS_PER_S, ends) - first, 0.0)


def reader_numbers(
    outcome: Outcome,
    setup: Setup,
    promised: Promises,
    served: Served,
    due: Floats,
    observed_s: float,
) -> dict[str, float]:
    """Smooth goodput, how long readers waited, and what all of them lost.

    `smooth_goodput` takes the waiting off a request's tokens, at the reader's pace and not below
    zero. `token_deadline_attainment` is the share of requests no token of which was late.
    `reader_loss_s` is the waiting of all; who never gets an answer misses all its tokens and waits
    until the latest end that the run could have had. An end that comes sooner because requests were
    given up would make giving up pay.

    Args:
        due: when requests that never came were due, seconds; NaN for others.
    """
    trace, done, idle = setup.trace, served.done, served.idle
    pace, tokens = promised["tpot_s"], trace.output_tokens.astype(np.float64)
    lost = served.asked & ~done
    came_s = np.where(np.isnan(due), outcome.entered / PS_PER_S, due)[lost]
    wait_s = latest_end_s(setup) - came_s - promised["ttft_s"][lost]
    given_up = np.maximum(wait_s, 0.0) + (tokens * pace)[lost]
    some = len(idle) > 0
    return {
        "smooth_goodput": float(np.maximum(tokens[done] - idle / pace[done], 0.0).sum())
        / observed_s,
        "reader_idle_mean_s": float(idle.mean()) if some else float("nan"),
        "reader_idle_p99_s": float(np.percentile(idle, 99.0)) if some else float("nan"),
        "token_deadline_attainment": float((idle == 0.0).sum()) / max(int(served.asked.sum()), 1),
        "reader_loss_s": float(idle.sum() + given_up.sum()),
    }
