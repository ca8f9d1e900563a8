"""`evolver review`: the review page as a process, for people who decide in a browser."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from evolver.cli.failures import Declined, Misused
from evolver.cli.options import Quiet, screen_of
from evolver.cli.policies import open_store
from evolver.cli.publishing import USUAL, snapshot_path, user_name
from evolver.cli.review_people import role_of, token_app, user_app
from evolver.cli.screen import Screen
from sandbox.home import home

if TYPE_CHECKING:
    import socket

    from evolver.cli.review_ways import Ways
    from policy_store.review.last_hours import Recent
    from policy_store.review.settings import Settings
    from policy_store.store import PolicyStore

PORT = 8600
_BASE = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?/?")

review_app = typer.Typer(
    name="review", help="The review page: evidence to read, decisions to answer for."
)
review_app.add_typer(user_app)
review_app.add_typer(token_app)

Address = Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")]
BaseUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="As browsers reach the page, if not like that.")
]
Deployment = Annotated[str, typer.Option(metavar="NAME", help="Whose policies are decided on.")]
CanaryWeight = Annotated[
    float, typer.Option(min=0.001, max=0.5, help="Share of traffic of a canary, unless chosen.")
]
Door = Annotated[
    str | None,
    typer.Option(
        "--signals",
        metavar="NAME",
        help="What the deployment's door tells policies: gateway, ...; else nobody asks.",
    ),
]
ProxyHeader = Annotated[
    str | None, typer.Option(metavar="NAME", help="In which a trusted proxy names who asks.")
]
TrustProxy = Annotated[
    list[str] | None,
    typer.Option(metavar="CIDR", help="Addresses of proxies whose word counts; repeatable."),
]
ProxyRole = Annotated[
    str | None, typer.Option(metavar="ROLE", help="Of whom the proxy names and nobody knows.")
]
Issuer = Annotated[
    str | None, typer.Option(metavar="URL", help="Of an OpenID Connect provider to sign in with.")
]
Client = Annotated[str | None, typer.Option(metavar="ID", help="This page's, at the provider.")]
ClientSecret = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Holds its secret; nobody else may read it.")
]
NameClaim = Annotated[str, typer.Option(metavar="NAME", help="Names the account; fixed by admins.")]
GroupsClaim = Annotated[str, typer.Option(metavar="NAME", help="Lists groups, which give roles.")]
GroupRoles = Annotated[
    list[str] | None,
    typer.Option("--oidc-role", metavar="GROUP=ROLE", help="What a group means; repeatable."),
]

Requests = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The gateway's request log, to replay its last hour."),
]
ClusterName = Annotated[
    str | None, typer.Option(metavar="FILE|NAME", help="With --requests: what serves them.")
]


@review_app.callback(invoke_without_command=True)
def review(
    context: typer.Context,
    host: Address = "127.0.0.1",
    port: Port = PORT,
    base_url: BaseUrl = None,
    deployment: Deployment = USUAL,
    canary_weight: CanaryWeight = 0.05,
    signals: Door = None,
    proxy_header: ProxyHeader = None,
    trust_proxy: TrustProxy = None,
    proxy_role: ProxyRole = None,
    requests: Requests = None,
    cluster: ClusterName = None,
    oidc_issuer: Issuer = None,
    oidc_client_id: Client = None,
    oidc_secret_file: ClientSecret = None,
    oidc_name_claim: NameClaim = "preferred_username",
    oidc_groups_claim: GroupsClaim = "",
    oidc_role: GroupRoles = None,
    quiet: Quiet = False,
) -> None:
    """Serve the review page; the first start prints a link that makes the first admin.

    SIGTERM or Ctrl-C ends it.

    \b
    evolver review                               on this machine only
    evolver review --host 0.0.0.0 --base-url https://review.example.org
    evolver review user add ada --role reviewer  without a browser
    evolver review --requests requests.jsonl --cluster mine.toml
    """
    screen = screen_of(context, quiet)
    if context.invoked_subcommand is not None:
        return
    from evolver.cli.review_site import recent_requests
    from evolver.cli.review_ways import Ways, trust_in

    if signals is not None:
        from sandbox.signal_profiles import signal_profile

        signals = signal_profile(signals).name
    recent = recent_requests(requests, cluster)
    snapshot_path(home(), deployment)
    trust = trust_in(
        oidc_issuer, oidc_client_id, oidc_secret_file, oidc_name_claim, oidc_groups_claim,
        oidc_role or [],
    )  # fmt: skip
    ways = Ways(proxy_header, _networks(trust_proxy or []), role_of(proxy_role), trust)
    with _listening(host, port) as socket_:
        address = base_url or _usual_base(host, socket_.getsockname()[1])
        settings = partial(
            _settings, base=_base(address), deployment=deployment, weight=canary_weight,
            ways=ways, signals=signals,
        )  # fmt: skip
        _run(screen, socket_, settings, ways, recent)


def _run(
    screen: Screen,
    socket_: socket.socket,
    settings_of: Callable[[], Settings],
    ways: Ways,
    recent: Callable[[], Recent | None] | None,
) -> None:
    from evolver.cli.review_server import serve
    from evolver.cli.review_site import publish_first, site_of
    from policy_store.review.app import create_app

    settings = settings_of()
    with open_store() as store:
        site = replace(site_of(store, settings, ways, home(), screen), recent=recent)
        publish_first(site, screen)
        app = create_app(site)
        _greet(screen, socket_, store, settings)
        serve(app, socket_, quiet=screen.quiet)


def _settings(
    base: str, deployment: str, weight: float, ways: Ways, signals: str | None
) -> Settings:
    from evolver.cli.review_ways import page_secret
    from policy_store.review.settings import Settings

    return Settings(
        secret=page_secret(home()), base_url=base, deployment=deployment, canary_weight=weight,
        trusted_proxies=ways.trusted, signals=signals,
    )  # fmt: skip


def _greet(screen: Screen, socket_: socket.socket, store: PolicyStore, settings: Settings) -> None:
    bound = ipaddress.ip_address(socket_.getsockname()[0])
    if not bound.is_loopback and not settings.https:
        screen.warn(
            "the page is reached from other machines without TLS, so passwords and decisions can "
            "be read and changed on the way: put a TLS proxy before it, and say --base-url "
            "https://..."
        )
    screen.text(f"review page on {settings.base_url}")
    secret = store.accounts.first_link(by=user_name())
    if secret is not None:
        screen.text(
            f"make the first admin, once, within 24 h: {settings.base_url}/welcome/{secret}"
        )


def _listening(host: str, port: int) -> socket.socket:
    import errno
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Declined(
                f"Port {port} of {host} is taken, perhaps by a review page that runs already; give "
                "another.",
                f"evolver review --port {port + 1 if port < 65535 else 0}",
            ) from None
        raise Misused(f"Nobody can listen on {host!r} port {port}: {error.strerror}.") from None


def _usual_base(host: str, port: int) -> str:
    if host in ("0.0.0.0", "::", ""):  # noqa: S104  # the question is whether somebody wants that
        raise Misused(
            "With all addresses of this machine, say how browsers reach the page: --base-url "
            "https://NAME."
        )
    return f"http://{host}:{port}"


def _base(text: str) -> str:
    """As browsers write an origin: lower case, no usual port, nothing after it."""
    if not _BASE.fullmatch(text):
        raise Misused(
            f"{text!r} is no address of a page; give one like https://review.example.org."
        )
    parts = urlsplit(text.lower().rstrip("/"))
    usual = {"http": 80, "https": 443}[parts.scheme]
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname}{port}"


def _networks(words: list[str]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    try:
        return tuple(ipaddress.ip_network(word) for word in words)
    except ValueError as error:
        raise Misused(
            f"--trust-proxy takes an address or network, such as 10.0.0.0/8; {error}."
        ) from None
