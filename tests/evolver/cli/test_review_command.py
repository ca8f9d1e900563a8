"""`evolver review`: the page as a process, from its first link to SIGTERM; people without it."""

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from http.cookies import SimpleCookie
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import pytest

from evolver.cli.review_server import WithoutSecrets
from policy_store import PolicyStore, read_snapshot
from policy_store.keys import read_trusted

PASSWORD = "four words are enough"


class NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class Browser:
    """As much of one as signing in takes."""

    def __init__(self, base):
        self.base, self.cookies = base, {}

    def ask(self, address, fields=None):
        data = urlencode(fields).encode() if fields is not None else None
        request = Request(self.base + urlsplit(address).path, data)
        request.add_header("Cookie", "; ".join(f"{k}={v}" for k, v in self.cookies.items()))
        try:
            answer = build_opener(NoRedirect).open(request, timeout=30)
        except OSError as error:  # a redirect or a refusal is an answer, too
            if not hasattr(error, "headers"):
                raise
            answer = error
        with contextlib.closing(answer):
            for text in answer.headers.get_all("Set-Cookie") or ():
                self.cookies |= {name: one.value for name, one in SimpleCookie(text).items()}
            return answer.status, answer.read().decode()


@pytest.fixture
def reviewed(home):
    """A review page in a process of its own, and what it has said so far."""
    command = [sys.executable, "-m", "evolver.cli.app", "review", "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    lines = [process.stdout.readline() for _ in range(2)]
    yield process, *(re.search(r"http://\S+", line)[0] for line in lines)
    process.kill()
    process.communicate()


def test_from_the_first_link_to_sigterm(reviewed, home):
    process, base, link = reviewed
    browser = Browser(base)
    assert browser.ask("/")[0] == 303
    status, html = browser.ask(link)
    form = re.search(r'name="form" value="(\w+)"', html)[1]
    fields = {"form": form, "name": "ada", "password": PASSWORD, "again": PASSWORD}
    assert (status, browser.ask(link, fields)[0]) == (200, 303)
    assert (browser.ask("/")[0], browser.ask(link)[0]) == (200, 410)
    assert stat.S_IMODE((home / "review.secret").stat().st_mode) == 0o600
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "GET /welcome/..." in said
    assert urlsplit(link).path.rpartition("/")[2] not in said
    assert "Traceback" not in said


STREAMING = """
import asyncio, socket
from types import SimpleNamespace
from starlette.responses import StreamingResponse
from evolver.cli.review_server import serve

async def forever():
    while True:
        yield b"data: more"
        await asyncio.sleep(0.05)

class App:
    state = SimpleNamespace(watch=SimpleNamespace(stop=lambda: None))

    async def __call__(self, scope, receive, send):
        await StreamingResponse(forever())(scope, receive, send)

listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
serve(App(), listening, quiet=True)
"""


def test_who_still_listens_to_a_stream_does_not_keep_it_from_ending():
    process = subprocess.Popen(
        [sys.executable, "-c", STREAMING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    port = int(process.stdout.readline())
    with socket.create_connection(("127.0.0.1", port)) as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stream.recv(1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")


SLOW = """
import socket
from evolver.cli import review_server

class App:
    class state:
        class watch:
            stop = staticmethod(lambda: None)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

listening = socket.create_server(("127.0.0.1", 0))
review_server.HEAD_S = 0.3
print(listening.getsockname()[1], flush=True)
review_server.serve(App(), listening, quiet=True)
"""


def test_who_never_ends_a_request_is_left():
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    address = ("127.0.0.1", int(process.stdout.readline()))
    whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with contextlib.ExitStack() as stack:
        silent, begun, served = (
            stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(3)
        )
        begun.sendall(whole[:-2])
        served.sendall(whole)
        assert served.recv(100).startswith(b"HTTP/1.1 204")
        served.sendall(whole[:-2])
        for one in (silent, begun, served):
            while one.recv(4096):  # the rest of an answer, then the end
                pass
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")


def test_a_busy_port_is_one_sentence(evolver):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = evolver("review", "--port", port)
    assert (done.code, done.out) == (1, "")
    assert f"Port {port} of 127.0.0.1 is taken" in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--host", "0.0.0.0"), "--base-url"),
        (("--base-url", "ftp://x"), "no address of a page"),
        (("--base-url", "https://x/path"), "no address of a page"),
        (("--deployment", "../x"), "no name of a deployment"),
        (("--proxy-header", "X-User"), "--trust-proxy"),
        (("--proxy-header", "X-User", "--trust-proxy", "10.0.0.1/8"), "address or network"),
        (("--proxy-role", "king"), "no role 'king'"),
        (("--oidc-issuer", "https://idp.example.org"), "--oidc-client-id"),
        (("--oidc-client-id", "x"), "--oidc-issuer"),
    ],
)
def test_what_cannot_be_meant_is_said_at_once(evolver, options, said):
    done = evolver("review", "--port", 0, *options)
    assert done.code == 2
    assert said in done.err.replace("\n", " ")


def test_a_secret_that_others_may_read_is_refused(evolver, home):
    home.mkdir()
    (home / "review.secret").write_text("a" * 64)
    (home / "review.secret").chmod(0o644)
    done = evolver("review", "--port", 0)
    assert (done.code, "Others may read" in done.err) == (1, True)


def test_the_page_writes_the_snapshot_and_tells_runs(home, screen_and_site):
    screen, site, store = screen_and_site
    from evolver.cli.review_site import publish_first

    publish_first(site, screen)
    assert not (home / "active.json").exists()
    digest = approved(store)
    store.activate(digest, 0, by="ada", note="live")
    site.publish()
    site.publish()
    snapshot = read_snapshot(home / "active.json", read_trusted(home / "trusted_keys.json"))
    assert snapshot.active.digest == digest
    run = store.runs.start_run("evolution", {"trace_name": "minute"})
    assert run.id[:12] in site.story(run.id).title


@pytest.fixture
def screen_and_site(home):
    from evolver.cli.review_site import site_of
    from evolver.cli.review_ways import Ways, page_secret
    from evolver.cli.screen import Screen
    from policy_store.review.settings import Settings

    with PolicyStore.open(home / "store.db") as store:
        settings = Settings(secret=page_secret(home))
        assert page_secret(home) == settings.secret
        yield Screen(quiet=True), site_of(store, settings, Ways(), home, Screen(quiet=True)), store


def approved(store):
    from policy_store import Origin

    version = store.propose(
        "def route(request, instances, memory):\n    return 0\n", name="p", origin=Origin.MUTATOR,
        author="mutator", contract_version=1, parameters={},
    )  # fmt: skip
    store.record_verified(version.digest, by="verifier")
    store.attach_evidence(version.digest, {"gain": 0.1}, by="simulator")
    return store.approve(version.digest, by="ada", note="good").digest


def test_people_without_a_browser(evolver):
    made = evolver("review", "user", "add", "ada", "--role", "admin")
    assert re.search(r"/link/\S{43}\n", made.out)
    assert evolver("review", "user", "add", "ben", "--no-link").out.count("\n") == 1
    evolver("review", "user", "role", "ben", "--role", "reviewer")
    evolver("review", "user", "disable", "ben")
    listed = evolver("review", "user", "list", "-o", "json").json["accounts"]
    assert [(one["name"], one["role"], one["disabled"]) for one in listed] == [
        ("ada", "admin", False), ("ben", "reviewer", True),
    ]  # fmt: skip
    assert "/link/" in evolver("review", "user", "reset", "ada").out
    assert evolver("review", "user", "disable", "ada").code == 1
    assert "kept out" not in evolver("review", "user", "disable", "ben", "--undo").out
    assert evolver("review", "user", "role", "eve", "--role", "viewer").code == 2
    assert evolver("review", "user", "add", "eve", "--role", "king").code == 2


def test_tokens_without_a_browser(evolver, home):
    evolver("review", "user", "add", "ada", "--role", "reviewer", "--no-link")
    made = evolver("review", "token", "add", "ada", "--name", "report", "--days", 7)
    with PolicyStore.open(home / "store.db") as store:
        assert store.accounts.token_of(made.out.strip())[1].name == "ada"
    (token,) = evolver("review", "token", "list", "-o", "json").json["tokens"]
    assert (token["scopes"], token["revoked_at"]) == (["read"], None)
    assert (
        evolver("review", "token", "add", "ada", "--name", "x", "--scope", "administer").code == 2
    )
    assert evolver("review", "token", "revoke", token["id"][:4]).code == 2
    assert evolver("review", "token", "revoke", token["id"][:8]).code == 0
    with PolicyStore.open(home / "store.db") as store:
        assert store.accounts.token_of(made.out.strip()) is None


def test_the_log_keeps_neither_queries_nor_links():
    import logging

    for address, kept in (
        ("/?said=x", "/"), ("/link/secret", "/link/..."), ("/welcome/s?x", "/welcome/..."),
        ("/linkage", "/linkage"),
    ):  # fmt: skip
        record = logging.makeLogRecord({"args": ("1.1.1.1:1", "GET", address, "1.1", 200)})
        assert WithoutSecrets().filter(record)
        assert record.args[2] == kept
