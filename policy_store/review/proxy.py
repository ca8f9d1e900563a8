"""Requests that come through somebody else's proxy: where they are from, and who it says they are.

A header is only worth what its sender is worth: it counts from explicitly trusted addresses alone.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from ipaddress import ip_address

from fastapi import Request

from policy_store.accounts import Accounts
from policy_store.errors import InvalidInput, UnknownAccount
from policy_store.people import Account
from policy_store.records import Role
from policy_store.review.access import Visitor
from policy_store.review.settings import Network, Settings

FORWARDED = "x-forwarded-for"


@dataclass(frozen=True, slots=True)
class ProxyAccess:
    """A proxy signs people in and names them in a header, which it must take away from strangers.

    Attributes:
        header: such as X-Forwarded-User.
        unknown: the role that somebody without an account gets, with an account; None refuses.
    """

    accounts: Accounts
    settings: Settings
    header: str
    unknown: Role | None = None

    def visitor(self, request: Request) -> Visitor | None:
        """Whom a trusted proxy names, when they may come in."""
        names = request.headers.getlist(self.header)
        if len(names) != 1 or not _trusted(_peer(request), self.settings.trusted_proxies):
            return None
        account = self._account(request, names[0].strip())
        if account is None or account.disabled:
            return None
        return Visitor(account.name, account.role, csrf=self._csrf(account.name))

    def _account(self, request: Request, name: str) -> Account | None:
        try:
            return self.accounts.get(name)
        except UnknownAccount:
            if self.unknown is None:
                return None
        try:
            return self.accounts.add(name, self.unknown, by=f"proxy:{_peer(request)}")
        except InvalidInput:  # no name for an account, or one that looks like somebody's
            return None

    def _csrf(self, name: str) -> str:
        """There is no session to keep one in: it follows from the page's secret."""
        text = f"proxy csrf {name}".encode("utf-8", "surrogatepass")
        return hmac.new(self.settings.secret, text, hashlib.sha256).hexdigest()


def address_of(request: Request, settings: Settings) -> str:
    """Where a request is from: the last address that no trusted proxy has."""
    address = _peer(request)
    hops = ",".join(request.headers.getlist(FORWARDED)).split(",")
    while hops and _trusted(address, settings.trusted_proxies):
        before = hops.pop().strip()
        if not _is_address(before):
            break
        address = before
    return address


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""


def _trusted(address: str, networks: tuple[Network, ...]) -> bool:
    return _is_address(address) and any(ip_address(address) in each for each in networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
