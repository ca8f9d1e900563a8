"""Door 5: a policy host picks the deployments of LiteLLM's Router.

    routing = PolicyRouting(router, host)
    routing.install()

LiteLLM stays in charge of what may be used at all: the policy sees the deployments that are left
after its own cooldowns, health checks, tags, orders and exclusions. `Router.routing_strategy_init`
drops custom strategies; the deployment filter, which it leaves in place, notices with the next
request, decides that one and puts the strategy back. What no policy can decide here (synchronous
calls, other event loops, deployments asked for by name) LiteLLM decides as it would without us.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import litellm
from litellm.exceptions import RateLimitError
from litellm.integrations.custom_logger import CustomLogger
from yarl import URL

from serving_adapter.background import in_background
from serving_adapter.decision import BEHIND, Decision, Outcome
from serving_adapter.errors import defect
from serving_adapter.exposition import Registry
from serving_adapter.facts import FactReader
from serving_adapter.gateway.engines import EngineSet, engine_session
from serving_adapter.gateway.holding import HoldQueue
from serving_adapter.hash_key import known_key
from serving_adapter.host import PolicyHost
from serving_adapter.litellm_requests import Inside, Requests, first_token_ago_s
from serving_adapter.request_log import RequestOutcome, RequestRecord

SWEEP_S = 1.0
Deployment = dict[str, Any]

_log = logging.getLogger("evolver.litellm")


class PolicyRouting(CustomLogger):
    """Asks a policy host for every asynchronous request of one LiteLLM Router.

    Args:
        router: whose deployments are picked.
        host: what decides; it belongs to the event loop of the first request.
        registry: where this door's metrics are shown.
        scrape_s: how often engines are asked for their metrics; None: own counts alone.
        max_hold_s: after which a held request is placed by the built-in decision.
        retry_wait_s: after a failed attempt, until the request counts as failed.
        flight_s: after which an attempt that nobody reports is held to be abandoned.
        on_request: told of every request at its end.
    """

    def __init__(
        self,
        router: Any,  # noqa: ANN401 - litellm.Router
        host: PolicyHost,
        *,
        registry: Registry | None = None,
        scrape_s: float | None = None,
        max_hold_s: float = 5.0,
        retry_wait_s: float = 30.0,
        flight_s: float = 900.0,
        on_request: Callable[[RequestRecord], None] = lambda _: None,
    ) -> None:
        super().__init__()
        # LiteLLM keeps one logger of each kind, by what is public and plain in it.
        self.name = secrets.token_hex(8)
        registry = registry or Registry()
        self.host = host
        facts = FactReader(known_key(host.state))
        self.requests = Requests(host, retry_wait_s, flight_s, on_request, facts)
        self._router = router
        self._scrape_s = scrape_s
        self._holding = HoldQueue(host, max_hold_s)
        self._ids: dict[str, int] = {}
        self._engines: EngineSet | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._installed = registry.counter(
            "evolver_litellm_installed_total", "Times that the strategy was put in place."
        )
        self._left = registry.counter(
            "evolver_litellm_own_choice_total", "Requests left to LiteLLM's own choice.", ("why",)
        )

    def install(self) -> None:
        """Put the strategy and the callbacks in place; again does no harm."""
        self._router.set_custom_routing_strategy(self)
        if self not in litellm.callbacks:
            litellm.logging_callback_manager.add_litellm_callback(self)
        self._installed.inc()

    async def close(self) -> None:
        """Give the router its own strategy back and stop what runs beside requests."""
        for name in ("get_available_deployment", "async_get_available_deployment"):
            self._router.__dict__.pop(name, None)
        for callbacks in (
            litellm.callbacks,
            litellm.success_callback,
            litellm.failure_callback,
            litellm._async_success_callback,
            litellm._async_failure_callback,
        ):
            while self in callbacks:
                callbacks.remove(self)
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    @property
    def installed(self) -> bool:
        """Whether the router asks this strategy."""
        found = self._router.__dict__.get("async_get_available_deployment")
        return getattr(found, "__self__", None) is self

    async def async_get_available_deployment(
        self,
        model: str,
        messages: list[dict[str, Any]] | None = None,
        input: str | list[Any] | None = None,
        specific_deployment: bool | None = False,
        request_kwargs: dict[str, Any] | None = None,
    ) -> Deployment:
        """The deployment for one attempt; see `litellm.router.CustomRoutingStrategyBase`.

        Raises:
            litellm.RateLimitError: the policy refused the request.
        """
        kwargs = request_kwargs if request_kwargs is not None else {}
        healthy = await self._router.async_get_healthy_deployments(
            model=model,
            request_kwargs=kwargs,
            messages=messages,
            input=input,
            specific_deployment=specific_deployment,
        )
        if isinstance(healthy, dict):
            self._left.inc("by-name")
            return healthy
        return await self._choose(model, healthy, messages, input, kwargs)

    def get_available_deployment(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """The synchronous call, which may come in any thread: LiteLLM's own choice."""
        self._left.inc("synchronous")
        return type(self._router).get_available_deployment(self._router, *args, **kwargs)

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[Deployment],
        messages: list[Any] | None,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: object = None,  # noqa: ARG002 - LiteLLM passes it
    ) -> list[Deployment]:
        """Notices that the strategy was dropped: puts it back, and decides this request here."""
        if self.installed or not self._is_ours(healthy_deployments):
            return healthy_deployments
        _log.warning("LiteLLM dropped the routing strategy: it is put back")
        self.install()
        if len(healthy_deployments) < 2 or request_kwargs is None:
            return healthy_deployments
        allowed = _not_yet_excluded(healthy_deployments, request_kwargs)
        if not allowed:
            return healthy_deployments
        return [await self._choose(model, allowed, messages, None, request_kwargs)]

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: object, start_time: object, end_time: object
    ) -> None:
        """LiteLLM reports an attempt that was answered in full."""
        del start_time
        if self._loop is asyncio.get_running_loop():
            self.requests.succeeded(kwargs, response_obj, first_token_ago_s(kwargs, end_time))
            self._holding.capacity_changed()

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: object, start_time: object, end_time: object
    ) -> None:
        """LiteLLM reports an attempt that failed."""
        del response_obj, start_time, end_time
        if self._loop is asyncio.get_running_loop():
            params = kwargs.get("litellm_params")
            info = params.get("model_info") if isinstance(params, Mapping) else None
            name = info.get("id") if isinstance(info, Mapping) else None
            self.requests.failed(kwargs, self._ids.get(str(name)))
            self._holding.capacity_changed()

    async def _choose(
        self,
        model: str,
        healthy: Sequence[Deployment],
        messages: list[Any] | None,
        input_: str | list[Any] | None,
        kwargs: dict[str, Any],
    ) -> Deployment:
        """Decide one attempt among deployments that may be used, at least one."""
        if why := await self._not_running():
            self._left.inc(why)
            return healthy[0]
        places = {self._instance(one): one for one in healthy}
        inside = self.requests.of(kwargs, _body(messages, input_, kwargs))
        decision = await self._decide(inside, frozenset(places))
        if decision.outcome is Outcome.REJECTED:
            self.requests.refused(inside, RequestOutcome.REJECTED, 429)
            refusal = RateLimitError("The policy refused it: try later.", "evolver", model)
            refusal.num_retries = 0  # asking again would get the same answer, later
            raise refusal
        chosen = decision.instance_id
        if chosen not in places:  # the scrapes know of none, LiteLLM does
            self._left.inc("no-engine")
            chosen = next(iter(places))
        self.requests.sent(inside, chosen)
        return places[chosen]

    async def _decide(self, inside: Inside, offered: frozenset[int]) -> Decision:
        visit, live = inside.visit, inside.visit.live or self.host.live
        # A deployment that has failed this request is tried again when there is no other.
        left = (offered - visit.failed) or offered
        exclude = frozenset(self._ids.values()) - left
        if self.host.behind:
            decision = self.host.fallback(visit.facts, BEHIND, exclude, live=live)
        else:
            decision = self.host.route(visit.facts, exclude=exclude, live=live)
        if decision.outcome is Outcome.HELD:
            inside.held = True
            try:
                decision = await self._holding.wait(visit.facts, exclude, live, decision.digest)
            finally:
                inside.held = False
        visit.decisions.append(decision)
        return decision

    def _instance(self, deployment: Deployment) -> int:
        """The row of a deployment in the instance table, a new one if it is new."""
        name = _id_of(deployment)
        known = self._ids.get(name)
        if known is None:
            url = _scraped(deployment)
            engines = self._engines if self._scrape_s is not None else None
            known = engines.add(url) if engines is not None and url else self.host.table.add()
            self._ids[name] = known
            self.requests.seats.stated(known, _seats(deployment))
        return known

    def _is_ours(self, deployments: Sequence[Deployment]) -> bool:
        """Filters are called for every Router of a process."""
        return bool(deployments) and all(
            self._router.has_model_id(_id_of(one)) for one in deployments
        )

    async def _not_running(self) -> str:
        """Start what runs beside requests with the first one; why it does not run, or nothing."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop, self._ready = loop, asyncio.Event()
            self._running = asyncio.create_task(self._run(self._ready))
        if self._loop is not loop:
            return "another-loop"
        await self._ready.wait()
        ended = self._running is None or self._running.done()
        return "stopped" if ended else ""  # without a watchdog no policy decides

    async def _run(self, ready: asyncio.Event) -> None:
        try:
            await self._run_beside(ready)
        except Exception as error:
            _log.error("LiteLLM decides alone from now on: %s", defect(error))
        finally:
            ready.set()  # nobody waits for what has failed

    async def _run_beside(self, ready: asyncio.Event) -> None:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.host.running())
            session = await stack.enter_async_context(engine_session())
            self._engines = EngineSet(self.host, session)
            work = [self._holding.run(), self._sweep()]
            if self._scrape_s is not None:
                self.host.watchdog.scrape_s = self._scrape_s
                work.append(self._engines.run(self._scrape_s, self._holding.capacity_changed))
            await stack.enter_async_context(in_background(*work))
            ready.set()
            await asyncio.get_running_loop().create_future()  # until `close` cancels it

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.requests.sweep()
            for name in [one for one in self._ids if not self._router.has_model_id(one)]:
                number = self._ids.pop(name)
                self.requests.seats.forget(number)
                if self._engines is not None and number in self._engines.ids():
                    self._engines.remove(number)
                else:
                    self.host.table.remove(number)


def _id_of(deployment: Deployment) -> str:
    info = deployment.get("model_info")
    return str(info.get("id", "")) if isinstance(info, Mapping) else ""


def _seats(deployment: Deployment) -> int | None:
    """How many requests its engine computes at a time, where the deployment says so."""
    info = deployment.get("model_info")
    seats = info.get("max_num_seqs") if isinstance(info, Mapping) else None
    return seats if type(seats) is int and seats > 0 else None


def _scraped(deployment: Deployment) -> str | None:
    """Where an engine of our own shows its metrics: beside its API, never at a vendor's."""
    base = deployment["litellm_params"].get("api_base")
    if not isinstance(base, str) or not base.startswith(("http://", "https://")):
        return None
    return str(URL(base).origin())


def _body(
    messages: list[Any] | None, input_: str | list[Any] | None, kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """What facts are read from, in the API's names; nothing is copied."""
    names = ("max_tokens", "max_completion_tokens", "stream", "user", "prompt")
    body = {name: kwargs[name] for name in names if name in kwargs}
    return body | {"messages": messages, "input": input_}


def _not_yet_excluded(deployments: list[Deployment], kwargs: Mapping[str, Any]) -> list[Deployment]:
    """Without those that LiteLLM takes out after its filters, so that the one chosen stays."""
    gone: set[str] = set()
    for name in ("_excluded_deployment_ids", "_retry_skipped_deployment_ids"):
        gone |= {str(one) for one in kwargs.get(name) or ()}
    orders = [one["litellm_params"].get("order") for one in deployments]
    known = [order for order in orders if isinstance(order, int)]
    lowest = kwargs.get("_target_order") or min(known, default=None)
    return [
        one
        for one, order in zip(deployments, orders, strict=True)
        if _id_of(one) not in gone and (lowest is None or order == lowest)
    ]
