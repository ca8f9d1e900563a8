"""The autoscaling class for Ray Serve: the live policy's planner says how many replicas there are.

    AutoscalingConfig(
        min_replicas=1, max_replicas=8, upscale_delay_s=0, downscale_delay_s=0,
        policy=AutoscalingPolicy(
            policy_function="serving_adapter.ray_serve.autoscaling:PolicyAutoscaler",
            policy_kwargs={"cluster": "cluster.toml", "snapshot": "/shared/active.json",
                           "trust": "/shared/trusted.json"},
        ),
    )

Serve copies this module into its controller by value; what must be one and the same there is in
`replica_counts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving_adapter.ray_serve.replica_counts import Context


class PolicyAutoscaler:
    """Called by Serve's controller about ten times a second."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - JSON, checked there
        from serving_adapter.ray_serve.replica_counts import shared_counts

        self._counts = shared_counts(settings)

    def __call__(self, context: Context) -> tuple[int, dict[str, Any]]:
        """The target and, in the state, the snapshot and policy that want it."""
        return self._counts.target(context)
