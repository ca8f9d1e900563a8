"""Sign-in through a real provider on loopback: discovery, keys, codes, and lies of every kind."""

import base64
import contextlib
import hashlib
import json
import threading
import time
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest

pytest.importorskip("authlib", reason="sign-in through a provider is an extra")
pytest.importorskip("httpx2", reason="sign-in through a provider is an extra")

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey
from visiting import visiting

from policy_store.errors import InvalidInput
from policy_store.records import Role
from policy_store.review.oidc import Provider, Trust

CLIENT, SECRET = "evolver", "a-secret-of-the-client-that-is-long"


@dataclass
class Issuer:
    """An OpenID Connect provider that signs everybody in as `claims`, and lies as told."""

    server: ThreadingHTTPServer
    key: ECKey
    claims: dict = field(default_factory=dict)
    lies: dict = field(default_factory=dict)
    codes: dict = field(default_factory=dict)
    signed_with: object = None
    algorithm: str = "ES256"
    sent: int = 0

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def documents(self, path):
        at = self.address
        return {
            "/.well-known/openid-configuration": {
                "issuer": at, "authorization_endpoint": f"{at}/authorize",
                "token_endpoint": f"{at}/token", "jwks_uri": f"{at}/keys",
                "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
            },
            "/keys": {"keys": [self.key.as_dict(private=False)]},
        }.get(path)  # fmt: skip

    def authorize(self, asked):
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def exchange(self, form, authorization):
        asked = self.codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(
            hashlib.sha256(form["code_verifier"].encode()).digest()
        ).rstrip(b"=")
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        good = (
            asked is not None
            and authorization == f"Basic {basic}"
            and asked["code_challenge_method"] == "S256"
            and asked["code_challenge"] == challenge.decode()
            and asked["redirect_uri"] == form["redirect_uri"]
        )
        if not good:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        body = {"iss": self.address, "aud": CLIENT, "iat": now, "exp": now + 300, "sub": "17",
                "nonce": asked["nonce"], **self.claims, **self.lies}  # fmt: skip
        key = self.signed_with or self.key
        header = {"alg": self.algorithm, "kid": self.key.kid}
        token = unsigned(header, body)
        if self.algorithm != "none":
            token = jwt.encode(header, body, key, algorithms=["ES256", "HS256"])
        return 200, {"access_token": "a", "token_type": "Bearer", "id_token": token}


def unsigned(header, body):
    parts = (json.dumps(part).encode() for part in (header, body))
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), ""])


class Handler(BaseHTTPRequestHandler):
    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        if "long" in self.server.issuer.lies:
            self.go_on(self.server.issuer.lies["long"])
            return
        found = self.server.issuer.documents(self.path)
        self.answer(404 if found is None else 200, found or {})

    def go_on(self, headers):
        """64 MiB, as far as somebody reads them."""
        self.server.issuer.sent = 0
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(1024):
                self.wfile.write(b" " * 65_536)
                self.server.issuer.sent += 65_536
        self.close_connection = True

    def do_POST(self):
        size = int(self.headers["Content-Length"])
        form = dict(parse_qsl(self.rfile.read(size).decode()))
        self.answer(*self.server.issuer.exchange(form, self.headers["Authorization"]))

    def log_message(self, *_):
        pass


@pytest.fixture
def issuer():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.issuer = Issuer(server, ECKey.generate_key("P-256", auto_kid=True))
    server.issuer.claims = {"preferred_username": "ada"}
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
    thread.start()
    yield server.issuer
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def arriving(store, issuer):
    """A site that trusts the provider, as `make(...)` of its settings."""

    def make(**fields):
        trust = Trust(issuer.address, CLIENT, SECRET, **fields)
        here = visiting(store)
        return visiting(
            store, lambda site: replace(site, provider=Provider(trust, here.site.settings.base_url))
        )

    return make


