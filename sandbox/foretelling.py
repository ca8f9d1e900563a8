"""Predictions of the gateway's own length predictor for a simulation, which learns as it goes.

It sees what the door shows of a request (class, tenant, estimated prompt, turn), and an answer when
the request has ended: at its recorded arrival and its time alone on the fastest shape. Under load
answers end later, by seconds of a predictor's memory of hours. Neither depends on the policy, so
what it says is worked out once for a trace. `Setup.learned` is what it knew when the trace began.
"""

from __future__ import annotations

import json
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sandbox.classes import classify
from sandbox.draws import estimated_prompts
from sandbox.hardware import build_hardware
from sandbox.signal_profiles import signal_profile
from sandbox.workflows import unloaded_s
from telemetry.foretold import Seen, foretell, learning
from telemetry.output_lengths import OutputLengths

if TYPE_CHECKING:
    from sandbox.simulation import Setup

Floats = NDArray[np.float64]
MOST_KEPT_REQUESTS = 4_000_000  # 16 bytes each
_kept: OrderedDict[tuple[object, ...], tuple[Floats, Floats]] = OrderedDict()


def foretold_lengths(setup: Setup) -> tuple[Floats, Floats]:
    """Predicted tokens and relative standard error of each request, NaN where nothing is known."""
    error = signal_profile(setup.cluster.signals).prompt_error
    key = (setup.trace.digest(), setup.cluster, setup.learned, setup.seed if error else 0)
    if key not in _kept:
        found = foretell(setup.trace, _begun(setup.learned), *_told(setup))
        _kept[key] = found.mean_tokens, found.relative_error
        while len(_kept) > 1 and sum(len(mean) for mean, _ in _kept.values()) > MOST_KEPT_REQUESTS:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]


def learned_by(setup: Setup, times_s: Sequence[float]) -> list[bytes]:
    """What the predictor has learned of the trace by each of some times, never decreasing."""
    lengths = _begun(setup.learned)
    stops = learning(setup.trace, lengths, times_s, *_told(setup))
    return [zlib.compress(json.dumps(lengths.state()).encode()) for _ in stops]


def _begun(learned: bytes) -> OutputLengths:
    if not learned:
        return OutputLengths()
    return OutputLengths.restored(json.loads(zlib.decompress(learned)))


def _told(setup: Setup) -> tuple[Floats, Seen]:
    """Seconds that each answer takes, and what the door shows of its request."""
    trace, cluster = setup.trace, setup.cluster
    profile = signal_profile(cluster.signals)
    prompts = estimated_prompts(trace.prompt_tokens, profile.prompt_error, setup.seed)
    seen = Seen(classify(trace, cluster)[0], trace.tenant, prompts, trace.turn)
    told = (
        column if f"Request.{name}" in profile.known else np.zeros_like(column)
        for name, column in zip(Seen._fields, seen, strict=True)
    )
    return unloaded_s(trace, build_hardware(cluster)), Seen(*told)
