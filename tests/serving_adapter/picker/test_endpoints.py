"""Engines by address: names that stand for several, and that change."""

import asyncio
import socket

import aiohttp
import pytest

from serving_adapter.facts import RequestFacts
from serving_adapter.gateway.engines import EngineSet
from serving_adapter.picker.endpoints import Endpoints

FACTS = RequestFacts(arrived_s=0.0, prompt_tokens=1)
PODS = "http://engines.test:8000"


@pytest.fixture
def names(monkeypatch):
    """What names stand for; one without addresses is not resolved."""
    known: dict[str, list[str]] = {}

    async def getaddrinfo(_, host, port, **__):
        if not known.get(host):
            raise socket.gaierror
        return [(2, 1, 6, "", (address, port)) for address in known[host]]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return known


@pytest.fixture
async def endpoints(new_host, names):
    host = new_host(0)
    async with aiohttp.ClientSession() as session:
        yield Endpoints(EngineSet(host, session), host.table, {PODS: None})


async def test_a_name_stands_for_all_its_addresses_and_follows_them(endpoints, names):
    names["engines.test"] = ["10.0.0.1", "10.0.0.2", "fd00::1"]
    await endpoints.resolve()
    now = ["10.0.0.1:8000", "10.0.0.2:8000", "[fd00::1]:8000"]
    assert sorted(endpoints.others(FACTS, 0.0, frozenset(), 9)) == now
    second = endpoints.instance_id("10.0.0.2:8000")
    names["engines.test"] = ["10.0.0.2", "10.0.0.3"]
    await endpoints.resolve()
    now = ["10.0.0.2:8000", "10.0.0.3:8000"]
    assert sorted(endpoints.others(FACTS, 0.0, frozenset(), 9)) == now
    assert endpoints.instance_id("10.0.0.2:8000") == second
    assert endpoints.instance_id("10.0.0.1:8000") is None


async def test_an_address_of_two_names_stays_while_either_names_it(new_host, names):
    host, other = new_host(0), "http://other.test:8000"
    names |= {"engines.test": ["10.0.0.1", "10.0.0.2"], "other.test": ["10.0.0.1"]}
    async with aiohttp.ClientSession() as session:
        endpoints = Endpoints(EngineSet(host, session), host.table, {PODS: None, other: None})
        await endpoints.resolve()
        known = endpoints.instance_id("10.0.0.1:8000")
        names["engines.test"] = ["10.0.0.2"]
        await endpoints.resolve()
        assert endpoints.instance_id("10.0.0.1:8000") == known is not None
        names["other.test"] = ["10.0.0.2"]
        await endpoints.resolve()
        assert endpoints.instance_id("10.0.0.1:8000") is None


async def test_a_name_that_is_not_resolved_keeps_its_addresses(endpoints, names):
    names["engines.test"] = ["10.0.0.1"]
    await endpoints.resolve()
    names.clear()
    await endpoints.resolve()
    assert endpoints.others(FACTS, 0.0, frozenset(), 9) == ["10.0.0.1:8000"]


async def test_an_address_needs_no_name(new_host, names):
    host = new_host(0)
    async with aiohttp.ClientSession() as session:
        urls = dict.fromkeys(["http://10.0.0.1:8000", "http://[fd00::1]", PODS])
        endpoints = Endpoints(EngineSet(host, session), host.table, urls)
        await endpoints.resolve()
        assert endpoints.outside(["10.0.0.1:8000"]) == {endpoints.instance_id("[fd00::1]:80")}