def go(browser, issuer, **changed):
    """Begin, be signed in there, and come back."""
    away = browser.get("/sign-in/provider?next=/audit")
    assert away.status_code == 303, away.text
    asked = dict(parse_qsl(urlsplit(away.headers["location"]).query))
    back = urlsplit(issuer.authorize(asked))
    answer = dict(parse_qsl(back.query)) | changed
    return browser.get(f"{back.path}?{urlencode(answer)}")


def role_of(here, name):
    return here.site.store.accounts.get(name).role


def test_who_has_an_account_comes_in_and_is_known_by_subject_from_then_on(arriving, issuer):
    here = arriving()
    accounts = here.site.store.accounts
    accounts.add("ada", Role.REVIEWER, by="root")
    browser = here.browser()
    assert "Sign in with 127.0.0.1" in browser.get("/sign-in").text
    answer = go(browser, issuer)
    assert (answer.status_code, answer.headers["location"]) == (303, "/audit")
    assert "ada" in browser.get("/").text
    assert accounts.get("ada").identity == f"{issuer.address}|17"
    issuer.claims = {"preferred_username": "renamed"}
    assert go(here.browser(), issuer).status_code == 303
    issuer.claims = {"preferred_username": "ada"}
    issuer.lies = {"sub": "18"}
    assert go(here.browser(), issuer).status_code == 403


def test_who_has_none_or_one_with_a_password_does_not(arriving, issuer):
    here = arriving()
    refused = go(here.browser(), issuer)
    assert (refused.status_code, "ask an admin" in refused.text) == (403, True)
    here.add("ada", Role.ADMIN)
    assert go(here.browser(), issuer).status_code == 403


def test_a_token_that_is_not_for_this_sign_in_is_refused(arriving, issuer):
    here = arriving()
    here.site.store.accounts.add("ada", Role.VIEWER, by="root")
    browser = here.browser()
    for issuer.lies in (
        {"nonce": "another"}, {"nonce": None}, {"aud": "another-client"},
        {"aud": [CLIENT, "another"], "azp": "another"}, {"exp": 1}, {"iss": "https://evil.example"},
        {"at_hash": "AAAA"}, {"sub": None},
    ):  # fmt: skip
        assert go(browser, issuer).status_code == 403, issuer.lies
        assert browser.get("/").status_code == 303
    issuer.lies = {}
    assert go(browser, issuer).status_code == 303


def test_a_token_that_another_key_signed_is_refused(arriving, issuer):
    here = arriving()
    here.site.store.accounts.add("ada", Role.VIEWER, by="root")
    issuer.signed_with = ECKey.generate_key("P-256")
    assert go(here.browser(), issuer).status_code == 403
    # with what the client knows, too, as the key; or by nobody
    issuer.algorithm, issuer.signed_with = "HS256", OctKey.import_key(SECRET)
    assert go(here.browser(), issuer).status_code == 403
    issuer.algorithm = "none"
    assert go(here.browser(), issuer).status_code == 403


def test_keys_that_changed_meanwhile_are_asked_for_again(arriving, issuer, monkeypatch):
    monkeypatch.setattr("policy_store.review.oidc.KEYS_ASKED_S", 0.0)
    here = arriving()
    here.site.store.accounts.add("ada", Role.VIEWER, by="root")
    assert go(here.browser(), issuer).status_code == 303
    issuer.key = ECKey.generate_key("P-256", auto_kid=True)
    assert go(here.browser(), issuer).status_code == 303


