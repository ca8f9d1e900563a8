"""How one review page runs: addresses, lifetimes, and which ways of signing in it trusts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network

from policy_store.records import DEFAULT_DEPLOYMENT

Network = IPv4Network | IPv6Network
PORT = 8600
SESSION_LASTS, SESSION_IDLES = timedelta(hours=12), timedelta(hours=2)
POSTS_PER_MINUTE = 120


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person who starts the page decides.

    Attributes:
        secret: 32 bytes or more that sign what forms carry; the same on every start, or pages
            that were open before it are stale.
        base_url: as browsers reach the page, without a slash at the end; cookies are for HTTPS
            only when it starts with https.
        deployment: whose slots the pages show and decide on.
        signals: signal profile of the door that the deployment decides behind; None when nobody
            says, and then no approval asks whether a policy's proof speaks for it there.
        canary_weight: share of traffic of a canary that nobody chose a weight for.
        session_lasts, session_idles: a session ends so long after sign-in, or after its last use.
        posts_per_minute: of one visitor; more are put off.
        trusted_proxies: whose word about who sent a request, and from where, counts.
    """

    secret: bytes
    base_url: str = f"http://127.0.0.1:{PORT}"
    deployment: str = DEFAULT_DEPLOYMENT
    signals: str | None = None
    canary_weight: float = 0.05
    session_lasts: timedelta = SESSION_LASTS
    session_idles: timedelta = SESSION_IDLES
    posts_per_minute: int = POSTS_PER_MINUTE
    trusted_proxies: tuple[Network, ...] = ()

    @property
    def https(self) -> bool:
        """Whether browsers reach the page over TLS."""
        return self.base_url.startswith("https://")
