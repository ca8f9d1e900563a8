"""Links between engines: how fast KV moves from one to another, and who waits for whom.

Each instance has one way out and one way in. A transfer starts when it is asked for and both the
sender's way out and the receiver's way in are free, takes a latency and its bytes over the rate,
and keeps both busy until its end: first come, first served. Within a node the rate is the GPU
link's, else the network's, else what crosses zones; the GPUs of the smaller replica send at once.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.kernel.jit import kernel
from sandbox.kernel.state import PS_PER_S, Sim


@kernel
def link_rate(s: Sim, a: int, b: int) -> float:
    """Bytes per second from instance `a` to instance `b`."""
    x, y = s.instances[a], s.instances[b]
    p, q = s.pools[x.pool], s.pools[y.pool]
    each = min(p.network, q.network)
    if x.node == y.node:
        each = min(p.link, q.link)
    elif x.zone != y.zone:
        each = min(each, s.settings[0].zone_rate)
    return each * min(x.gpus, y.gpus)


@kernel
def kv_bytes(s: Sim, a: int, tokens: int) -> float:
    """Bytes of the KV of that many tokens on instance `a`."""
    return s.shapes[s.instances[a].shape].kv_bytes * tokens


@kernel
def transfer_ps(s: Sim, a: int, b: int, tokens: int) -> int:
    """Time to move the KV of `tokens` tokens over idle links; nothing to an instance itself."""
    if a == b:
        return 0
    latency = s.settings[0].link_latency
    if s.instances[a].zone != s.instances[b].zone:
        latency = s.settings[0].zone_latency
    return latency + np.int64(kv_bytes(s, a, tokens) / link_rate(s, a, b) * PS_PER_S)


@kernel
def occupy_links(s: Sim, a: int, b: int, tokens: int, at: int) -> int:
    """Send the KV of `tokens` tokens from `at` on, behind what is on its way; when it is there."""
    if a == b:
        return at
    x, y = s.instances[a], s.instances[b]
    end = max(at, x.egress_free, y.ingress_free) + transfer_ps(s, a, b, tokens)
    x.egress_free = end
    y.ingress_free = end
    s.totals[0].kv_moved += kv_bytes(s, a, tokens)
    return end
