"""One emulated engine's scheduler: continuous batching with chunked prefill over KV blocks.

It follows vLLM's first-come-first-served order: each step gives every running generation its next
token or prompt chunk out of a token budget, then admits waiting ones while seats, budget and
blocks last. A generation that finds no block preempts the youngest running one, which goes back to
the head of the queue and computes everything again. With `prefix_caching`, blocks of prompts that
were computed before are not computed again while KV memory is free (`prefix_cache`). Time is the
caller's: `begin` plans a step and says how long it takes, `commit` applies it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from serving_adapter.emulation.prefix_cache import PrefixCache

PICOSECONDS = 1e12
BLOCK_TOKENS = 16


class StepTimes(Protocol):
    """Where step times come from: a `sandbox.profiles.Profile`, or a formula in tests."""

    def step_ps(self, chunks: Iterable[tuple[int, int]], batch: int, context_tokens: int) -> int:
        """Time of one engine step in picoseconds.

        Args:
            chunks: (new tokens, tokens already cached) of every prefill chunk in the step.
            batch: generations that decode one token each.
            context_tokens: cached tokens that those read, in sum.
        """
        ...


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """An engine's limits under vLLM's names; `kv_blocks` blocks of `block_size` tokens each."""

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    block_size: int = BLOCK_TOKENS
    kv_blocks: int = 8192
    max_model_len: int = 32_768
    prefix_caching: bool = False

    @property
    def kv_capacity_tokens(self) -> int:
        """Tokens whose keys and values fit."""
        return self.kv_blocks * self.block_size

    @property
    def longest_tokens(self) -> int:
        """Longest prompt plus answer that one generation may have."""
        return min(self.max_model_len, self.kv_capacity_tokens)


@dataclass(slots=True, eq=False)
class Generation:
    """One request inside the engine; times are seconds on the engine's clock, NaN before."""

    prompt_tokens: int
    output_tokens: int
    arrived_s: float
    wake: Callable[[], None] = lambda: None
    keys: tuple[bytes, ...] = ()
    computed_tokens: int = 0
    done_tokens: int = 0
    blocks: int = 0
    preempted_count: int = 0
    scheduled_s: float = math.nan
    first_token_s: float = math.nan
    last_token_s: float = math.nan
    finished: bool = False
    lost: bool = False  # its engine is gone

    @property
    def context_tokens(self) -> int:
        """Prompt and answer so far."""
        return self.prompt_tokens + self.done_tokens

    @property
    def decoding(self) -> bool:
        """Whether only its latest token is still to be computed."""
        return self.done_tokens > 0 and self.computed_tokens == self.context_tokens - 1


@dataclass(frozen=True, slots=True)
class Step:
    """What one step computes, and how long it takes."""

    work: tuple[tuple[Generation, int], ...]
    duration_s: float


