"""Law 11: nothing that a request's sender chose is kept, logged, shown or told to a model.

One gateway is sent marks in every place that a sender or an engine can fill, well-formed and not,
under a policy that faults on the way. Then everything that any part of the system wrote is
searched for the marks. Digests of names do not count: they are keyed with a secret that a gateway
draws when it starts and never writes down.
"""

import asyncio
import contextlib
import functools
import io
import itertools
import json
import logging
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp
import canaries
import pytest
from aiohttp import web
from canaries import Canaries, answers, bad_bodies, bodies, headers, metrics_page, paths, raw
from yarl import URL

from evolver.budget import Limits
from evolver.cli.evolve_report import document_of, report_of
from evolver.cli.evolve_view import EvolveView
from evolver.cli.publishing import publish, signing_key, trust_path
from evolver.cli.screen import Screen
from evolver.cli.window_report import window_blocks
from evolver.evolution import evolve
from evolver.model_endpoint import Exchange, ModelSettings, prompt_digest
from evolver.models import ModelProposer
from evolver.problem import Problem
from evolver.run_start import Writers
from policy_store import Origin, PolicyStore
from sandbox.cluster import load_cluster
from sandbox.contract import CONTRACT_VERSION
from sandbox.identity import text_digest
from sandbox.replay import LoadReport
from sandbox.report import Report
from sandbox.report_html import page_of
from sandbox.scenario import Scenario
from sandbox.scores import WindowScore
from sandbox.verifier import verify
from sandbox.windows import Windows
from serving_adapter.activation import prepare_policy
from serving_adapter.admission import Admission
from serving_adapter.emulation.emulator import Emulator, EmulatorSettings
from serving_adapter.exposition import Registry
from serving_adapter.facts import TENANT_HEADER, FactReader
from serving_adapter.gateway.gateway import Gateway, GatewaySettings
from serving_adapter.gateway.request_file import RequestFile
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable
from serving_adapter.request_log import RequestRecord
from serving_adapter.safety.dumps import dumps_in
from serving_adapter.safety.ejection import Ejection
from serving_adapter.web_server import LOOPBACK, bound_port, new_runner
from telemetry import Trace, TraceMeta, summarise
from telemetry.trace import opaque_codes

FAULTY = '''"""In turn, until it fails."""
LIMIT = 30


def route(request, instances, memory):
    memory[0] += 1.0
    turn = int(memory[0])
    return instances[turn % len(instances) + 0 // max(0, LIMIT - turn)].id
'''
IN_TURN = '''"""In turn."""


def route(request, instances, memory):
    memory[0] += 1.0
    return instances[int(memory[0]) % len(instances)].id
'''


class FlatTimes:
    """1 ms a step."""

    def step_ps(self, chunks, batch, context_tokens):
        return 1_000_000_000


@dataclass
class House:
    """A gateway that was sent everything, and all that was written on the way, by place."""

    home: Path
    canaries: Canaries = field(default_factory=Canaries)
    written: dict[str, str] = field(default_factory=dict)
    records: list[RequestRecord] = field(default_factory=list)
    ejections: list[Ejection] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    reached: set[str] = field(default_factory=set)  # places whose mark an engine has seen


