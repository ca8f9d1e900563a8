"""Header-only mode: another gateway moves the bytes, and a header tells it which worker to take.

    smg     `X-SMG-Target-Worker`, a place in an order that SMG shows nowhere; which worker took a
            request is in `x-smg-routed-worker-id` of its answer, so the places are learned
    dynamo  `x-worker-instance-id`, the id of an instance that `GET /health` lists (direct mode)

The list is asked for as often as engines are scraped, so workers that come and go are followed.
What it says is bounded and checked before it becomes a header.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import aiohttp

from serving_adapter.errors import EngineFailed

MAX_LIST_BYTES = 2**20
MAX_WORKERS = 4096
LIST_TIMEOUT_S = 2.0


class Kind(StrEnum):
    """What the upstream is."""

    SMG = "smg"
    DYNAMO = "dynamo"


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker of the upstream.

    Attributes:
        name: by which it is known again: its URL (SMG), or its id (Dynamo).
        value: what the header says to have it, until answers say otherwise.
        scraped: base URL of its metrics, None where it has none.
        healthy: whether the upstream would use it.
    """

    name: str
    value: str
    scraped: str | None
    healthy: bool = True


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where requests go in header-only mode.

    Attributes:
        url: base URL, without a trailing slash.
        only: names of the workers to use; all that it lists when there are none.
    """

    url: str
    kind: Kind
    only: frozenset[str] = frozenset()

    @property
    def header(self) -> str:
        """The name of the header."""
        return _HEADERS[self.kind]

    def served_by(self, headers: Mapping[str, str]) -> str | None:
        """The name of the worker that an answer says it comes from; None where it says nothing."""
        told = headers.get("x-smg-routed-worker-id") if self.kind is Kind.SMG else None
        return told.rstrip("/") if told else None

    async def workers(self, session: aiohttp.ClientSession) -> tuple[Worker, ...]:
        """The workers that may be used now.

        Raises:
            EngineFailed: the upstream gave no list, or one that does not say what it should.
        """
        path, read = _LISTS[self.kind]
        timeout = aiohttp.ClientTimeout(total=LIST_TIMEOUT_S)
        plain = {"Accept-Encoding": "identity"}
        try:
            async with session.get(
                self.url + path, headers=plain, timeout=timeout, allow_redirects=False
            ) as answer:
                page = b""
                while len(page) <= MAX_LIST_BYTES and (more := await answer.content.readany()):
                    page += more
                found = read(json.loads(page[: MAX_LIST_BYTES + 1]))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise EngineFailed(
                f"The upstream lists no workers ({type(error).__name__})."
            ) from error
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise EngineFailed(
                "The upstream's list of workers is none: see its version."
            ) from error
        return tuple(one for one in found if not self.only or one.name in self.only)


def _smg_workers(body: Any) -> list[Worker]:  # noqa: ANN401 - JSON
    listed = body["workers"] if isinstance(body, dict) else body
    found = []
    for place, one in enumerate(listed[:MAX_WORKERS]):
        url = str(one["url"]).rstrip("/")
        if url.startswith(("http://", "https://")):
            found.append(Worker(url, str(place), url, one.get("is_healthy", True) is not False))
    return found


def _dynamo_workers(body: Any) -> list[Worker]:  # noqa: ANN401 - JSON
    found: dict[str, Worker] = {}
    for one in body["instances"][:MAX_WORKERS]:
        if one.get("endpoint") == "generate" and type(one["instance_id"]) is int:
            name = str(one["instance_id"])
            found[name] = Worker(name, name, None)
    return list(found.values())


WORKER_HEADERS = frozenset(
    {
        "x-data-parallel-rank",
        "x-dp-rank",
        "x-dynamo-routing-mode",
        "x-enable-local-updates",
        "x-prefill-dp-rank",
        "x-prefill-instance-id",
        "x-smg-routing-key",
        "x-smg-target-worker",
        "x-worker-instance-id",
    }
)
"""By which an upstream is told who works, in lower case: not for clients to say."""
_HEADERS = {Kind.SMG: "X-SMG-Target-Worker", Kind.DYNAMO: "x-worker-instance-id"}
_LISTS: Mapping[Kind, tuple[str, Callable[[Any], list[Worker]]]] = {
    Kind.SMG: ("/workers", _smg_workers),
    Kind.DYNAMO: ("/health", _dynamo_workers),
}
