"""Which headers pass between clients and engines, and what the gateway adds or takes away.

Towards an engine: nothing that concerns one connection only, no key of a client unless the operator
says so, no tenant but the key's own, no `X-Evolver-*`, which are ours to say, and where the request
came from in `X-Forwarded-*`. What a client says of its own origin is believed only of a proxy that
the operator trusts.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TypeAlias

from aiohttp import web
from multidict import CIMultiDict, MultiMapping

from serving_adapter.facts import TENANT_HEADER
from serving_adapter.gateway.access import TENANT

Network: TypeAlias = IPv4Network | IPv6Network

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# The server has decompressed the body, whatever its encoding was.
OWN_REQUEST = HOP_BY_HOP | {"host", "content-length", "content-encoding", "expect"}
OWN_PREFIX = "x-evolver-"
_ORIGIN = frozenset(
    {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineHeaders:
    """What the operator says about headers on their way to engines.

    Attributes:
        trusted: networks of proxies whose `X-Forwarded-*` is believed and continued.
        forward_keys: pass the key of a client on, where clients have keys of ours.
        engine_key: shown to engines as a Bearer token, instead of whatever a client showed.
    """

    trusted: tuple[Network, ...] = ()
    forward_keys: bool = False
    engine_key: str | None = None

    def of(self, request: web.Request) -> CIMultiDict[str]:
        """The headers of a client's request as an engine gets them; a fresh copy."""
        trusted = self._is_trusted(request.remote)
        tenant = request.get(TENANT)
        dropped = OWN_REQUEST if trusted else OWN_REQUEST | _ORIGIN
        if tenant is not None:
            dropped |= {TENANT_HEADER}
        if (tenant is not None and not self.forward_keys) or self.engine_key is not None:
            dropped |= {"authorization"}
        ours = {name.lower() for name in request.headers if name.lower().startswith(OWN_PREFIX)}
        headers = end_to_end(request.headers, dropped | ours)
        if tenant is not None:
            headers["X-Tenant-Id"] = tenant
        if self.engine_key is not None:
            headers["Authorization"] = f"Bearer {self.engine_key}"
        _add_origin(headers, request)
        return headers

    def _is_trusted(self, remote: str | None) -> bool:
        if not self.trusted or not remote:
            return False
        try:
            address = ip_address(remote)
        except ValueError:
            return False
        return any(address in network for network in self.trusted)


def _add_origin(headers: CIMultiDict[str], request: web.Request) -> None:
    hops = [*headers.popall("X-Forwarded-For", []), request.remote or "unknown"]
    headers["X-Forwarded-For"] = ", ".join(hops)
    headers.setdefault("X-Forwarded-Proto", request.scheme)
    headers.setdefault("X-Forwarded-Host", request.host)


def end_to_end(headers: MultiMapping[str], dropped: frozenset[str]) -> CIMultiDict[str]:
    """Headers without those that concern one connection only, in order, repeated ones kept."""
    lists = headers.getall("Connection", ())
    named = {name.strip().lower() for one in lists for name in one.split(",")}
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in dropped and name.lower() not in named
    )
