"""The request router class for Ray Serve: the live policy chooses the replica of every request.

    RequestRouterConfig(
        request_router_class="serving_adapter.ray_serve.router.PolicyRequestRouter",
        request_router_kwargs={"snapshot": "/shared/active.json", "trust": "/shared/trusted.json"},
    )

Every proxy, and every process with a handle, has a router object of its own, which Serve never
replaces: a redeployment with another class does not reach it. So this class stays and follows the
snapshot. Serve copies this module into those processes by value: nothing here is kept in globals.
Whatever goes wrong in here, Serve's own choice (the shortest queue of all) serves the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.exceptions import TaskCancelledError
from ray.serve.exceptions import BackPressureError
from ray.serve.request_router import RequestRouter

from serving_adapter.decision import Decision, Outcome
from serving_adapter.errors import AdapterError, defect
from serving_adapter.ray_serve.choosing import Candidate, Chooser, RoutedRequest, body_of
from serving_adapter.ray_serve.decision_file import DecisionFile
from serving_adapter.ray_serve.following import RouterSettings, follow_in_router, new_host
from serving_adapter.request_log import RequestOutcome

if TYPE_CHECKING:
    from ray.serve.request_router import PendingRequest, ReplicaID, RunningReplica

    from serving_adapter.host import PolicyHost

REJECTED_STATUS, RETRY_AFTER_S = 429, 1.0
KEPT_AS = "evolver_request"  # on Serve's own object, so that it lives exactly as long

_log = logging.getLogger("evolver.ray_serve")


class PolicyRequestRouter(RequestRouter):  # type: ignore[misc]  # Ray is not there for checks
    """Routes by the live policy; each request is given the replica that was chosen for it."""

    def initialize_state(self, **settings: Any) -> None:  # noqa: ANN401 - JSON, checked here
        """Take `RouterSettings` from `request_router_kwargs`.

        Raises:
            AdapterError: a setting is unknown, missing or of the wrong kind.
        """
        self._settings = RouterSettings.read(settings)
        self._host: PolicyHost | None = None
        self._chooser: Chooser | None = None
        self._log_file: DecisionFile | None = None
        self._following: asyncio.Task[None] | None = None

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """Serve says which replicas run; the first time is on the loop that routes."""
        self._begin()
        super().update_replicas(replicas)

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """One replica; none yet for a request that is held; every one where Serve is to choose."""
        if pending_request is None:
            return [candidate_replicas]
        try:
            return self._choose(candidate_replicas, pending_request)
        except Exception as error:
            _log.error("a decision failed outside any policy, Ray Serve decides: %s", defect(error))
            return [candidate_replicas]

    def on_request_routed(
        self,
        pending_request: PendingRequest,
        replica_id: ReplicaID,
        result: Any,  # noqa: ANN401 - Serve's ReplicaResult
    ) -> None:
        """A replica has accepted a request; when it is done, whichever thread says so."""
        request = getattr(pending_request, KEPT_AS, None)
        chooser, loop = self._chooser, asyncio.get_running_loop()
        if request is None or chooser is None:
            return
        chooser.served(request, replica_id.unique_id)

        def done(end: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the process with it
                loop.call_soon_threadsafe(chooser.ended, request, outcome_of(end))

        result.add_done_callback(done)

    def _begin(self) -> None:
        """Make the host on the loop that routes, once, and follow the snapshot from there."""
        if self._host is not None:
            return
        settings = self._settings
        self._host = new_host(settings)
        self._chooser = Chooser(
            self._host, max_hold_s=settings.max_hold_s, on_decision=self._decided
        )
        if settings.decisions is not None:
            name = f"{os.getpid()}-{self._host.boot}"
            try:
                self._log_file = DecisionFile(Path(settings.decisions), name)
            except AdapterError as refusal:  # a disk that refuses must not stop what routes
                _log.error("%s", refusal)
        self._following = asyncio.get_running_loop().create_task(
            follow_in_router(self._host, settings)
        )

    def _choose(
        self, replicas: list[RunningReplica], pending: PendingRequest
    ) -> list[list[RunningReplica]]:
        self._begin()
        chooser = self._chooser
        if chooser is None:
            return [replicas]
        request: RoutedRequest | None = getattr(pending, KEPT_AS, None)
        if request is None:
            metadata = pending.metadata
            request = chooser.request(
                metadata.internal_request_id, body_of(pending.args), metadata.session_id
            )
            setattr(pending, KEPT_AS, request)
            pending.future.add_done_callback(partial(chooser.left_while_pending, request))
        by_name = {replica.replica_id.unique_id: replica for replica in replicas}
        cache = self.replica_queue_len_cache
        choice = chooser.choose(
            request,
            [
                Candidate(
                    name,
                    cache.get(one.replica_id),
                    one.routing_stats,
                    one.max_ongoing_requests,
                )
                for name, one in by_name.items()
            ],
        )
        if choice in by_name:
            return [[by_name[choice]]]
        if choice is Outcome.REJECTED:
            self._reject(pending)
        if choice is Outcome.HELD:  # Serve asks again after its back-off
            return []
        # Of one that is rejected Serve finds out as soon as it looks at a replica for it.
        return [replicas]

    def _reject(self, pending: PendingRequest) -> None:
        """Fail the request as Serve does under back-pressure, which its proxies know."""
        waiting = self.num_pending_requests
        if not pending.future.done():
            error = BackPressureError(waiting, waiting, REJECTED_STATUS, RETRY_AFTER_S)
            pending.future.set_exception(error)
        self._remove_pending_request_from_indices(pending)

    def _decided(self, request: RoutedRequest, decision: Decision, replica: str) -> None:
        if self._log_file is not None:
            self._log_file.add(request.number, decision, replica)


def outcome_of(end: object) -> RequestOutcome:
    """How a request ended, by what Ray gives for it.

    Ray tells of a replica that died; what a deployment raises itself looks like an answer to it.
    """
    cancelled = getattr(end, "cancelled", None)
    if isinstance(end, TaskCancelledError) or (callable(cancelled) and cancelled()):
        return RequestOutcome.ABANDONED
    return RequestOutcome.ENGINE_ERROR if isinstance(end, BaseException) else RequestOutcome.OK
