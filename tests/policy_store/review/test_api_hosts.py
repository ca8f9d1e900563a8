"""What hosts come for: the signed snapshot byte for byte, and a place to say how they stand."""

from dataclasses import replace
from datetime import timedelta

import pytest
from visiting import visiting

from policy_store.records import Role, Scope

DIGEST = "a" * 64
REPORT = {"host": "gpu-1", "deployment": "default", "sequence": 3, "digest": DIGEST,
          "facts": {"decisions": 10, "canary": "c" * 64},
          "ejections": [{"digest": "e" * 64, "sequence": 2, "kind": "error", "reason": "index",
                         "unix_s": 1.7e9}]}  # fmt: skip


@pytest.fixture
def host(store):
    """What a host has in its hand: a token of an admin, with one scope."""
    files = {"default": b'{"signed":true}'}
    site = visiting(store, lambda site: replace(site, snapshot=files.get))
    store.accounts.add("root", Role.ADMIN, by="root")
    lasts = timedelta(days=1)
    secret, _ = store.accounts.make_token("root", "gpu-1", {Scope.HOST}, lasts, by="root")
    browser = site.browser()
    browser.headers["Authorization"] = f"Bearer {secret}"
    return browser


def test_the_snapshot_comes_as_it_was_signed_and_only_once(host):
    url = "/api/v1/deployments/default/snapshot"
    answer = host.get(url)
    assert (answer.status_code, answer.content) == (200, b'{"signed":true}')
    again = host.get(url, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert host.get("/api/v1/deployments/other/snapshot").status_code == 404
    assert host.get("/api/v1/deployments/..%2Fkeys/snapshot").status_code in (404, 422)


def test_a_report_is_kept_and_its_ejections_are_in_the_audit_log(host, store):
    for _ in range(2):
        assert host.post("/api/v1/hosts/report", json=REPORT).status_code == 204
    (kept,) = store.hosts()
    assert (kept.host, kept.sequence, kept.facts["canary"]) == ("gpu-1", 3, "c" * 64)
    entries = store.audit.entries(limit=100, action="host_ejected")
    assert [(one.actor, one.subject) for one in entries] == [("gpu-1", "e" * 64)]


@pytest.mark.parametrize(
    ("change", "status"),
    [({"facts": {f"n{n}": 1 for n in range(99)}}, 422), ({"facts": {"decisions": -1}}, 422),
     ({"facts": {"x": "\u001b[2J"}}, 422), ({"facts": {"Bad Name": 1}}, 422),
     ({"facts": {"x": "y" * 99}}, 422), ({"sequence": 2**60}, 422), ({"digest": "../x"}, 422),
     ({"host": "a b"}, 422), ({"ejections": REPORT["ejections"] * 17}, 422), ({"more": 1}, 422),
     ({"deployment": "unknown"}, 404)],
)  # fmt: skip
def test_hostile_reports_are_refused(host, store, change, status):
    assert host.post("/api/v1/hosts/report", json=REPORT | change).status_code == status
    assert store.hosts() == ()


def test_there_is_an_end_to_hosts(host, store, monkeypatch):
    monkeypatch.setattr("policy_store.hosts.MAX_HOSTS", 2)
    sent = [host.post("/api/v1/hosts/report", json=REPORT | {"host": f"h{n}"}) for n in range(3)]
    assert [answer.status_code for answer in sent] == [204, 204, 422]
    assert host.post("/api/v1/hosts/report", json=REPORT | {"host": "h1"}).status_code == 204


def test_a_host_fills_the_audit_log_only_so_far(host, store, monkeypatch):
    monkeypatch.setattr("policy_store.hosts.MAX_HOST_EJECTIONS", 3)
    for first in (1, 3, 5):
        thrown = [REPORT["ejections"][0] | {"sequence": first + more} for more in (0, 1)]
        report = REPORT | {"sequence": first, "ejections": thrown}
        assert host.post("/api/v1/hosts/report", json=report).status_code == 204
    assert len(store.audit.entries(limit=100, action="host_ejected")) == 3
    (kept,) = store.hosts()
    assert (kept.sequence, len(kept.ejections)) == (5, 3)
