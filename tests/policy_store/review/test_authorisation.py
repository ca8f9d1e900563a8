"""Who may use which route: every route of the site, for every kind of visitor, by two tables.

A route that stands in no table fails the test: whoever adds one says here who it is for.
"""

import shutil
from datetime import timedelta

import pytest
from fastapi.routing import iter_route_contexts
from visiting import visiting

from policy_store import PolicyStore
from policy_store.records import Role, Scope

ROUTES = """
open      GET     /sign-in
open      POST    /sign-in
open      GET     /sign-in/provider
open      GET     /sign-in/provider/back
open      GET     /welcome/{secret}
open      POST    /welcome/{secret}
open      GET     /link/{secret}
open      POST    /link/{secret}
open      GET     /static/{digest}/{name}
open      GET     /api/v1/openapi.json

viewer    GET     /
viewer    GET     /policies
viewer    GET     /policies/{policy}
viewer    GET     /policies/{policy}/source
viewer    GET     /policies/{policy}/export
viewer    GET     /diff
viewer    GET     /live
viewer    GET     /lineage
viewer    GET     /events
viewer    GET     /runs
viewer    GET     /runs/{run}
viewer    GET     /audit
viewer    GET     /audit/verify
viewer    GET     /audit/export
viewer    GET     /audit/{sequence}
viewer    GET     /policies/{policy}/explore
viewer    GET     /policies/{policy}/last-hour
viewer    GET     /policies/{policy}/explore
reviewer  POST    /policies/{policy}/last-hour
reviewer  POST    /policies/{policy}/{verb}
reviewer  POST    /roll-back
reviewer  POST    /live/renew
reviewer  POST    /live/remark
viewer    GET     /rules
admin     POST    /rules/preview
admin     POST    /rules
admin     POST    /rules/{name}/remove

viewer    GET     /account
viewer    POST    /account/password
viewer    POST    /account/sessions/end
viewer    POST    /account/sessions/end-all
viewer    POST    /account/tokens
viewer    POST    /account/tokens/revoke
viewer    POST    /sign-out
admin     GET     /people
admin     POST    /people
admin     POST    /people/role
admin     POST    /people/disable
admin     POST    /people/enable
admin     POST    /people/link

viewer    GET     /api/v1/policies
reviewer  POST    /api/v1/policies
viewer    GET     /api/v1/policies/{policy}
viewer    GET     /api/v1/policies/{policy}/source
viewer    GET     /api/v1/policies/{policy}/documents
viewer    GET     /api/v1/policies/{policy}/documents/{document}
viewer    GET     /api/v1/policies/{policy}/diff
viewer    GET     /api/v1/policies/{policy}/diff/{other}
viewer    GET     /api/v1/policies/{policy}/offers
viewer    GET     /api/v1/policies/{policy}/history
reviewer  POST    /api/v1/policies/{policy}/decisions
reviewer  POST    /api/v1/policies/{policy}/remarks
viewer    GET     /api/v1/live
viewer    GET     /api/v1/live/hosts
viewer    GET     /api/v1/live/activations
reviewer  POST    /api/v1/live/roll-back
reviewer  POST    /api/v1/live/renew
viewer    GET     /api/v1/runs
viewer    GET     /api/v1/runs/{run}
viewer    GET     /api/v1/runs/{run}/events
viewer    GET     /api/v1/audit
viewer    GET     /api/v1/audit/verification
viewer    GET     /api/v1/rules
admin     POST    /api/v1/rules
admin     POST    /api/v1/rules/{name}/remove
viewer    GET     /api/v1/policies/{policy}/judgements
viewer    GET     /api/v1/me
viewer    GET     /api/v1/tokens
person    POST    /api/v1/tokens
person    DELETE  /api/v1/tokens/{token}
admin     GET     /api/v1/people
admin     POST    /api/v1/people
admin     PATCH   /api/v1/people/{name}
admin     POST    /api/v1/people/{name}/link
host      GET     /api/v1/deployments/{name}/snapshot
host      POST    /api/v1/hosts/report
"""

# in: let in, whatever comes of the request then; no: 403; out: has to sign in first.
# The tokens `read`, `decide`, `administer` and `host` are an admin's, with that scope alone;
# `person` routes are for no token, `host` routes for no person. Beside the table, no token sends a
# form, and no_csrf, an admin whose requests lack what its session was given, changes nothing.
VISITORS = """
              open  viewer  reviewer  admin  person  host
stranger      in    out     out       out    out     out
viewer        in    in      no        no     in      no
reviewer      in    in      in        no     in      no
admin         in    in      in        in     in      no
read          in    in      no        no     no      no
decide        in    no      in        no     no      no
administer    in    no      no        in     no      no
host          in    no      no        no     no      in
viewer_token  in    in      no        no     no      no
disabled      in    out     out       out    out     out
expired       in    out     out       out    out     out
forged        in    out     out       out    out     out
no_csrf       in    in      in        in     in      no
"""

