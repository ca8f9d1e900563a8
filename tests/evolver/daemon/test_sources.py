"""Sources of cluster events: the webhook, Ray's table of nodes, engines that answer or do not."""

from __future__ import annotations

import json

import pytest

from evolver.daemon.sources_fleet import EngineFleet, gateway_nodes
from evolver.daemon.sources_ray import RayNodes
from evolver.daemon.sources_webhook import EventsRefused, Webhook
from telemetry.cluster_events import Change, Node
from telemetry.cluster_state import LiveCluster
from telemetry.scrape import ScrapeBook, read_scrape

T = 1_800_000_000.0
TOKEN = "correct horse battery staple"
ROW = {"unix_s": T, "change": "leaving", "node": "a", "gpus": 8, "until_unix_s": T + 120}


def hook():
    return Webhook(TOKEN, clock=lambda: T + 5)


def test_rows_with_the_token_are_taken():
    (event,) = hook().take(json.dumps(ROW).encode(), f"Bearer {TOKEN}")
    assert (event.change, event.node.gpus) == (Change.LEAVING, 8)


@pytest.mark.parametrize("said", [None, "", TOKEN, "Bearer", f"Basic {TOKEN}", "Bearer \udcff x"])
def test_nobody_else_is_heard(said):
    with pytest.raises(EventsRefused) as refused:
        hook().take(json.dumps(ROW).encode(), said)
    assert refused.value.status == 401
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("row", [{"unix_s": T + 900}, {"unix_s": T - 1e6}, {"gpus": -1}])
def test_one_bad_row_refuses_the_call(row):
    body = json.dumps([ROW, {**ROW, **row}]).encode()
    with pytest.raises(EventsRefused, match=r"Row 2|line 2") as refused:
        hook().take(body, f"Bearer {TOKEN}")
    assert refused.value.status == 400


def test_a_short_token_keeps_nobody_out():
    with pytest.raises(EventsRefused):
        Webhook("secret")


def ray_row(name, alive=True, gpus=8.0, reason=0):
    resources = {"CPU": 16.0, "GPU": gpus, "accelerator_type:H100": 1.0} if alive else {}
    return {"NodeID": name, "Alive": alive, "Resources": resources, "DeathReason": reason,
            "Labels": {"ray.io/availability-zone": "z1"}}  # fmt: skip


def test_rays_dead_nodes_have_failed_or_were_ended():
    table = [ray_row("a"), ray_row("b"), ray_row("c", gpus=0), {"NodeID": 3, "Alive": True}, None]
    clock, cluster = iter((T, T + 10, T + 20)), LiveCluster()
    source = RayNodes(lambda: table, clock=lambda: next(clock))
    assert [e.node for e in source.poll(cluster)] == [
        Node("a", 8, "H100", "z1"), Node("b", 8, "H100", "z1")]  # fmt: skip
    table[:2] = [ray_row("a", alive=False, reason=2), ray_row("b", alive=False, reason=1)]
    found = {e.node.name: e.change for e in source.poll(cluster)}
    assert found == {"a": Change.FAILED, "b": Change.GONE}
    assert source.poll(cluster) == ()
    assert cluster.trace(T, T + 30).unannounced.tolist() in ([True, False], [False, True])


def test_an_engine_that_stops_answering_has_failed_and_comes_again():
    book, cluster = ScrapeBook(), LiveCluster()
    fleet = EngineFleet(book, lambda name: Node(name, 2, "H100"))
    for name in ("e0", "e1"):
        book.answered(name, read_scrape(T, "vllm:num_requests_running 1\n"))
    book.failed("never")
    assert len(fleet.poll(cluster, T + 1)) == 2
    book.failed("e1")
    assert fleet.poll(cluster, T + 2) == ()
    book.failed("e1")
    assert [e.change for e in fleet.poll(cluster, T + 3)] == [Change.FAILED]
    book.answered("e1", read_scrape(T + 4, "vllm:num_requests_running 0\n"))
    assert [e.change for e in fleet.poll(cluster, T + 5)] == [Change.PRESENT]
    assert cluster.pools(T + 6)[0].present == 4


def test_a_gateway_counts_its_engines():
    found = gateway_nodes("# TYPE x gauge\nevolver_engines_open 2.0\n", Node("g", 4, "H100"))
    assert [node.name for node in found] == ["g-0", "g-1"]
    assert gateway_nodes("evolver_engines_open -1\n", Node("g")) is None
    assert gateway_nodes("", Node("g")) is None
