"""Who may ask: API keys from a file that holds their hashes, and the tenant that each speaks for.

    # tenant   SHA-256 of the key            anything after it is a comment
    search     9f86d081884c7d65...           rotates in March

Keys are random and long, so a plain hash of one cannot be guessed back. The key itself is in no
file, log or metric, and no engine sees it unless the operator says so. A changed file counts within
a second; one that cannot be read changes nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
import re
import secrets
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from policy_store.files import stamp_of
from serving_adapter.errors import AdapterError
from serving_adapter.web_server import openai_error

GUARDED = "/v1/"
KEY_PREFIX = "sk-evolver-"
MAX_FILE_BYTES = 2**20
MAX_KEYS = 10_000
POLL_S = 1.0
TENANT = web.RequestKey("tenant", str)
"""Where a request carries the name of the tenant whose key it showed."""

_LINE = re.compile(r"([A-Za-z0-9._@-]{1,64})\s+([0-9a-f]{64})(\s.*)?")
_HEAD = 8  # bytes of a hash by which it is found; all of it is then compared in constant time
_log = logging.getLogger("evolver.gateway")


def new_client_key(tenant: str) -> tuple[str, str]:
    """A fresh key, to be shown once, and the line for the file.

    Raises:
        AdapterError: the name of the tenant cannot be written into the file.
    """
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    line = f"{tenant} {_hash_of(key).hex()}"
    if not _LINE.fullmatch(line):
        raise AdapterError(
            f"{tenant!r} is no tenant's name: use up to 64 letters, digits, and any of . _ @ -"
        )
    return key, line + "\n"


class ClientKeys:
    """The keys in a file.

    Raises:
        AdapterError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = stamp_of(path)
        self._keys = _read(path)

    def tenant(self, authorization: str) -> str | None:
        """Whose key an `Authorization` header shows; None for nobody's."""
        kind, _, key = authorization.partition(" ")
        if kind.lower() != "bearer":
            return None
        digest = _hash_of(key.strip())
        known, tenant = self._keys.get(digest[:_HEAD], (b"", ""))
        return tenant if hmac.compare_digest(known, digest) else None

    async def follow(self) -> None:
        """Read the file again whenever it changes, for ever; cancel to stop."""
        while True:
            await asyncio.sleep(POLL_S)
            stamp = await asyncio.to_thread(stamp_of, self._path)
            if stamp == self._stamp:
                continue
            self._stamp = stamp
            try:
                self._keys = await asyncio.to_thread(_read, self._path)
                _log.info("%d client keys", len(self._keys))
            except AdapterError as refusal:
                _log.error("the client keys stay as they were: %s", refusal)


def authenticated(keys: ClientKeys) -> Middleware:
    """Lets nobody without a key to `/v1/`; health, readiness and metrics stay open."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(GUARDED):
            tenant = keys.tenant(request.headers.get("Authorization", ""))
            if tenant is None:
                message = "The API key is missing or not known here: send one as a Bearer token."
                headers = {"WWW-Authenticate": "Bearer"}
                return openai_error(401, message, "invalid_request_error", headers)
            request[TENANT] = tenant
        return await handler(request)

    return check


def _hash_of(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _read(path: Path) -> dict[bytes, tuple[bytes, str]]:
    """Hash and tenant of every key, by the beginning of the hash."""
    try:
        with path.open("rb") as file:
            open_to_others = os.fstat(file.fileno()).st_mode & 0o022
            text = file.read(MAX_FILE_BYTES + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AdapterError(
            f"The client keys in {path} cannot be read ({type(error).__name__}): give a text file."
        ) from error
    if open_to_others:
        raise AdapterError(f"Others may write {path}, and so let themselves in: chmod go-w it.")
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if len(text) > MAX_FILE_BYTES or len(lines) > MAX_KEYS:
        raise AdapterError(f"{path} holds more than {MAX_KEYS} keys: remove those nobody uses.")
    found = [_LINE.fullmatch(line) for line in lines]
    if None in found:
        raise AdapterError(
            f"Line {found.index(None) + 1} of the keys in {path} is none: write a tenant and the "
            "SHA-256 of its key, as `evolver keys client` does."
        )
    pairs = [(bytes.fromhex(one[2]), one[1]) for one in found if one is not None]
    return {digest[:_HEAD]: (digest, tenant) for digest, tenant in pairs}
