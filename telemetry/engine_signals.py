"""What one scrape of an engine says, under one set of names whatever engine and version it is.

vLLM's names are understood, present and former, and SGLang's. A signal that is absent stays missing
(-1 or NaN), never zero. Several series of one name (data-parallel engines) are summed, usage is
averaged. SGLang may show one scheduler once per rank, and requests once more per priority: of
series that differ in nothing else the largest counts.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from telemetry.metrics_page import Sample, labels_of, samples

MOST = 2**53  # of any number of a page

RUNNING = ("vllm:num_requests_running", "sglang:num_running_reqs")
WAITING = ("vllm:num_requests_waiting", "sglang:num_queue_reqs")
KV_USAGE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage")
PREEMPTIONS = (
    "vllm:num_preemptions_total",
    "vllm:num_preemptions",
    "sglang:num_retracted_requests_total",
)
PROMPT_TOKENS = ("vllm:prompt_tokens_total", "sglang:prompt_tokens_total")
GENERATION_TOKENS = ("vllm:generation_tokens_total", "sglang:generation_tokens_total")
PREFIX_QUERIES = ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total")
PREFIX_HITS = (
    "vllm:prefix_cache_hits_total",
    "vllm:gpu_prefix_cache_hits_total",
    "sglang:cached_tokens_total",
)
FINISHED = ("vllm:request_success_total", "sglang:num_requests_total")
STARTED = ("process_start_time_seconds",)
CACHE_CONFIG = "vllm:cache_config_info"
KV_CAPACITY = "sglang:max_total_num_tokens"

PREFIXES = ("vllm:", "sglang:", "process_start_time_seconds")
_COUNTS = (
    *RUNNING, *WAITING, *PREEMPTIONS, *PROMPT_TOKENS, *GENERATION_TOKENS, *PREFIX_QUERIES,
    *PREFIX_HITS, *FINISHED,
)  # fmt: skip
_WANTED = frozenset((*_COUNTS, *KV_USAGE, *STARTED, CACHE_CONFIG, KV_CAPACITY))
_REPEATED = ("tp_rank", "pp_rank", "moe_ep_rank", "priority")  # labels of SGLang

Values = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class EngineSignals:
    """One scrape; -1 (whole numbers) and NaN say that it was not there.

    Attributes:
        kv_usage: 0 to 1.
        preemptions, prompt_tokens, generation_tokens, prefix_queried_tokens, prefix_hit_tokens,
            finished: since the engine started.
        started_unix_s: when its process did, where it says so.
    """

    running: int = -1
    waiting: int = -1
    kv_usage: float = math.nan
    kv_capacity_tokens: int = -1
    preemptions: int = -1
    prompt_tokens: int = -1
    generation_tokens: int = -1
    prefix_queried_tokens: int = -1
    prefix_hit_tokens: int = -1
    finished: int = -1
    started_unix_s: float = math.nan


def parse_signals(page: str) -> EngineSignals:
    """The signals of one metrics page; an empty or foreign page gives all missing."""
    values = _values(page)
    usage = _first(values, KV_USAGE)
    started = _first(values, STARTED)
    prompts = _total(values, PROMPT_TOKENS)
    queried = _total(values, PREFIX_QUERIES)
    hits = _total(values, PREFIX_HITS)
    if queried < 0 and PREFIX_HITS[-1] in values:  # SGLang asks for every prompt
        queried = prompts
    return EngineSignals(
        running=_total(values, RUNNING),
        waiting=_total(values, WAITING),
        kv_usage=min(1.0, sum(usage) / len(usage)) if usage else math.nan,
        kv_capacity_tokens=_total(values, (CACHE_CONFIG, KV_CAPACITY)),
        preemptions=_total(values, PREEMPTIONS),
        prompt_tokens=prompts,
        generation_tokens=_total(values, GENERATION_TOKENS),
        prefix_queried_tokens=queried,
        prefix_hit_tokens=hits,
        finished=_total(values, FINISHED),
        started_unix_s=max(started) if started else math.nan,
    )


def _values(page: str) -> Values:
    """Numbers of each wanted name, one a series."""
    found: dict[str, list[float]] = defaultdict(list)
    repeated: dict[tuple[str, str], float] = {}
    for sample in samples(page, _WANTED, PREFIXES):
        value = _capacity(sample.labels) if sample.name == CACHE_CONFIG else sample.value
        if not 0 <= value < MOST:
            continue
        if sample.name.startswith("sglang:"):
            key = sample.name, _without_ranks(sample)
            repeated[key] = max(value, repeated.get(key, 0.0))
        else:
            found[sample.name].append(value)
    for (name, _), value in repeated.items():
        found[name].append(value)
    return found


def _without_ranks(sample: Sample) -> str:
    told = labels_of(sample.labels)
    return repr(sorted((k, v) for k, v in told.items() if k not in _REPEATED))


def _first(values: Values, names: Sequence[str]) -> Sequence[float]:
    return next((values[name] for name in names if name in values), ())


def _total(values: Values, names: Sequence[str]) -> int:
    found = _first(values, names)
    # Each is below 2**53; thousands of them together would not fit a row's 64 bits.
    return round(min(sum(found), MOST)) if found else -1


def _capacity(labels: str) -> float:
    """Blocks times block size, when the engine shows both as whole numbers; else NaN."""
    known = labels_of(labels)
    blocks, size = known.get("num_gpu_blocks", ""), known.get("block_size", "")
    if not (blocks.isdecimal() and size.isdecimal() and len(blocks) < 12 and len(size) < 8):
        return math.nan
    return float(int(blocks) * int(size))
