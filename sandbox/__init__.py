"""What a policy is, may do and is worth: contract, verifier, engines, simulator, evidence.

Reading guide:

1. `contract`: the hooks and the records they see; `toolkit`: the functions they may call.
2. `verifier`: `verify` turns text into a `PolicySource` or says why not; `language` holds its
   steps, from textual limits to the checked code that both engines run.
3. `engine`: `load_policy` makes it callable, `compiled` or `interpreted`, through one `frame`.
4. `simulation`: a trace on a `cluster` under a policy; `kernel` is its event loop, `metrics` what
   came of it, `replay` several policies on the same trace; `summary` counts what hooks see in
   `window`, here and on live hosts.
5. `windows`: a trace cut into what to search, to choose and to prove on, with a `probe` and
   `variants`; `worker` runs unapproved policies on such `scenario`s in locked-down processes and
   `scoring` says what that was worth, once `plausibility` holds; `stats` and `evidence` say what it
   proves; `close_up` shows it request by request.

`policies` holds the default, `identity` the digests, `errors` what is refused.

    policy = load_policy(verify(text))
    setup = Setup(trace, load_cluster("edge-8b"))
    [result] = replay(setup, [("mine", policy)])     # from sandbox.replay
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.cluster import ClusterSpec, load_cluster
    from sandbox.engine import LoadedPolicy, load_policy
    from sandbox.errors import SandboxError
    from sandbox.evidence import Evidence
    from sandbox.metrics import measure
    from sandbox.simulation import Setup, simulate
    from sandbox.source import PolicySource
    from sandbox.verifier import verify

__all__ = [
    "ClusterSpec",
    "Evidence",
    "LoadedPolicy",
    "PolicySource",
    "SandboxError",
    "Setup",
    "load_cluster",
    "load_policy",
    "measure",
    "simulate",
    "verify",
]

_HOMES = {
    "ClusterSpec": "cluster",
    "Evidence": "evidence",
    "LoadedPolicy": "engine",
    "PolicySource": "source",
    "SandboxError": "errors",
    "Setup": "simulation",
    "load_cluster": "cluster",
    "load_policy": "engine",
    "measure": "metrics",
    "simulate": "simulation",
    "verify": "verifier",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