def test_a_code_counts_once_and_in_the_browser_that_began(arriving, issuer):
    here = arriving()
    here.site.store.accounts.add("ada", Role.VIEWER, by="root")
    victim, attacker = here.browser(), here.browser()
    away = attacker.get("/sign-in/provider")
    asked = dict(parse_qsl(urlsplit(away.headers["location"]).query))
    back = issuer.authorize(asked)
    path = back.removeprefix(here.site.settings.base_url)
    assert victim.get(path).status_code == 403
    flow = attacker.cookies["evolver-provider-8600"]
    assert attacker.get(path).status_code == 303
    assert attacker.get(path).status_code == 403
    attacker.cookies.set("evolver-provider-8600", flow, domain="127.0.0.1")
    again = attacker.get(path)
    assert (again.status_code, "invalid_grant" in again.text) == (403, True)
    assert go(here.browser(), issuer, state="another").status_code == 403
    assert go(here.browser(), issuer, iss="https://evil.example").status_code == 403
    assert go(here.browser(), issuer, error="access_denied").status_code == 403


def test_the_request_asks_for_a_code_with_proof(arriving, issuer):
    away = arriving().browser().get("/sign-in/provider?next=//evil.example")
    asked = parse_qs(urlsplit(away.headers["location"]).query)
    assert asked["response_type"] == ["code"]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == ["http://127.0.0.1:8600/sign-in/provider/back"]
    assert {"state", "nonce", "code_challenge"} < set(asked)


def test_groups_give_and_take_roles(arriving, issuer):
    here = arriving(groups_claim="groups", roles={"eng": Role.VIEWER, "sre": Role.REVIEWER})
    issuer.claims |= {"groups": ["eng", "sre", "other"]}
    assert go(here.browser(), issuer).status_code == 303
    assert role_of(here, "ada") is Role.REVIEWER
    issuer.claims |= {"groups": ["eng"]}
    assert go(here.browser(), issuer).status_code == 303
    assert role_of(here, "ada") is Role.VIEWER
    for groups in ([], None, "none", [17], {"eng": 1}):
        issuer.claims |= {"groups": groups}
        assert go(here.browser(), issuer).status_code == 403
    entry = here.site.store.audit.entries(subject="ada")[0]
    assert (entry.actor, entry.action) == ("oidc:127.0.0.1", "account_made")


def test_an_address_counts_only_when_the_provider_has_checked_it(arriving, issuer):
    here = arriving(name_claim="email")
    here.site.store.accounts.add("ada@example.org", Role.VIEWER, by="root")
    for verified in (False, None, "true"):
        issuer.claims = {"email": "ada@example.org", "email_verified": verified}
        assert go(here.browser(), issuer).status_code == 403
    issuer.claims = {"email": "ada@example.org", "email_verified": True}
    assert go(here.browser(), issuer).status_code == 303


def test_a_disabled_account_stays_out(arriving, issuer):
    here = arriving()
    here.site.store.accounts.add("ada", Role.VIEWER, by="root")
    assert go(here.browser(), issuer).status_code == 303
    here.site.store.accounts.disable("ada", by="root")
    assert go(here.browser(), issuer).status_code == 403


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
def test_a_provider_that_answers_without_end_is_cut_off(arriving, issuer, headers):
    issuer.lies["long"] = headers
    answer = arriving().browser().get("/sign-in/provider")
    assert (answer.status_code, "cannot be asked who you are" in answer.text) == (503, True)
    issuer.server.shutdown()
    assert issuer.sent < 1 << 25


def test_a_provider_that_does_not_answer_is_one_sentence(store):
    trust = Trust("http://127.0.0.1:9", CLIENT, SECRET)
    here = visiting(store, lambda site: replace(site, provider=Provider(trust, "http://x")))
    answer = here.browser().get("/sign-in/provider")
    assert (answer.status_code, "cannot be asked who you are" in answer.text) == (503, True)


@pytest.mark.parametrize("issuer_address", ["http://idp.example.org", "idp", "javascript:x"])
def test_an_issuer_without_tls_is_refused(issuer_address):
    with pytest.raises(InvalidInput):
        Trust(issuer_address, CLIENT, SECRET)


def test_without_a_provider_there_is_no_such_page(store):
    assert visiting(store).browser().get("/sign-in/provider").status_code == 404