class Everything(logging.Handler):
    """Keeps every record of every logger, with what it was made from."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.lines = []

    def emit(self, record):
        self.lines.append(f"{self.format(record)} {vars(record)!r}")


@contextlib.contextmanager
def all_loggers_at_debug():
    kept, root = Everything(), logging.getLogger()
    # numba writes down every instruction that it compiles, and sees no request
    named = [
        logging.getLogger(name)
        for name in logging.root.manager.loggerDict
        if not name.startswith("numba")
    ]
    levels = {logger: logger.level for logger in [root, *named]}
    for logger in levels:
        logger.setLevel(logging.DEBUG)
    logging.getLogger("numba").setLevel(logging.INFO)
    root.addHandler(kept)
    try:
        yield kept.lines
    finally:
        root.removeHandler(kept)
        for logger, level in levels.items():
            logger.setLevel(level)


def make_live(house, store, text, after):
    source = verify(text)
    digest = store.propose(
        source.canonical, name="in-turn", origin=Origin.PERSON, author="ada",
        contract_version=CONTRACT_VERSION, parameters=source.parameters(),
    ).digest  # fmt: skip
    store.record_verified(digest, by="verifier")
    store.attach_evidence(digest, {"gain": 0.1}, by="simulator")
    store.approve(digest, by="ben", note="good")
    store.activate(digest, after, by="ada", note="live")
    publish(store, house.home, signing_key(house.home, Screen(), "ada"))


async def engine(house, stack):
    """An engine of raw bytes that answers with marks only; its URL."""
    turns, page = itertools.cycle(answers(house.canaries)), metrics_page(house.canaries)

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            body = await reader.readexactly(int(length[1]) if length else 0)
            house.reached |= house.canaries.found(head + body)
            writer.write(page if head.startswith(b"GET /metrics") else next(turns))
            await writer.drain()
        writer.close()

    server = await stack.enter_async_context(await asyncio.start_server(serve, LOOPBACK, 0))
    return f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"


async def serve_application(app, stack):
    runner = new_runner(app, shutdown_timeout_s=0.1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, LOOPBACK, 0).start()
    return f"http://{LOOPBACK}:{bound_port(runner)}"


async def send(house, client, url, **options):
    try:
        target = URL(url, encoded=True)
        async with client.post(target, allow_redirects=False, **options) as answer:
            house.statuses.append(answer.status)
            await answer.read()
    except aiohttp.ClientError:
        house.statuses.append(0)


async def send_raw(house, url, data):
    reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
    writer.write(data)
    with contextlib.suppress(TimeoutError, ConnectionError):
        first = await asyncio.wait_for(reader.readline(), 0.05)
        house.statuses.append(int(first.split()[1]) if first else 0)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def send_everything(house, client, url):
    c = house.canaries
    for endpoint, body in bodies(c):
        await send(house, client, f"{url}/v1/{endpoint}", json=body, headers=headers(c))
    for path in paths(c):
        await send(house, client, url + path, json={"prompt": c.word("prompt to an odd path")})


async def send_nonsense(house, client, url):
    c = house.canaries
    for data, more in bad_bodies(c):
        await send(house, client, f"{url}/v1/completions", data=io.BytesIO(data), headers=more)
    for data in raw(c):
        await send_raw(house, url, data)


async def serve_and_send(house, store):
    """Two policies, the first of which fails, in front of engines that say anything."""
    async with contextlib.AsyncExitStack() as stack:
        emulator = Emulator(EmulatorSettings(canaries.MODEL, FlatTimes(), time_scale=10.0))
        engines = [await engine(house, stack), await engine(house, stack)]
        engines += [await serve_application(emulator.application(), stack), "http://127.0.0.1:9"]
        registry = Registry()
        log = stack.enter_context(contextlib.closing(RequestFile(house.home / "requests.jsonl")))
        prepare = functools.partial(prepare_policy, engine="interpreted")
        host = PolicyHost(
            InstanceTable(), registry=registry, prepare=prepare, state=house.home / "host",
            admission=Admission(trust_path(house.home), state=house.home / "host"),
            on_ejection=house.ejections.append,
        )  # fmt: skip
        gateway = Gateway(
            host, dict.fromkeys(engines), registry, settings=GatewaySettings(scrape_s=0.3),
            on_request=lambda record: (house.records.append(record), log(record)),
        )  # fmt: skip
        url = await serve_application(gateway.application(), stack)
        client = await stack.enter_async_context(aiohttp.ClientSession())
        following = asyncio.create_task(host.follow(house.home / "active.json", 0.01))
        for text in (FAULTY, IN_TURN):
            make_live(house, store, text, host.live.sequence)
            while host.live.sequence != store.slot().sequence:
                await asyncio.sleep(0.01)
            await send_nonsense(house, client, url)
            for _ in range(4):
                await send_everything(house, client, url)
        for page in ("/metrics", "/readyz", "/healthz"):
            house.written[page] = await (await client.get(url + page)).text()
        while not dumps_in(house.home / "host" / "dumps"):
            await asyncio.sleep(0.01)
        following.cancel()
        house.written["decision inputs"] = repr(host.recent)


class Pool:
    """Scores candidates by their digest, without a simulator."""

    missing, notes = (), ()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def evaluate(self, jobs, on_done):
        scores = [
            [WindowScore(w, 1.0 + int(job.source_digest[:3], 16) / 4096) for w in windows]
            for job, windows in jobs
        ]
        for index, found in enumerate(scores):
            on_done(index, found)
        return scores


def trace_of(records):
    """What the gateway noted down, as a trace."""
    start_s = records[0].arrived_unix_s
    return Trace.of(
        TraceMeta(name="door", format="request log"),
        arrival_s=[record.arrived_unix_s - start_s for record in records],
        prompt_tokens=[min(max(record.prompt_tokens, 1), 2000) for record in records],
        output_tokens=[max(record.output_tokens, 1) for record in records],
        tenant=opaque_codes([record.tenant for record in records]),
    )


class Thirds(Problem):
    """A problem whose windows are cut without a simulation."""

    def windows(self):
        length_s = self.trace.span_s / 12
        cut = tuple(
            Scenario(f"w{k:02d}", self.trace.slice(k * length_s, (k + 1) * length_s),
                     self.cluster, None, 0.0, 0, "open", k * length_s, (k + 1) * length_s)
            for k in range(12)
        )  # fmt: skip
        return Windows(cut[:4], cut[4:6], cut[6:], length_s, 0.1, ())


class Model:
    """Keeps what it is told, and answers with nonsense first, then with a policy."""

    def __init__(self, record):
        self.record, self.prompts = record, []

    def complete(self, messages, call):
        self.prompts.append(list(messages))
        reply = f"An idea.\n```python\n{IN_TURN}```\n" if len(self.prompts) % 2 == 0 else "No."
        exchange = Exchange(
            "model", 1, prompt_digest(messages), tuple(messages), reply, text_digest(reply), "stop",
            1000, 200, 0.0, True, 0.1,
        )  # fmt: skip
        self.record(exchange)
        return (exchange,)


def evolve_on(house, store, trace):
    """A search with a model on that traffic: what the model is told, and what people see."""
    problem = Thirds(trace, load_cluster("edge-8b"), LoadReport(None, 1.0, trace.rate_rps, 1.0))
    limits = Limits(evaluations=40, tokens=4000)
    with EvolveView.on(Screen(), limits) as view:
        models = (ModelSettings("openai/model", "http://127.0.0.1:9/v1"),)
        evolution = evolve(problem, limits, store, writers=Writers(models), sinks=(view,))
    window = summarise(trace)
    house.written["reports"] = "".join([
        page_of(report_of(evolution, view)),
        page_of(window_blocks(Report("window"), window)),
        json.dumps(document_of(evolution)), json.dumps(window.to_json()),
    ])  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """Served, ejected, swapped, searched and reported once for all tests here."""
    house = House(tmp_path_factory.mktemp("home"))
    streams = io.StringIO()
    with (
        all_loggers_at_debug() as lines,
        contextlib.redirect_stdout(streams),
        contextlib.redirect_stderr(streams),
        pytest.MonkeyPatch.context() as patch,
        PolicyStore.open(house.home / "store.db") as store,
    ):
        models = []

        def proposers(settings, record, recorded):
            models.append(Model(record))
            return (ModelProposer(models[0], "model"),)

        patch.setattr("evolver.evolution.start_pool", lambda *_: Pool())
        patch.setattr("evolver.evolution.model_proposers", proposers)
        asyncio.run(serve_and_send(house, store))
        trace = trace_of(house.records)
        trace.save(house.home / "trace.npz")
        evolve_on(house, store, trace)
    house.written["prompts"] = json.dumps(models[0].prompts)
    house.written["logs"] = "\n".join(lines)
    house.written["output streams"] = streams.getvalue()
    house.written["request log"] = json.dumps([asdict(record) for record in house.records])
    house.written["ejections"] = repr(house.ejections)
    return house


def test_the_marks_arrived_where_they_were_sent(house):
    assert {"prompt", "tool argument", "session", "query value", "authorization"} <= house.reached
    assert {200, 400, 404, 413} <= set(house.statuses)
    assert house.ejections
    assert len(house.records) > 50
    assert "prompt_tokens" in house.written["prompts"]


@pytest.mark.parametrize(
    "place",
    ["/metrics", "/readyz", "/healthz", "decision inputs", "ejections", "logs", "output streams",
     "prompts", "reports", "request log"],
)  # fmt: skip
def test_law_11_no_mark_was_written(house, place):
    assert house.written[place]
    assert house.canaries.found(house.written[place]) == set()


def test_law_11_no_mark_is_in_a_file(house):
    files = [path for path in house.home.rglob("*") if path.is_file()]
    assert {"store.db", "active.json", "trace.npz", "requests.jsonl", "dumps", "latches"} <= {
        name for path in files for name in path.relative_to(house.home).parts
    }
    leaks = {path.name: house.canaries.found(path.read_bytes()) for path in files}
    assert {name: places for name, places in leaks.items() if places} == {}


def test_names_of_senders_are_digests_under_a_key_of_the_process(house):
    tenants = {record.tenant for record in house.records}
    names = [mark for mark, place in house.canaries.places.items() if place == "tenant"]
    assert len(tenants) >= len(names) > 1
    told = [FactReader().read({}, {TENANT_HEADER: names[0]}, 0.0).tenant for _ in range(2)]
    assert told[0] != told[1]
    assert not tenants & set(told)