@dataclass(slots=True)
class EngineModel:
    """The queue, the batch and the KV blocks of one engine; `held_blocks` are of no use to it."""

    settings: EngineSettings
    times: StepTimes
    waiting: deque[Generation] = field(default_factory=deque)
    running: list[Generation] = field(default_factory=list)
    used_blocks: int = 0
    held_blocks: int = 0
    preemptions: int = 0
    cache: PrefixCache = field(default_factory=PrefixCache)

    @property
    def kv_usage(self) -> float:
        """Share of KV blocks in use, 0 to 1."""
        return min(1.0, (self.used_blocks + self.held_blocks) / self.settings.kv_blocks)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to compute."""
        return not self.waiting and not self.running

    def submit(self, generation: Generation) -> None:
        """Queue a generation that fits the engine.

        Raises:
            ValueError: it is empty, or longer than the engine can ever hold.
        """
        longest = self.settings.longest_tokens
        if generation.prompt_tokens < 1 or generation.output_tokens < 1:
            raise ValueError("A generation needs a prompt and an answer of one token or more.")
        if generation.prompt_tokens + generation.output_tokens > longest:
            raise ValueError(f"Prompt and answer exceed {longest} tokens: shorten one of them.")
        self.waiting.append(generation)

    def abort(self, generation: Generation) -> None:
        """Drop a generation wherever it is; its blocks are free at once."""
        generation.finished = True
        if generation in self.running:
            self.running.remove(generation)
        elif generation in self.waiting:
            self.waiting.remove(generation)
        self._release(generation)

    def begin(self, now_s: float) -> Step:
        """Plan the next step: running generations first, then the queue."""
        budget = self.settings.max_num_batched_tokens
        work: list[tuple[Generation, int]] = []
        preempted_before = self.preemptions
        position = 0
        while position < len(self.running) and budget > 0:
            generation = self.running[position]
            tokens = min(generation.context_tokens - generation.computed_tokens, budget)
            if self._make_room(generation, tokens):
                work.append((generation, tokens))
                budget -= tokens
                position += 1
        if self.preemptions == preempted_before:
            self._admit(work, budget, now_s)
        return Step(tuple(work), self._duration_s(work))

    def commit(self, step: Step, now_s: float) -> list[Generation]:
        """Apply a step that ends at `now_s`; the generations that got a token, in batch order."""
        advanced = []
        for generation, tokens in step.work:
            if generation.finished:
                continue
            generation.computed_tokens += tokens
            if generation.computed_tokens == generation.context_tokens:
                self._emit(generation, now_s)
                advanced.append(generation)
        return advanced

    def _emit(self, generation: Generation, now_s: float) -> None:
        generation.done_tokens += 1
        if generation.done_tokens == 1:
            generation.first_token_s = now_s
            self.cache.keep(generation.keys)
        generation.last_token_s = now_s
        if generation.done_tokens >= generation.output_tokens:
            generation.finished = True
            self.running.remove(generation)
            self._release(generation)

    def _admit(self, work: list[tuple[Generation, int]], budget: int, now_s: float) -> None:
        while self.waiting and budget > 0 and len(self.running) < self.settings.max_num_seqs:
            generation = self.waiting[0]
            self._find_prefix(generation)
            tokens = min(generation.context_tokens - generation.computed_tokens, budget)
            if not self._allocate(generation, tokens):
                return
            self.running.append(self.waiting.popleft())
            if self.settings.prefix_caching:
                self.cache.asked(generation.context_tokens, generation.computed_tokens)
            if math.isnan(generation.scheduled_s):
                generation.scheduled_s = now_s
            work.append((generation, tokens))
            budget -= tokens

    def _find_prefix(self, generation: Generation) -> None:
        """Begin behind what was computed before."""
        if generation.keys:
            found = self.cache.find(generation.keys)
            generation.computed_tokens = found * self.settings.block_size

    def _make_room(self, generation: Generation, tokens: int) -> bool:
        """Allocate, preempting from the young end; False when it had to give way itself."""
        while not self._allocate(generation, tokens):
            victim = self.running.pop()
            self._release(victim)
            victim.computed_tokens = 0
            victim.preempted_count += 1
            self.preemptions += 1
            self.waiting.appendleft(victim)
            if victim is generation:
                return False
        return True

    def _allocate(self, generation: Generation, tokens: int) -> bool:
        size = self.settings.block_size
        needed = -(-(generation.computed_tokens + tokens) // size) - generation.blocks
        if self.used_blocks + self.held_blocks + needed > self.settings.kv_blocks:
            return False
        generation.blocks += needed
        self.used_blocks += needed
        self._shrink_cache()
        return True

    def _shrink_cache(self) -> None:
        """Cached blocks have the memory that is free, and that of the running prompts they are."""
        if len(self.cache):
            own = sum(len(generation.keys) for generation in self.running)
            self.cache.shrink(self.settings.kv_blocks - self.used_blocks - self.held_blocks + own)

    def _release(self, generation: Generation) -> None:
        self.used_blocks -= generation.blocks
        generation.blocks = 0

    def _duration_s(self, work: list[tuple[Generation, int]]) -> float:
        chunks: list[tuple[int, int]] = []
        batch = context = 0
        for generation, tokens in work:
            if generation.decoding:
                batch += 1
                context += generation.computed_tokens
            else:
                chunks.append((tokens, generation.computed_tokens))
        return self.times.step_ps(chunks, batch, context) / PICOSECONDS if work else 0.0