WANTED = {tuple(line.split()[1:]): line.split()[0] for line in ROUTES.splitlines() if line.strip()}
HEAD, *ROWS = (line.split() for line in VISITORS.splitlines() if line.strip())
EXPECTED = {row[0]: dict(zip(HEAD, row[1:], strict=True)) for row in ROWS}
PARTS = {"policy": "abcdef", "verb": "approve", "other": "abcdef", "document": "abcdef",
         "run": "0" * 32, "sequence": "1", "secret": "x", "digest": "x", "name": "nobody",
         "token": "0" * 64}  # fmt: skip
# What keeps a form from meaning something, where an empty one does.
FIELDS = {"/account/password": {"password": "not the same"}}
ENDS_SESSION = {"/sign-out"}


TOKENS = {
    "read": ("admin", Scope.READ),
    "decide": ("admin", Scope.DECIDE),
    "administer": ("admin", Scope.ADMINISTER),
    "host": ("admin", Scope.HOST),
    "viewer_token": ("viewer", Scope.READ),
}


class Crowd:
    """One of each kind of visitor at a site."""

    def __init__(self, store):
        self.site = visiting(store, posts_per_minute=10**6)
        self.site.app.state.watch.stop()  # streams end at once
        self.accounts = store.accounts
        for name in (*Role, "disabled", "expired"):
            self.accounts.add(name, Role(name) if name in set(Role) else Role.ADMIN, by="root")
        self.tokens = {"forged": "evt_forged"}
        for visitor, (name, scope) in TOKENS.items():
            lasts = timedelta(days=1)
            self.tokens[visitor], _ = self.accounts.make_token(name, "ci", {scope}, lasts, by=name)

    def sign_in(self, browser, visitor):
        """Give a browser what the visitor has; returns what its forms carry."""
        if visitor in self.tokens:
            browser.headers["Authorization"] = f"Bearer {self.tokens[visitor]}"
        elif visitor != "stranger":
            name = "admin" if visitor == "no_csrf" else visitor
            lasts = timedelta(hours=-1 if visitor == "expired" else 1)
            self.accounts.enable(name, by="root")
            cookie, session = self.accounts.start_session(name, lasts, way="test")
            browser.cookies.set("evolver-session-8600", cookie)
            if visitor == "disabled":
                self.accounts.disable(name, by="root")
            return "" if visitor == "no_csrf" else session.csrf
        return ""

    def asks(self, visitor):
        """The answer to each request."""
        browser = self.site.browser()
        csrf = self.sign_in(browser, visitor)
        for method, path in WANTED:
            address, form = path.format(**PARTS), FIELDS.get(path, {}) | {"csrf": csrf}
            data = None if method == "GET" or path.startswith("/api/") else form
            headers = {"X-CSRF-Token": csrf}
            yield method, path, browser.request(method, address, headers=headers, data=data)
            if path in ENDS_SESSION:
                csrf = self.sign_in(browser, visitor)


def what_came(answer):
    """`in`, `no` or `out`."""
    assert answer.status_code < 500, answer.text
    to_sign_in = answer.headers.get("location", "").startswith("/sign-in?next=")
    if answer.status_code == 401 or (answer.status_code == 303 and to_sign_in):
        return "out"
    return "no" if answer.status_code == 403 else "in"


def expected(visitor, method, path):
    said = EXPECTED[visitor][WANTED[method, path]]
    refused = visitor == "no_csrf" or (visitor in TOKENS and not path.startswith("/api/"))
    return "no" if said == "in" and method != "GET" and refused else said


@pytest.fixture(scope="module")
def crowd(template, tmp_path_factory):
    path = shutil.copy(template, tmp_path_factory.mktemp("crowd") / "store.db")
    with PolicyStore.open(path) as store:
        yield Crowd(store)


def test_every_route_says_here_who_it_is_for(crowd):
    there = {
        (method, route.path)
        for route in iter_route_contexts(crowd.site.app.routes)
        for method in route.methods or ()
    }
    assert there - set(WANTED) == set(), "say in ROUTES who these are for"
    assert set(WANTED) - there == set(), "these are gone"


@pytest.mark.parametrize("visitor", EXPECTED)
def test_each_visitor_gets_as_far_as_the_tables_say(crowd, visitor):
    wrong = {}
    for method, path, answer in crowd.asks(visitor):
        came = what_came(answer)
        # An open form that was not given out before is refused as that, whoever sends it.
        is_open = WANTED[method, path] == "open"
        if came == "out" if is_open else came != expected(visitor, method, path):
            wrong[f"{method} {path}"] = f"{came} ({answer.status_code})"
    assert wrong == {}
