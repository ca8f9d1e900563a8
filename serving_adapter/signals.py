"""Reads an engine's Prometheus page into the few signals that instance rows hold.

vLLM's names are understood, present and former. A metric that is absent stays missing (-1 or NaN);
several series of one name (data-parallel engines) are summed, usage is averaged. The page is
hostile input: it is bounded, and a line that does not parse is skipped.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_PAGE_BYTES = 4 * 2**20
MOST = 2**53  # of any number of a page

RUNNING = ("vllm:num_requests_running",)
WAITING = ("vllm:num_requests_waiting",)
KV_USAGE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
PREEMPTIONS = ("vllm:num_preemptions_total", "vllm:num_preemptions")
PROMPT_TOKENS = ("vllm:prompt_tokens_total",)
GENERATION_TOKENS = ("vllm:generation_tokens_total",)
PREFIX_QUERIES = ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total")
PREFIX_HITS = ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total")
CACHE_CONFIG = "vllm:cache_config_info"

_TOKENS = (*PROMPT_TOKENS, *GENERATION_TOKENS, *PREFIX_QUERIES, *PREFIX_HITS)
_WANTED = frozenset((*RUNNING, *WAITING, *KV_USAGE, *PREEMPTIONS, *_TOKENS))
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})?\s+(\S+)")
# A name begins where no name goes on, or a long one is tried from each of its letters.
_LABEL = re.compile(r'(?<![a-zA-Z0-9_])([a-zA-Z_][a-zA-Z0-9_]*)="([^"\\]*)"')


@dataclass(frozen=True, slots=True)
class EngineSignals:
    """One scrape; -1 (whole numbers) and NaN (`kv_usage`, 0 to 1) say that it was not there."""

    running: int = -1
    waiting: int = -1
    kv_usage: float = math.nan
    kv_capacity_tokens: int = -1
    preemptions: int = -1
    prompt_tokens: int = -1
    generation_tokens: int = -1
    prefix_queried_tokens: int = -1
    prefix_hit_tokens: int = -1


def parse_signals(page: str) -> EngineSignals:
    """The signals of one metrics page; an empty or foreign page gives all missing."""
    values: dict[str, list[float]] = defaultdict(list)
    capacity_tokens = -1
    for line in page.splitlines():
        sample = _SAMPLE.match(line) if line.startswith("vllm:") else None
        if sample is None:
            continue
        name, labels, number = sample.groups()
        if name == CACHE_CONFIG:
            capacity_tokens = _capacity_tokens(labels or "")
        elif name in _WANTED and (value := _finite(number)) is not None:
            values[name].append(value)
    usage = _first(values, KV_USAGE)
    return EngineSignals(
        running=_total(values, RUNNING),
        waiting=_total(values, WAITING),
        kv_usage=min(1.0, sum(usage) / len(usage)) if usage else math.nan,
        kv_capacity_tokens=capacity_tokens,
        preemptions=_total(values, PREEMPTIONS),
        prompt_tokens=_total(values, PROMPT_TOKENS),
        generation_tokens=_total(values, GENERATION_TOKENS),
        prefix_queried_tokens=_total(values, PREFIX_QUERIES),
        prefix_hit_tokens=_total(values, PREFIX_HITS),
    )


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < MOST else None


def _first(values: Mapping[str, list[float]], names: Sequence[str]) -> list[float]:
    return next((values[name] for name in names if name in values), [])


def _total(values: Mapping[str, list[float]], names: Sequence[str]) -> int:
    found = _first(values, names)
    # Each is below 2**53; thousands of them together would not fit a row's 64 bits.
    return round(min(sum(found), MOST)) if found else -1


def _capacity_tokens(labels: str) -> int:
    """Blocks times block size, when the engine shows both as whole numbers."""
    known = dict(_LABEL.findall(labels))
    blocks, size = known.get("num_gpu_blocks", ""), known.get("block_size", "")
    if not (blocks.isdecimal() and size.isdecimal() and len(blocks) < 12 and len(size) < 8):
        return -1
    return int(blocks) * int(size)
