"""Times what happens to a policy before it decides: verified, compiled, linked, isolated."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.compiled import link_policy
from sandbox.contract import CONTRACT_VERSION
from sandbox.errors import PolicyRefused
from sandbox.identity import policy_digest
from sandbox.language import canonical, syntax
from sandbox.native.cache import CodeCache
from sandbox.native.compiler import Compiler
from sandbox.native.policy_code import PolicyCode
from sandbox.source import PolicySource
from sandbox.verifier import verify
from sandbox.worker_process import WarmProcess
from serving_adapter.activation import ROUTE_FUEL
from serving_adapter.side.side_process import ROLE, SETUP, SideProcesses

REPEATS = 7  # of what takes milliseconds; the best counts
FORKS = 30
DECISIONS = 3000


@dataclass(frozen=True, slots=True)
class Stage:
    """Milliseconds of one step, over `each`: policies, hooks, or tries."""

    name: str
    each: str
    milliseconds: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """A quantile, by linear interpolation."""
        ordered = sorted(self.milliseconds)
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])


@dataclass(frozen=True, slots=True)
class Drafts:
    """How a set of freely written policies fared at the verifier."""

    name: str
    count: int
    accepted: int
    refused: Mapping[str, int]  # by the code of the first refusal
    milliseconds: tuple[float, ...]


def admission(texts: Mapping[str, str]) -> Iterator[Stage]:
    """What every load of a policy pays."""
    verifying = tuple(_best_ms(lambda t=text: verify(t)) for text in texts.values())
    naming = tuple(_best_ms(lambda t=text: _named(t)) for text in texts.values())
    yield Stage("verify", "policies", verifying)
    yield Stage("parse, canonical form and digest (part of it)", "policies", naming)


def machine_code(sources: Sequence[PolicySource]) -> Iterator[Stage]:
    """Compiling each hook once, then linking and finding again what was compiled."""
    compiling, linking, found = [], [], []
    with tempfile.TemporaryDirectory() as folder, Compiler() as compiler:
        cache = CodeCache(Path(folder) / "code")
        started = time.perf_counter()
        compiler.compile_source(sources[0], sources[0].hooks[:1])
        first_ms = 1000.0 * (time.perf_counter() - started)
        for source in sources:
            for hook in source.hooks:
                started = time.perf_counter()
                code = compiler.compile_source(source, (hook,))
                compiling.append(1000.0 * (time.perf_counter() - started))
                cache.put("a" * 64, code.to_bytes())
                linking.append(_best_ms(lambda s=source, c=code, h=hook: _link(s, c, h)))
                found.append(_best_ms(lambda s=source, h=hook: _found(cache, s, h)))
    yield Stage("compile, the first: starts the helper", "tries", (first_ms,))
    yield Stage("compile in a child of the helper", "hooks", tuple(compiling))
    yield Stage("link", "hooks", tuple(linking))
    yield Stage("read from the cache, check, link", "hooks", tuple(found))


def isolation() -> Iterator[Stage]:
    """Starting a warm process, and forking children that lock themselves down."""
    started = time.perf_counter()
    warm = WarmProcess(SETUP, None)
    yield Stage("start a warm process", "tries", (1000.0 * (time.perf_counter() - started),))
    try:
        forking = []
        for _ in range(FORKS):
            began = time.perf_counter()
            child = warm.fork(ROLE)
            forking.append(1000.0 * (time.perf_counter() - began))
            warm.end(child)
    finally:
        warm.close()
    yield Stage("fork and lock down a child", "tries", tuple(forking))


def side_process(source: PolicySource, request: object, rows: object) -> Iterator[Stage]:
    """A decision of a policy in a process of its own, asked one after another."""
    from serving_adapter.activation import new_memory

    processes = SideProcesses(deadline_s=1.0)
    try:
        started = time.perf_counter()
        ready = processes.prepare(source.canonical)
        began_ms = 1000.0 * (time.perf_counter() - started)
        yield Stage("side process: verify, compile, start, smoke-test", "tries", (began_ms,))
        router, memory, taken = ready.router, new_memory(), []
        if router is None:
            return
        for _ in range(DECISIONS):
            began = time.perf_counter()
            router.route(request, rows, memory, 3, ROUTE_FUEL)
            taken.append(1000.0 * (time.perf_counter() - began))
        yield Stage("side process: a decision", "decisions", tuple(taken[100:]))
    finally:
        processes.close()


def drafts(folder: Path) -> Iterator[Drafts]:
    """Acceptance of each set of drafts under a folder."""
    for place in sorted(path for path in folder.glob("*") if path.is_dir()):
        texts = [path.read_text(encoding="utf-8") for path in sorted(place.glob("*.py"))]
        if not texts:
            continue
        refused, taken = Counter[str](), []
        for text in texts:
            started = time.perf_counter()
            try:
                verify(text)
            except PolicyRefused as refusal:
                refused[refusal.refusals[0].code] += 1
            taken.append(1000.0 * (time.perf_counter() - started))
        count = len(texts)
        yield Drafts(place.name, count, count - refused.total(), refused, tuple(taken))


def _named(text: str) -> str:
    return policy_digest(canonical.text_of(syntax.parse(text)), {}, CONTRACT_VERSION)


def _link(source: PolicySource, code: PolicyCode, hook: str) -> object:
    return link_policy(source, code, only=(hook,))


def _found(cache: CodeCache, source: PolicySource, hook: str) -> object:
    data = cache.get("a" * 64)
    if data is None:
        raise RuntimeError("the cache forgot what it was just given")
    return _link(source, PolicyCode.from_bytes(data), hook)


def _best_ms(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return 1000.0 * best
