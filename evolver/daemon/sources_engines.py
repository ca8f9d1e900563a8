"""Asks every engine for its metrics, side by side, and notes answers and silences in a book."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

import aiohttp

from telemetry.metrics_page import MOST_PAGE_BYTES
from telemetry.scrape import ScrapeBook, read_scrape

TIMEOUT_S = 2.0
MOST_AT_ONCE = 32
_PLAIN = {"Accept-Encoding": "identity"}  # a small compressed page can be a large one


class EngineScraper:
    """Scrapes the engines of a fleet that comes and goes.

    Args:
        urls: base URLs of the engines that should answer now, asked before every round.
        book: where answers are kept; an engine that `urls` no longer names is forgotten.
        timeout_s: for one engine, from connecting to its last byte.
        clock: wall-clock seconds.
    """

    def __init__(
        self,
        urls: Callable[[], Iterable[str]],
        book: ScrapeBook,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._urls = urls
        self._book = book
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._clock = clock

    def round(self) -> int:
        """Ask all of them once, from a thread without an event loop; how many answered."""
        return asyncio.run(self.ask())

    async def ask(self) -> int:
        """Ask all of them once; how many answered.

        One that is slow costs `timeout_s` and keeps no other from being heard.
        """
        urls = list(dict.fromkeys(url.rstrip("/") for url in self._urls()))
        for name in set(self._book.names()) - set(urls):
            self._book.forget(name)
        seats = asyncio.Semaphore(MOST_AT_ONCE)
        connector = aiohttp.TCPConnector(limit=MOST_AT_ONCE)
        async with aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            answers = await asyncio.gather(*(self._one(session, seats, url) for url in urls))
        return sum(answers)

    async def _one(
        self, session: aiohttp.ClientSession, seats: asyncio.Semaphore, url: str
    ) -> bool:
        async with seats:
            asked_unix_s = self._clock()
            try:
                page = await _page(session, url)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                self._book.failed(url)
                return False
        self._book.answered(url, read_scrape(asked_unix_s, page))
        return True


async def _page(session: aiohttp.ClientSession, url: str) -> bytes:
    """The page, cut where it is too long.

    Raises:
        aiohttp.ClientError, OSError, TimeoutError: it does not answer with a page.
    """
    async with session.get(url + "/metrics", headers=_PLAIN, allow_redirects=False) as answer:
        if answer.status != 200:
            raise aiohttp.ClientError(f"status {answer.status}")
        page = b""
        while len(page) < MOST_PAGE_BYTES and (more := await answer.content.readany()):
            page += more
        return page
