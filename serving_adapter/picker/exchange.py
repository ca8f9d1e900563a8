"""One HTTP request and its answer, as the proxy tells them: decided once, then observed.

The request is decided when its whole body is there, sent on with the addresses in the order in
which they are to be tried, and followed to the end of its answer: which engine served it, how many
tokens it had. Whatever becomes of the stream, the request ends once in the instance table, the
metrics and the request log. Where the proxy hides bodies, the head alone decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from serving_adapter.decision import BUILT_IN_DIGEST, Author, Decision, Outcome
from serving_adapter.errors import BadBody
from serving_adapter.facts import RequestFacts
from serving_adapter.gateway.meter import AnswerMeter
from serving_adapter.gateway.visits import (
    ENDPOINTS,
    NO_ENGINE,
    REJECTED,
    Refusal,
    Visits,
    headers_of,
)
from serving_adapter.instance_rows import Flight
from serving_adapter.openai_api import CHARS_PER_TOKEN, error_object, read_body
from serving_adapter.picker import messages
from serving_adapter.picker.endpoints import Endpoints
from serving_adapter.picker.messages import BodyMode, Head, Message, Response
from serving_adapter.request_log import Visit
from serving_adapter.web_server import MAX_BODY_BYTES

MAX_DECISIONS = 3
RETRIED = "retried-by-the-proxy"


@dataclass(frozen=True, slots=True)
class PickerSettings:
    """Limits and periods of a picker, in seconds, bytes and counts.

    Attributes:
        fallbacks: addresses after the policy's own, for the proxy to go on with; 0 for proxies
            that take a single one.
        max_requests: inside at the same time; the proxy is told that there are too many above it.
        body_timeout_s: for all of a request's body.
    """

    fallbacks: int = 2
    max_hold_s: float = 5.0
    hold_tick_s: float = 0.05
    scrape_s: float = 1.0
    resolve_s: float = 5.0
    retry_after_s: int = 1
    max_body_bytes: int = MAX_BODY_BYTES
    max_requests: int = 10_000
    body_timeout_s: float = 60.0


class Gone(Exception):
    """The request never became whole: its client left, or the proxy answered by itself."""


class TooLarge(Exception):
    """The body is above its bound."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """Where a request was sent.

    `body` is what must be sent back to the proxy, None where it has it, and `trailers` what came
    after it.
    """

    head: Head
    decision: Decision
    addresses: list[str]
    body: bytes | None
    trailers: Message | None


class Exchange:
    """One stream of the proxy; `read` gives None at its end."""

    def __init__(
        self,
        visits: Visits,
        endpoints: Endpoints,
        settings: PickerSettings,
        read: Callable[[], Awaitable[Message | None]],
        write: Callable[[Response], Awaitable[None]],
    ) -> None:
        self._visits = visits
        self._endpoints = endpoints
        self._settings = settings
        self._read = read
        self._write = write
        self._trailers: Message | None = None

    async def run(self) -> None:
        """Follow the stream to its end."""
        message = await self._read()
        if message is None or message.WhichOneof("request") != "request_headers":
            return
        arrived_s = self._visits.host.now_s()
        head = messages.head_of(message)
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                raw = await self._whole_body(head)
            endpoint, facts = self._facts(head, raw, arrived_s)
        except Gone:
            return
        except TooLarge:
            most = self._settings.max_body_bytes
            await self._refuse(413, f"The body has more than {most} bytes: send less.")
            return
        except BadBody as refusal:
            await self._refuse(400, str(refusal))
            return
        except TimeoutError:
            await self._refuse(408, "The body came too slowly: send it at once.")
            return
        with self._visits.visiting(endpoint, facts) as visit:
            await self._visit(visit, head, raw)

    async def _whole_body(self, head: Head) -> bytes | None:
        """The request's body; None when it is not shown."""
        if head.ended:
            return b""
        if head.body is BodyMode.UNREAD:
            return None
        if head.body is BodyMode.BUFFERED:
            await self._write(messages.on_request_headers())
        pieces, size = list[bytes](), 0
        while True:
            message = await self._read()
            kind = message.WhichOneof("request") if message is not None else None
            if kind == "request_trailers":
                self._trailers = message
                break
            if message is None or kind != "request_body":
                await self._let_pass(message, head)
                raise Gone
            if message.request_body.body:  # empty ones may come without end
                pieces.append(message.request_body.body)
                size += len(pieces[-1])
            if size > self._settings.max_body_bytes:
                raise TooLarge
            if message.request_body.end_of_stream or head.body is BodyMode.BUFFERED:
                break
        return b"".join(pieces)

    def _facts(self, head: Head, raw: bytes | None, now_s: float) -> tuple[str, RequestFacts]:
        """What is asked for, and what is known of it.

        Raises:
            BadBody: see `read_body`.
        """
        endpoint = ENDPOINTS.get(head.path)
        if endpoint is None or (raw is not None and head.headers.get(":method") != "POST"):
            endpoint = "models" if head.path == "/v1/models" else "other"
            return endpoint, RequestFacts(arrived_s=now_s, prompt_tokens=0)
        reader = self._visits.facts
        if raw is not None:
            return endpoint, reader.read(read_body(raw), head.headers, now_s)
        length = head.headers.get("content-length", "")
        size = int(length) if length.isdecimal() and len(length) < 12 else 0
        facts = reader.read({}, head.headers, now_s)
        return endpoint, replace(facts, prompt_tokens=max(1, size // CHARS_PER_TOKEN))

    async def _visit(self, visit: Visit, head: Head, raw: bytes | None) -> None:
        found = await self._decide(visit, head)
        if isinstance(found, Refusal):
            visit.ended(found.outcome, found.status)
            after_s = self._settings.retry_after_s
            body = found.body(after_s)
            await self._write(messages.refused(found.status, body, {"retry-after": str(after_s)}))
            return
        decision, addresses = found
        echo = raw if head.body is BodyMode.FULL_DUPLEX and not head.ended else None
        sent = _Sent(head, decision, addresses, echo, self._trailers)
        flight = self._visits.sent(visit, decision.instance_id)
        try:
            for response in _sending(sent):
                await self._write(response)
            while (message := await self._read()) is not None:
                if message.WhichOneof("request") == "response_headers":
                    flight = self._moved(visit, sent, flight, message)
                    await self._observe(visit, sent, flight, message)
                    return
                await self._write(messages.passed(message, echoed=False))
        finally:
            self._visits.left(flight)

    async def _decide(self, visit: Visit, head: Head) -> tuple[Decision, list[str]] | Refusal:
        """Engines come and go while a request is held, so it is asked again for one that has."""
        by_policy = visit.endpoint in ENDPOINTS.values()
        for _ in range(MAX_DECISIONS):
            visit.failed = self._endpoints.outside(head.subset)
            decision = await self._visits.decide(visit, by_policy=by_policy)
            if decision.outcome is Outcome.REJECTED:
                return REJECTED
            if decision.outcome is not Outcome.ROUTED:
                return NO_ENGINE
            picked = self._endpoints.address(decision.instance_id)
            if picked is None or (head.subset is not None and picked not in head.subset):
                continue
            taken = self._endpoints.outside(head.subset) | {decision.instance_id}
            now_s, most = self._visits.host.now_s(), self._settings.fallbacks
            others = self._endpoints.others(visit.facts, now_s, taken, most)
            return decision, [picked, *others]
        return NO_ENGINE

    def _moved(self, visit: Visit, sent: _Sent, flight: Flight, message: Message) -> Flight:
        """The answer's beginning says who served it; the first address, or one after it."""
        address = messages.served_of(message)
        instance_id = self._endpoints.instance_id(address)
        if instance_id is None or address is None or instance_id == flight.instance_id:
            return flight
        tried = sent.addresses
        tried = tried[: tried.index(address)] if address in tried else tried
        for failed in map(self._endpoints.instance_id, tried):
            if failed is not None:
                self._endpoints.suspect(failed)
        self._visits.left(flight)
        visit.decisions.append(
            sent.decision._replace(
                instance_id=instance_id,
                digest=BUILT_IN_DIGEST,
                author=Author.BUILT_IN,
                reason=RETRIED,
            )
        )
        return self._visits.sent(visit, instance_id)

    async def _observe(self, visit: Visit, sent: _Sent, flight: Flight, message: Message) -> None:
        """Follow the answer from its head to its end."""
        self._heard(visit, flight)
        headers = messages.headers_of(message.response_headers)
        status = headers.get(":status", "")
        visit.status = int(status) if status.isdecimal() and len(status) == 3 else 0
        if visit.status >= 500:
            self._endpoints.suspect(flight.instance_id)
        streamed = headers.get("content-type", "").startswith("text/event-stream")
        meter, pieces = AnswerMeter(streamed=streamed), 0
        response = messages.on_response_headers(headers_of(visit.decisions[-1]))
        ended = message.response_headers.end_of_stream
        while not ended:
            await self._write(response)
            following = await self._read()
            if following is None:
                break
            piece, pieces = following.response_body, pieces + 1
            self._heard(visit, flight)
            ended = piece.end_of_stream or following.HasField("response_trailers")
            self._visits.tokens(visit, flight, meter.feed(piece.body))
            response = messages.passed(following, echoed=sent.head.echoed)
        if ended or not pieces:  # a proxy need not show the body
            self._visits.tokens(visit, flight, meter.close())
            self._visits.answered(visit, visit.status, meter)
        if ended:  # after which the proxy may drop the stream at any moment
            await self._write(response)

    def _heard(self, visit: Visit, flight: Flight) -> None:
        """An engine shows that it computes, where it has to for such an answer."""
        if visit.endpoint in ENDPOINTS.values():
            self._endpoints.heard(flight.instance_id)

    async def _let_pass(self, message: Message | None, head: Head) -> None:
        """The proxy answers by itself before the request was whole: no business of ours."""
        while message is not None:
            await self._write(messages.passed(message, echoed=head.echoed))
            message = await self._read()

    async def _refuse(self, status: int, message: str) -> None:
        body = error_object(message, "BadRequestError", status)
        await self._write(messages.refused(status, body, {}))


def _sending(sent: _Sent) -> list[Response]:
    """What sends a request on its way."""
    routed = messages.routed(sent.addresses)
    if sent.head.body is BodyMode.BUFFERED and not sent.head.ended:
        return [messages.with_destination(messages.on_request_body(routed), sent.addresses)]
    responses = [messages.with_destination(messages.on_request_headers(routed), sent.addresses)]
    if sent.body is not None:
        responses += messages.request_body_pieces(sent.body, ended=sent.trailers is None)
        if sent.trailers is not None:
            responses.append(messages.passed(sent.trailers, echoed=False))
    return responses
