"""A host's dealings with a store over HTTP: fetches the signed snapshot, says how it stands.

Both go on for ever in the background and may fail for ever: what runs goes on. One process of a
host does it for all of them. The transport is not trusted; the signature is.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from policy_store.errors import StoreError
from policy_store.files import open_file
from policy_store.snapshot import MAX_BYTES
from serving_adapter.background import in_background
from serving_adapter.errors import AdapterError, defect
from serving_adapter.host_sum import host_sum, report_body
from serving_adapter.inbox import SnapshotInbox
from serving_adapter.lead import Lead, lead
from serving_adapter.process_report import living_reports

TIMEOUT_S = 10.0
MAX_TOKEN_BYTES = 1024
_TOKEN = re.compile(r"[\x21-\x7e]{1,512}")

_log = logging.getLogger("evolver.host")


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """Where the store's page is, as a host reaches it.

    Attributes:
        snapshot_url: answers GET with the signed snapshot; None where a file is followed only.
        report_url: takes POST of what the host runs and did; None to tell nobody.
        token: of scope `host`; empty without one.
        every_s: between two questions, and between two reports.
    """

    snapshot_url: str | None = None
    report_url: str | None = None
    token: str = ""
    every_s: float = 2.0


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        AdapterError: there is none.
    """
    try:
        with open_file(path) as file:
            token = file.read(MAX_TOKEN_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AdapterError(f"The token file {path} cannot be read: {error}.") from error
    if not _TOKEN.fullmatch(token):
        raise AdapterError(f"The token file {path} holds no token: put one in it, and no more.")
    return token


@asynccontextmanager
async def dealing(
    plane: ControlPlane, inbox: SnapshotInbox, state: Path, deployment: str
) -> AsyncIterator[None]:
    """Deal with the store until left."""
    work: list[_Fetching | _Reporting] = []
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    headers = {"Authorization": f"Bearer {plane.token}"} if plane.token else {}
    with lead(state / "control.lock") as leading:
        session = aiohttp.ClientSession(
            timeout=timeout, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
        )
        async with session:
            if plane.snapshot_url is not None:
                work.append(_Fetching(plane.snapshot_url, session, inbox))
            if plane.report_url is not None:
                work.append(_Reporting(plane.report_url, session, state, deployment))
            async with in_background(*(_again(one, leading, plane.every_s) for one in work)):
                yield


async def _again(work: _Fetching | _Reporting, leading: Lead, every_s: float) -> None:
    """Do it over and over; say each change of how it goes once."""
    said = ""
    while True:
        if leading.taken():
            try:
                trouble = await work.once()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                trouble = type(error).__name__
            except (AdapterError, StoreError) as refusal:
                trouble = str(refusal)
            # Whatever a server sends, it is asked again.
            except Exception as error:
                trouble = defect(error)
            if trouble and trouble != said:
                _log.warning("%s: %s", work.name, trouble)
            elif said and not trouble:
                _log.info("%s works again", work.name)
            said = trouble
        await asyncio.sleep(every_s)


class _Fetching:
    """Asks for the snapshot; what is known already is not sent again."""

    name = "the snapshot of the store"

    def __init__(self, url: str, session: aiohttp.ClientSession, inbox: SnapshotInbox) -> None:
        self._url, self._session, self._inbox = url, session, inbox
        self._tag = ""

    async def once(self) -> str:
        """What is wrong, empty when nothing is."""
        headers = {"If-None-Match": self._tag} if self._tag and self._inbox.path.exists() else {}
        async with self._session.get(
            self._url, headers=headers, allow_redirects=False
        ) as answer:  # fmt: skip
            if answer.status == 304:
                return ""
            if answer.status != 200:
                return f"the store answers {answer.status}"
            content = await _bounded(answer)
            await asyncio.to_thread(self._inbox.put, content)
            self._tag = answer.headers.get("ETag", "")
        return ""


class _Reporting:
    """Sends the sum of what this host's processes say."""

    name = "reporting to the store"

    def __init__(
        self, url: str, session: aiohttp.ClientSession, state: Path, deployment: str
    ) -> None:
        self._url, self._session, self._state = url, session, state
        self._deployment, self._host = deployment, host_name()

    async def once(self) -> str:
        """What is wrong, empty when nothing is."""
        total = host_sum(await asyncio.to_thread(living_reports, self._state))
        if total is None:
            return ""
        body: Mapping[str, object] = report_body(total, self._host, self._deployment)
        async with self._session.post(self._url, json=body, allow_redirects=False) as answer:
            return "" if answer.status in (200, 204) else f"the store answers {answer.status}"


def host_name() -> str:
    """By which the store knows this machine."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:80] or "host"


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    """A body of at most a snapshot's size; one more byte says that it is larger."""
    parts, size = [], 0
    async for part in answer.content.iter_chunked(1 << 16):
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            break
    return b"".join(parts)
