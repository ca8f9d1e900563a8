"""Whose word about who asks is believed, as it is typed: proxies, an identity provider; secrets."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING

from evolver.cli.failures import Declined, Misused
from evolver.cli.review_people import role_of

if TYPE_CHECKING:
    from policy_store.records import Role
    from policy_store.review.oidc import Trust

SECRET_BYTES, MAX_SECRET_BYTES = 32, 4096


@dataclass(frozen=True, slots=True)
class Ways:
    """Whose word about who asks is believed, beside passwords and tokens.

    Attributes:
        header: in which proxies among `trusted` name people; None for no such header.
        proxy_role: of people that they name and nobody knows; None refuses them.
        provider: an OpenID Connect provider; None for none.
    """

    header: str | None = None
    trusted: tuple[IPv4Network | IPv6Network, ...] = ()
    proxy_role: Role | None = None
    provider: Trust | None = None

    def __post_init__(self) -> None:
        if self.header is not None and not self.trusted:
            raise Misused(
                "Anybody can send a header: say with --trust-proxy whose --proxy-header counts."
            )
        if self.proxy_role is not None and self.header is None:
            raise Misused("--proxy-role is for people named by --proxy-header.")


def page_secret(home: Path) -> bytes:
    """What signs the page's forms: made on the first start, the same ever after.

    Raises:
        Declined: others may read the file.
    """
    from policy_store.files import create_file

    path = home / "review.secret"
    home.mkdir(parents=True, exist_ok=True)
    create_file(path, secrets.token_hex(SECRET_BYTES).encode("ascii"), 0o600)
    content = _read_secret(path)
    if len(content) < 2 * SECRET_BYTES:
        raise Declined(f"{path} is damaged; the next start makes another.", f"rm {path}")
    return content


def trust_in(
    issuer: str | None, client: str | None, secret: Path | None, name_claim: str,
    groups_claim: str, roles: Sequence[str],
) -> Trust | None:  # fmt: skip
    """What is believed of the provider that was named; None when none was.

    Raises:
        Misused: half of it is missing.
    """
    if issuer is None:
        if client or secret or groups_claim or roles:
            raise Misused("Options of a provider need the provider: --oidc-issuer URL.")
        return None
    if not client or secret is None:
        raise Misused("A provider knows this page by --oidc-client-id and --oidc-secret-file.")
    try:
        from policy_store.review.oidc import Trust, check_installed

        check_installed()
    except ImportError:
        raise Declined(
            "Sign-in through a provider is an extra that is not installed.",
            "pip install 'evolver[oidc]'",
        ) from None
    text = _read_secret(secret).decode("utf-8").strip()
    return Trust(issuer, client, text, name_claim, groups_claim, dict(map(_group, roles)))


def _group(text: str) -> tuple[str, Role]:
    group, equals, word = text.rpartition("=")
    role = role_of(word)
    if not equals or not group or role is None:
        raise Misused(f"A group's role is written GROUP=ROLE, not {text!r}.")
    return group, role


def _read_secret(path: Path) -> bytes:
    from policy_store.files import open_file

    with open_file(path) as file:
        found = os.fstat(file.fileno())
        content = file.read(MAX_SECRET_BYTES)
    if stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid not in (0, os.geteuid()):
        raise Declined(
            f"Others may read the secret in {path}: make another, which only you can read.",
            f"chmod 600 {path}",
        )
    return content
