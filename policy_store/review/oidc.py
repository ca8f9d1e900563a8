"""Sign-in through an OpenID Connect provider: authorization code with PKCE, state and nonce.

The provider says who somebody is; whether they may come in, and in which role, is said here: by an
account that an admin made for them, or by a configured meaning of their groups. Known once, they
are known by issuer and subject, whatever they are called later.
"""

from __future__ import annotations

import secrets
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from policy_store.accounts import Accounts
from policy_store.errors import InvalidInput, SignInRefused, UnknownAccount
from policy_store.people import Account
from policy_store.records import Role
from policy_store.review.access import RANK

if TYPE_CHECKING:
    import httpx2
    from authlib.integrations.httpx_client import OAuth2Client  # type: ignore[import-untyped]  # has no types

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
              "Ed25519", "EdDSA"]  # fmt: skip
"""Signatures that only the provider can make: none that the client's own secret makes, too."""
BACK = "/sign-in/provider/back"
TIMEOUT_S, LEEWAY_S = 10.0, 60
KEYS_KEPT_S, KEYS_ASKED_S = 3600.0, 30.0
MAX_ANSWER_BYTES = 1 << 20


class ProviderUnavailable(Exception):
    """The provider does not answer, or not as it should."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What is believed of a provider.

    Attributes:
        issuer: its address, exactly as its ID tokens say.
        name_claim: names the account; people must not be able to choose it themselves.
        groups_claim: lists groups; empty when accounts here have the roles.
        roles: what a group means; who is in several gets the highest.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    name_claim: str = "preferred_username"
    groups_claim: str = ""
    roles: Mapping[str, Role] = field(default_factory=dict)
    scopes: str = "openid profile email"

    def __post_init__(self) -> None:
        parts = urlsplit(self.issuer)
        loopback = parts.hostname in ("127.0.0.1", "localhost", "::1")
        if parts.scheme != "https" and not (loopback and parts.scheme == "http"):
            raise InvalidInput(f"{self.issuer!r} is no issuer: give its https address.")
        if bool(self.groups_claim) != bool(self.roles):
            raise InvalidInput("Groups need both: the claim that lists them, and their roles.")


@dataclass(frozen=True, slots=True)
class Flow:
    """What a browser keeps between going to the provider and coming back; used once."""

    state: str
    nonce: str
    verifier: str
    next: str


def check_installed() -> None:
    """Pass when what this needs is installed.

    Raises:
        ImportError: it is not.
    """
    for name in ("httpx2", "authlib.integrations.httpx_client", "joserfc"):
        import_module(name)


class Provider:
    """One provider; safe to use from many threads."""

    def __init__(self, trust: Trust, base_url: str) -> None:
        self.trust = trust
        self._back = base_url + BACK
        self._turn = threading.Lock()
        self._metadata: dict[str, Any] = {}
        self._keys: tuple[dict[str, Any], float] = ({}, float("-inf"))
        self._tls = ssl.create_default_context()  # slow to make, so made once

    @property
    def name(self) -> str:
        """What people know it by."""
        return urlsplit(self.trust.issuer).hostname or self.trust.issuer

    def begin(self, next_: str) -> tuple[str, Flow]:
        """Where a browser goes to sign in, and what it keeps meanwhile.

        Raises:
            ProviderUnavailable: it cannot be asked how to.
        """
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        flow = Flow(state, nonce, verifier, next_)
        address = self._described()["authorization_endpoint"]
        with self._client() as client:
            url, _ = client.create_authorization_url(
                address, state=flow.state, nonce=flow.nonce, code_verifier=flow.verifier
            )
        return str(url), flow

    def finish(self, flow: Flow, *, code: str, state: str, issuer: str = "") -> Mapping[str, Any]:
        """What the provider says of whom it sent back, once all of it is checked.

        Raises:
            SignInRefused: it did not send this browser back, or its word cannot be trusted.
            ProviderUnavailable: it cannot be asked.
        """
        known = secrets.compare_digest(flow.state.encode(), state.encode("utf-8", "replace"))
        if not known or issuer not in ("", self.trust.issuer) or not code:
            raise SignInRefused("That sign-in was not begun in this browser: begin it again.")
        token = self._exchanged(code, flow.verifier)
        return self._checked(token, flow.nonce)

    def _exchanged(self, code: str, verifier: str) -> Mapping[str, Any]:
        from authlib.integrations.base_client import (  # type: ignore[import-untyped]  # has no types
            OAuthError,
        )

        with _asking(self.name), self._client() as client:
            try:
                token: Mapping[str, Any] = client.fetch_token(
                    self._described()["token_endpoint"], grant_type="authorization_code",
                    code=code, code_verifier=verifier,
                )  # fmt: skip
            except OAuthError as error:
                raise SignInRefused(
                    f"{self.name} did not accept the sign-in ({str(error.error)[:80]}): begin it "
                    "again."
                ) from None
        return token

    def _checked(self, token: Mapping[str, Any], nonce: str) -> Mapping[str, Any]:
        from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]  # has no types
        from joserfc.errors import JoseError

        trust = self.trust
        wanted = {"iss": {"essential": True, "value": trust.issuer},
                  "aud": {"essential": True, "value": trust.client_id}}  # fmt: skip
        known = {"nonce": nonce, "client_id": trust.client_id,
                 "access_token": token.get("access_token")}  # fmt: skip
        try:
            signed = self._signed(str(token.get("id_token", "")))
            claims = CodeIDToken(signed.claims, signed.header, wanted, known)
            claims.validate(leeway=LEEWAY_S)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise SignInRefused(
                f"What {self.name} said cannot be trusted ({str(error)[:80]}): begin again, and "
                "tell an admin if it stays so."
            ) from None
        return dict(claims)

    def _signed(self, text: str) -> Any:  # noqa: ANN401  # joserfc's own type
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError
        from joserfc.jwk import KeySet
        from joserfc.jws import JWSRegistry

        def decoded(keys: dict[str, Any]) -> Any:  # noqa: ANN401
            registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
            return jwt.decode(text, KeySet.import_key_set(keys), registry=registry)  # type: ignore[arg-type]  # as it came

        try:
            return decoded(self._known_keys(KEYS_KEPT_S))
        except InvalidKeyIdError:  # a provider changes its keys from time to time
            return decoded(self._known_keys(KEYS_ASKED_S))

    def _described(self) -> Mapping[str, Any]:
        with self._turn:
            if not self._metadata:
                address = self.trust.issuer.rstrip("/") + "/.well-known/openid-configuration"
                found = self._asked(address)
                if found.get("issuer") != self.trust.issuer:
                    raise ProviderUnavailable(
                        f"{self.trust.issuer} says that it is {str(found.get('issuer'))[:200]!r}: "
                        "the page must be told its issuer exactly."
                    )
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                    if not _as_safe(found.get(name), self.trust.issuer):
                        raise ProviderUnavailable(f"{self.name} has no {name} that can be used.")
                self._metadata = found
            return self._metadata

    def _known_keys(self, kept_s: float) -> dict[str, Any]:
        address = self._described()["jwks_uri"]
        with self._turn:
            keys, at = self._keys
            if time.monotonic() - at > kept_s:
                keys = self._asked(address)
                self._keys = keys, time.monotonic()
            return keys

    def _asked(self, address: str) -> dict[str, Any]:
        with _asking(self.name), self._client() as client:
            answer = client.request("GET", address, withhold_token=True)
            answer.raise_for_status()
            found = answer.json()
            if not isinstance(found, dict):
                raise ValueError("the answer is no JSON object")
            return found

    def _client(self) -> OAuth2Client:
        from authlib.integrations.httpx_client import OAuth2Client

        return OAuth2Client(
            self.trust.client_id, self.trust.client_secret, scope=self.trust.scopes,
            redirect_uri=self._back, code_challenge_method="S256", timeout=TIMEOUT_S,
            verify=self._tls, headers={"Accept-Encoding": "identity"},
            event_hooks={"response": [_bounded]},
        )  # fmt: skip


def account_of(claims: Mapping[str, Any], trust: Trust, accounts: Accounts) -> Account:
    """The account of whom a provider vouches for, made or changed as their groups say.

    Raises:
        SignInRefused: there is none for them.
        LastAdmin: their groups would take the last admin away.
    """
    identity, by = f"{trust.issuer}|{claims['sub']}", f"oidc:{urlsplit(trust.issuer).hostname}"
    role = _role(claims, trust)
    try:
        account = accounts.of_identity(identity)
    except InvalidInput as error:
        raise SignInRefused(f"{error} Ask an admin.") from None
    if account is None:
        account = _introduced(claims, trust, accounts, identity, role, by)
    if account.disabled:
        raise SignInRefused(f"The account {account.name} is disabled: ask an admin.")
    if role is not None and role is not account.role:
        account = accounts.set_role(account.name, role, by=by)
    return account


def _introduced(
    claims: Mapping[str, Any], trust: Trust, accounts: Accounts, identity: str,
    role: Role | None, by: str,
) -> Account:  # fmt: skip
    """Who comes for the first time: an account that waits for them, or a new one."""
    name = claims.get(trust.name_claim)
    if not isinstance(name, str) or not name:
        raise SignInRefused(f"The provider says no {trust.name_claim} for you: ask an admin.")
    address = trust.name_claim == "email" or name == claims.get("email")
    if address and claims.get("email_verified") is not True:
        raise SignInRefused("The provider has not checked your e-mail address: have it do so.")
    try:
        accounts.get(name)
    except UnknownAccount:
        if role is None:
            raise SignInRefused(
                f"There is no account {name[:80]!r} here yet: ask an admin to make it, without a "
                "password link."
            ) from None
        try:
            return accounts.add(name, role, by=by, identity=identity)
        except InvalidInput as error:
            raise SignInRefused(f"{error} Ask an admin.") from None
    return accounts.tie(name, identity, by=by)


def _role(claims: Mapping[str, Any], trust: Trust) -> Role | None:
    """What the groups mean; None when they mean nothing here.

    Raises:
        SignInRefused: they do, and somebody is in none that matters.
    """
    if not trust.groups_claim:
        return None
    groups = claims.get(trust.groups_claim)
    found = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    roles = [trust.roles[one] for one in found if isinstance(one, str) and one in trust.roles]
    if not roles:
        raise SignInRefused("You are in no group that may come in here: ask an admin.")
    return max(roles, key=RANK.__getitem__)


def _as_safe(address: object, issuer: str) -> bool:
    """Whether an address that a provider gives is reached no less safely than the provider."""
    scheme = urlsplit(address).scheme if isinstance(address, str) else ""
    return scheme == "https" or scheme == urlsplit(issuer).scheme == "http"


def _bounded(response: httpx2.Response) -> None:
    """Have an answer end early that is too long, is packed, or goes on and on."""
    import httpx2

    class Bounded(httpx2.SyncByteStream):
        """What comes, as long as it is little and comes in time."""

        def __init__(self, stream: httpx2.SyncByteStream) -> None:
            self._stream = stream

        def close(self) -> None:
            self._stream.close()

        def __iter__(self) -> Iterator[bytes]:
            size, until_s = 0, time.monotonic() + TIMEOUT_S
            for part in self._stream:
                size += len(part)
                if size > MAX_ANSWER_BYTES or time.monotonic() > until_s:
                    raise httpx2.ReadError("the answer is too long")
                yield part

    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx2.ReadError("the answer is packed")
    stream = response.stream
    if not isinstance(stream, httpx2.SyncByteStream):
        raise httpx2.ReadError("the answer has no stream")
    response.stream = Bounded(stream)


@contextmanager
def _asking(name: str) -> Iterator[None]:
    """Turn what goes wrong with a conversation into one sentence."""
    import httpx2

    try:
        yield
    except (httpx2.HTTPError, ValueError) as error:
        raise ProviderUnavailable(
            f"{name} cannot be asked who you are ({type(error).__name__}): try again, or sign in "
            "in another way."
        ) from error
