"""Alibaba's image-generation traces: a request log and a rate series, both without tokens.

Neither file has tokens, so both readers use a declared surrogate: an image request reads its
prompt's characters / 4 as prompt tokens and "decodes" one token per denoising step and image.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from telemetry.arrivals import gamma_shape, renewal_times
from telemetry.errors import FormatError, ReadError, RowError
from telemetry.readers.azure import wall_clock_s
from telemetry.readers.rows import Rows, TraceFormat, csv_columns, finish, floats
from telemetry.readers.source import Member, Source
from telemetry.trace import Trace, TraceMeta

CHARS_PER_TOKEN = 4.0
BIN_S = 57.0
PROMPT_TOKENS = 32
OUTPUT_TOKENS = 30
SEED = 0
_SOURCE = "https://github.com/alibaba/clusterdata"
_LICENCE = "not stated; the publishers ask for citation"
_KINDS = {"generative": "Generative Requests", "api": "API Requests"}
LORA_HEADER = (
    "gmt_create", "predict_type", "predict_status", "exec_time_seconds", "groupId",
    "prompt_length", "negative_prompt_length", "num_images_per_prompt", "num_inference_steps",
    "checkpoint_model_version_id", "num_lora")
QPS_HEADER = ("timestamp_anon", "value", "container_ip", "request_type")


def read_lora(source: Source, *, keep_failed: bool = False) -> Trace:
    """Read the request log; each base model is one tenant, failed requests are dropped."""
    lines, cells = csv_columns(source, LORA_HEADER, LORA_HEADER)
    times = wall_clock_s(source.label, lines, cells["gmt_create"])
    chars, negative, images, steps = (
        floats(source.label, lines, name, cells[name], blank=0.0) for name in LORA_HEADER[5:9])
    kept = np.array([keep_failed or status == "SUCCEED" for status in cells["predict_status"]],
                    np.bool_)
    rows = Rows(
        source.label, [line for line, keep in zip(lines, kept, strict=True) if keep], times[kept],
        np.ceil((chars + negative)[kept] / CHARS_PER_TOKEN), np.maximum(images * steps, 1)[kept],
        tenant=[model for model, keep in
                zip(cells["checkpoint_model_version_id"], kept, strict=True) if keep])
    rows.notes.append("The file has no tokens: prompt tokens stand for prompt characters / "
                      f"{CHARS_PER_TOKEN:g}, output tokens for denoising steps x images.")
    if not kept.all():
        rows.notes.append(f"{int((~kept).sum())} failed or pending requests were dropped; "
                          "keep_failed=True keeps them.")
    return finish(rows, GENAI_LORA, source)


def read_qps(
    source: Source, *, requests: str = "generative", prompt_tokens: int = PROMPT_TOKENS,
    output_tokens: int = OUTPUT_TOKENS, cv: float = 1.0, seed: int = SEED,
) -> Trace:
    """Draw arrivals from the rate series, summed over containers; lengths are as declared here.

    Args:
        requests: ``generative`` (rates inside the containers) or ``api`` (rates at the door).
        cv: coefficient of variation of the inter-arrival times within a bin; 1 is Poisson.
    """
    if requests not in _KINDS or min(prompt_tokens, output_tokens) < 1 or not 0 < cv < 30:
        raise FormatError("Give requests as generative or api, token counts of 1 or more, and a cv "
                          "within 0..30.")
    edges, rates = _rates(source, _KINDS[requests])
    shapes = np.full(len(rates), float(gamma_shape(cv)))
    times = renewal_times(edges, rates, shapes, np.random.default_rng(seed))
    if not len(times):
        raise ReadError(f"{source.label} has no {requests} request; check the file.")
    meta = TraceMeta(
        name=source.name, format=GENAI_QPS.name, clock=GENAI_QPS.clock, generated_from=0,
        source=_SOURCE, licence=_LICENCE,
        notes=(f"Arrivals were drawn from {_KINDS[requests]} per {BIN_S:g} s, summed over "
               f"containers, with inter-arrival CV {cv:g} and seed {seed}; bins without a row are "
               "idle.", f"The file has no lengths: every request has {prompt_tokens} prompt and "
               f"{output_tokens} output tokens, as declared."))
    return Trace.of(meta, arrival_s=times, prompt_tokens=np.full(len(times), prompt_tokens),
                    output_tokens=np.full(len(times), output_tokens), span_s=float(edges[-1]))


def _rates(source: Source, kind: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges ``[k + 1]`` from 0 and requests a second ``[k]`` of the summed series."""
    total: dict[float, float] = defaultdict(float)
    for member in source.members(lambda name: name.endswith("qps.csv")):
        _add_rates(member, kind, total)
    if not total:
        raise ReadError(f"{source.label} has no rows of {kind}; check the file and --format.")
    stamps = np.array(sorted(total))
    place = np.round((stamps - stamps[0]) / BIN_S).astype(np.int64)
    if place[-1] > 10_000_000:
        raise ReadError(f"{source.label} spans more than ten million bins; check its clock.")
    rates: NDArray[np.float64] = np.zeros(int(place[-1]) + 1)
    np.add.at(rates, place, [total[stamp] for stamp in stamps])
    edges = np.arange(len(rates) + 1, dtype=np.float64) * BIN_S
    return edges, rates


def _add_rates(member: Member, kind: str, total: dict[float, float]) -> None:
    for number, line in member.lines():
        cells = line.split(",")
        if number == 1:
            if tuple(cells) != QPS_HEADER:
                raise FormatError(f"{member.label} does not begin with {','.join(QPS_HEADER)}; "
                                  "check --format.")
            continue
        try:
            stamp, rate = float(cells[0]), float(cells[1])
            if len(cells) != 4 or not (math.isfinite(stamp) and 0 <= rate < 1e6):
                raise ValueError
        except (ValueError, IndexError):
            raise RowError(member.label, number, "this is no line of time, rate, container and "
                           "type", "drop or mend the line") from None
        if cells[3] == kind:
            total[stamp] += rate


GENAI_LORA = TraceFormat(
    name="genai_lora", title="Alibaba image-generation request log (CSV)",
    clock="wall clock to the second, read as seconds from the first arrival",
    recognises=lambda source: source.begins_with(LORA_HEADER), read=read_lora,
    source=_SOURCE, licence=_LICENCE)
GENAI_QPS = TraceFormat(
    name="genai_qps", title="Alibaba image-generation rate series (tar of qps.csv)",
    clock="seconds since 1970 shifted by the publisher, read as seconds from the first bin",
    recognises=lambda source: source.is_tar and source.head[:1] == (",".join(QPS_HEADER),),
    read=read_qps, source=_SOURCE, licence=_LICENCE)
