"""What a request may be at most: refused while it comes, before anybody has to keep it."""

import asyncio
import http.client
import socket
from contextlib import closing

import pytest
from serving import served

from policy_store.records import Role, Scope
from policy_store.review import create_app
from policy_store.review.access import Visitor
from policy_store.review.bodies import MAX_BODY_BYTES, MAX_JSON_DEPTH, Bounds

POLICIES = "/api/v1/policies"


@pytest.fixture
def port(reviewing):
    reviewing.access.visitor_now = Visitor("ada", Role.REVIEWER, scopes=frozenset(Scope))
    with served(create_app(reviewing.site)) as number:
        yield number


def code_of(answer):
    return answer.json()["error"]["code"]


def test_a_body_that_says_it_is_too_long_is_not_read(reviewing):
    reviewing.as_("ada")
    answer = reviewing.browser.post(POLICIES, content=b"x" * (MAX_BODY_BYTES + 1))
    assert (answer.status_code, code_of(answer)) == (413, "too_large")
    form = reviewing.browser.post("/roll-back", content=b"x" * (MAX_BODY_BYTES + 1))
    assert (form.status_code, form.headers["content-type"][:10]) == (413, "text/plain")


def status_of_chunks(port, size):
    headers = {"Transfer-Encoding": "chunked", "Content-Type": "text/plain"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as client:
        chunks = (b"x" * size for _ in range(4))
        client.request("POST", POLICIES, chunks, headers, encode_chunked=True)
        with client.getresponse() as response:
            return response.status


def test_a_body_without_a_length_is_counted_while_it_comes(port):
    assert status_of_chunks(port, MAX_BODY_BYTES // 4) == 422  # all of it is read: no policy
    assert status_of_chunks(port, MAX_BODY_BYTES // 4 + 1) == 413


def test_a_slow_body_is_waited_for_only_so_long():
    async def never(scope, receive, send):
        raise AssertionError("nobody should see it")

    begun = b"POST /api/v1/policies HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"
    with (
        served(Bounds(never, body_s=0.1)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=20) as slow,
    ):
        slow.sendall(begun)
        assert slow.recv(100).startswith(b"HTTP/1.1 408")
        while slow.recv(4096):  # to the end: the connection is closed
            pass


@pytest.mark.parametrize("nest", ["[", '{"a":'])
def test_json_is_only_so_deep(reviewing, nest):
    reviewing.access.visitor_now = Visitor("ada", Role.REVIEWER, scopes=frozenset(Scope))
    as_json = {"Content-Type": "application/json"}
    deep = reviewing.browser.post(POLICIES, content=nest * 50_000, headers=as_json)
    assert (deep.status_code, code_of(deep)) == (400, "bad_request")
    brackets = '{"source": "' + '\\"[{' * MAX_JSON_DEPTH + '"}'
    flat = reviewing.browser.post(POLICIES, content=brackets, headers=as_json)
    assert code_of(flat) == "policy_refused"


def test_addresses_and_headers_are_only_so_long(reviewing):
    reviewing.as_("ada")
    assert reviewing.browser.get(POLICIES + "?after=" + "x" * 5000).status_code == 414
    assert reviewing.browser.get(POLICIES, headers={"X-Long": "x" * 20_000}).status_code == 431


def test_who_leaves_in_the_middle_starts_nothing():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)

    async def gone():
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    scope = {
        "type": "http", "path": "/", "headers": [(b"content-length", b"5")], "method": "POST"
    }  # fmt: skip
    asyncio.run(Bounds(app)(scope, gone, send))
    assert seen == []
