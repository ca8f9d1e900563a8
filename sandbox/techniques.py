"""Execution techniques of the field as engine options: what each shortens, by how much, and where.

A technique is no policy: it makes steps shorter, and any policy can be tried on top of it. The
table says what was published and for what; inside those limits the step-time tables of a replica
shape change, outside they stay as they are. Where only the best gain was published, a usual one is
taken as its square root, half of it on a logarithmic scale: that is our assumption, and
`technique_gain = "best"` takes what was published. What each entry leaves out is in
docs/simulator/techniques.md.

Parts of a step, in the words of `sandbox/profiles/profile.py`:

    prefill    N and A: a prompt's tokens, all of their time
    attention  the part of A that grows with prefix and chunk
    decode     D, without what the host does for each sequence
    context    S: reading KV in decode
    shared     S, as far as sequences of a batch share what they read
    bubble     what pipeline stages idle, `engine.pipeline_bubble`
    verify     S again for each drafted token, where sparse attention reads other blocks for each
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

Part = Literal["prefill", "attention", "decode", "context", "shared", "bubble", "verify"]
Which = Literal["average", "best"]


@dataclass(frozen=True, slots=True)
class Gain:
    """How many times faster a part of a step becomes; None is what was not published."""

    part: Part
    average: float | None
    best: float | None

    def factor(self, which: Which) -> float:
        """The gain that is reckoned with; at least one of the two is published."""
        if which == "best" or self.average is None:
            best = self.best if self.best is not None else self.average or 1.0
            return best if which == "best" else sqrt(best)
        return self.average


@dataclass(frozen=True, slots=True)
class Technique:
    """One row.

    Attributes:
        name: for `engine.technique`.
        source: paper, and what of it is published or inferred.
        gains: parts of a step that become shorter.
        gpus: it was shown for these types; any when empty.
        weights: number formats of weights that it starts from; any when empty.
        most_batch, most_tp, least_pp, least_context: largest batch and TP, fewest stages and
            smallest context limit of the model that it is for.
        weight_bytes, kv_bytes: what memory for weights and KV is multiplied by.
        end_to_end: most that a whole decode step gains, where that was published too.
        needs, excludes: other techniques that must be there, and that cannot.
    """

    name: str
    source: str
    gains: tuple[Gain, ...]
    gpus: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    most_batch: int = 1 << 30
    most_tp: int = 64
    least_pp: int = 1
    least_context: int = 0
    weight_bytes: float = 1.0
    kv_bytes: float = 1.0
    end_to_end: float | None = None
    needs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()

    def fits(self, gpu: str, weights: str, context_limit: int, tp: int, pp: int) -> bool:
        """Is a replica shape inside the limits, whatever its batch?"""
        return (
            (not self.gpus or gpu in self.gpus)
            and (not self.weights or weights in self.weights)
            and context_limit >= self.least_context
            and tp <= self.most_tp
            and pp >= self.least_pp
        )

    def factor(self, part: Part, which: Which) -> float:
        """Gain in one part; 1 where it has none."""
        return next((gain.factor(which) for gain in self.gains if gain.part == part), 1.0)


TECHNIQUES: tuple[Technique, ...] = (
    Technique(
        "sipipe",
        "arXiv 2506.22033, abstract: up to 42.7 % lower time per output token than vLLM with the "
        "same pipeline, by taking bubbles away; so at most that share of a step",
        (Gain("bubble", None, 1.0 / (1.0 - 0.427)),),
        least_pp=2,
    ),
    Technique(
        "flashforge",
        "arXiv 2505.17694, abstract: decode attention over shared prefixes 1.9 times faster than "
        "FlashDecoding on average, up to 3.8 times end to end against vLLM; reads follow the "
        "unique part of the context",
        (Gain("shared", 1.9, 3.8),),
        excludes=("nsa", "clusterfusion"),
    ),
    Technique(
        "unisparse",
        "arXiv 2512.14082, abstract: attention up to 2.61 times faster than FlashAttention with "
        "99 % of the accuracy, for long contexts; from 32,768 tokens is inferred",
        (Gain("attention", None, 2.61),),
        least_context=32_768,
        excludes=("nsa",),
    ),
    Technique(
        "nsa",
        "arXiv 2502.11089, abstract: natively trained sparse attention, up to 9.0 times faster "
        "forward and 11.6 times faster decoding at 65,536 tokens; as if the model was so trained",
        (Gain("attention", None, 9.0), Gain("context", None, 11.6)),
        least_context=65_536,
    ),
    Technique(
        "fsa",
        "arXiv 2508.18224, abstract: prefill 1.11 times faster on average and up to 1.36 times "
        "than with NSA's own kernels where few heads share KV; measured on H20 and H200",
        (Gain("prefill", 1.11, 1.36),),
        gpus=("H200",),
        needs=("nsa",),
    ),
    Technique(
        "specsa",
        "arXiv 2605.19893, abstract: verifying drafts with NSA up to 6.86 times faster by reading "
        "shared blocks once, up to 3.49 times the throughput of NSA without drafts; on H100",
        (Gain("verify", None, 6.86),),
        gpus=("H100",),
        end_to_end=3.49,
        needs=("nsa",),
    ),
    Technique(
        "turbomind",
        "arXiv 2508.15601, abstract: 30 % lower latency on average, up to 61 %, than other engines "
        "of mixed precision; taken over 16-bit ones. Four GPU architectures; that Blackwell is "
        "not among them, weights of 4 and KV of 8 bits are inferred",
        (Gain("decode", 1.0 / 0.70, 1.0 / 0.39), Gain("context", 1.0 / 0.70, 1.0 / 0.39)),
        gpus=("A100", "H100", "H200", "L40S"),
        weights=("bfloat16",),
        weight_bytes=0.25,
        kv_bytes=0.5,
        excludes=("clusterfusion", "nsa"),
    ),
    Technique(
        "clusterfusion",
        "arXiv 2508.18850, abstract: 1.61 times lower latency of decoding on average on H100; "
        "one GPU and batches of up to 16 are inferred",
        (Gain("decode", 1.61, None), Gain("context", 1.61, None)),
        gpus=("H100",),
        most_batch=16,
        most_tp=1,
        excludes=("nsa",),
    ),
)  # fmt: skip


def technique(name: str) -> Technique:
    """One row by name.

    Raises:
        ValueError: there is none; lists those there are.
    """
    for row in TECHNIQUES:
        if row.name == name:
            return row
    known = ", ".join(row.name for row in TECHNIQUES)
    raise ValueError(f"there is no technique {name!r}; use one of {known}")


def check_combination(names: Sequence[str]) -> None:
    """Can these be had together?

    Raises:
        ValueError: one is unknown, named twice, lacks another, or excludes another.
    """
    if len(set(names)) < len(names):
        raise ValueError("a technique is named twice; name each once")
    for row in [technique(name) for name in names]:
        lacking = [name for name in row.needs if name not in names]
        if lacking:
            raise ValueError(f"{row.name} needs {lacking[0]}; add it")
        clash = [name for name in names if name in row.excludes]
        if clash:
            raise ValueError(f"{row.name} and {clash[0]} replace the same kernels; choose one")
