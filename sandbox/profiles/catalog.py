"""The shipped profiles and GPUs: finding one by name, and saying what exists when there is none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import median
from typing import Any

import numpy as np

from sandbox.profiles.errors import ProfileDataError, UnknownProfile
from sandbox.profiles.profile import HOST_TERMS, TERMS, Int64s, Profile, Provenance

SCHEMA = 1

STEP_OVERHEAD_PS = 1_000_000_000
"""1 ms: host time per step that no kernel covers, where nothing was measured. Fitted to serving it
lies between 0 and 1.5 ms. It does not shrink with the model, so it weighs most on small models and
fast GPUs: calibrate there first."""

REQUEST_OVERHEAD_PS = 20_000_000_000
"""20 ms: HTTP, tokenisation and scheduling of one request, added to its time to first token, where
nothing was measured; fitted to serving it lies between 15 and 65 ms."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """Public facts about one GPU type, for plans, transfers and prices.

    Attributes:
        memory_bytes: device memory.
        bf16_flops: dense bfloat16 operations per second.
        memory_bytes_per_s: peak memory bandwidth.
        link_bytes_per_s: to another GPU of the node, one direction.
        link: what that link is.
        host_link_bytes_per_s: from host memory, one direction; the ceiling for weight loading.
        network_bytes_per_s: to another node, per GPU, one direction.
        node_gpus: GPUs in a typical node.
        price_usd_per_hour: typical on-demand price of one GPU; see `price_note`.
    """

    name: str
    memory_bytes: int
    bf16_flops: float
    memory_bytes_per_s: float
    link_bytes_per_s: float
    link: str
    host_link_bytes_per_s: float
    network_bytes_per_s: float
    node_gpus: int
    price_usd_per_hour: float
    price_note: str


def load_profile(gpu: str, model: str, tp: int, *, terms: bool = True) -> Profile:
    """The shipped profile of one replica; names ignore case and punctuation.

    Args:
        gpu, model, tp: what a replica is.
        terms: with terms fitted to measured serving, where there are any; False: as tabulated.

    Raises:
        UnknownProfile: nothing is shipped under these names; the message lists what is.
    """
    gpu_name = _canonical(gpu, _gpu_names(), "GPU")
    model_name = _canonical(model, _model_names(), "model")
    profile = _profiles().get((gpu_name, model_name, tp))
    if profile is None:
        raise UnknownProfile(_absence(gpu_name, model_name, tp))
    if not terms and profile.raw is not None:
        return profile.raw
    return profile


def available() -> tuple[tuple[str, str, int], ...]:
    """Every shipped (gpu, model, tp), sorted."""
    return tuple(sorted(_profiles()))


@cache
def gpus() -> tuple[Gpu, ...]:
    """Every known GPU type; the order is stable, so an index can name a type."""
    table = _read("gpus.json")
    return tuple(Gpu(price_note=table["price_note"], **row) for row in table["gpus"])


def load_gpu(name: str) -> Gpu:
    """One GPU type by name.

    Raises:
        UnknownProfile: no such type; the message lists what exists.
    """
    canonical = _canonical(name, _gpu_names(), "GPU")
    return next(gpu for gpu in gpus() if gpu.name == canonical)


def _absence(gpu: str, model: str, tp: int) -> str:
    degrees = [str(t) for g, m, t in available() if (g, m) == (gpu, model)]
    if degrees:
        return f"{model} on {gpu} has no TP{tp} profile; use TP {', '.join(degrees)}."
    fitting = sorted({g for g, m, _ in available() if m == model})
    return (
        f"{model} has no profile on {gpu}: it does not fit there or was never measured; "
        f"use one of {', '.join(fitting)}."
    )


def _canonical(name: str, known: dict[str, str], kind: str) -> str:
    found = known.get(_squeeze(name))
    if found is None:
        choices = ", ".join(sorted(set(known.values())))
        raise UnknownProfile(f"There is no profile for {kind} {name!r}; use one of {choices}.")
    return found


def _squeeze(name: str) -> str:
    return "".join(letter for letter in name.rsplit("/", 1)[-1].casefold() if letter.isalnum())


@cache
def _gpu_names() -> dict[str, str]:
    return {_squeeze(gpu.name): gpu.name for gpu in gpus()}


@cache
def _model_names() -> dict[str, str]:
    models = _read("tables.json")["models"]
    return {
        _squeeze(alias): name for name, model in models.items() for alias in (name, *model["alias"])
    }


@cache
def _profiles() -> dict[tuple[str, str, int], Profile]:
    document = _read("tables.json")
    fitted = _read("terms.json")["terms"]
    found = {}
    for row in document["profiles"]:
        profile = _profile(document, row)
        terms = _terms(profile, fitted)
        found[profile.gpu, profile.model, profile.tp] = profile.calibrated(**terms)
    return found


def _terms(profile: Profile, fitted: list[dict[str, Any]]) -> dict[str, float]:
    """Its own fitted terms, else host terms of another model on this GPU, else none.

    The other model is the one with the least host time per sequence: engines without asynchronous
    scheduling show 30 to 40 us there, and current ones under 20. Factors are of a model's kernels
    and its parallel degree: those of another model say nothing.
    """
    near = [row for row in fitted if row["gpu"] == profile.gpu]
    own = [row for row in near if (row["model"], row["tp"]) == (profile.model, profile.tp)]
    if own:
        return {name: own[0][name] for name in TERMS}
    models = [[row for row in near if row["model"] == name] for name in {r["model"] for r in near}]
    usual = [{name: int(median(row[name] for row in rows)) for name in HOST_TERMS}
             for rows in models]  # fmt: skip
    return dict(min(usual, key=lambda terms: terms["sequence_overhead_ps"], default={}))


def profile_of_row(row: dict[str, Any], context_limit_tokens: int) -> Profile:
    """A profile that `benchmarks/build_profiles.py` has just built, without fitted terms."""
    limits = {row["model"]: {"context_limit_tokens": context_limit_tokens}}
    return _profile(_read("tables.json") | {"models": limits}, row)


def _profile(document: dict[str, Any], row: dict[str, Any]) -> Profile:
    a_prefix, a_chunk, a_linear = row["attention"]
    return Profile(
        gpu=row["gpu"],
        model=row["model"],
        tp=row["tp"],
        token_grid=_column(document["token_grid"]),
        prefill_ps=_column(row["prefill_ps"]),
        batch_grid=_column(document["batch_grid"]),
        decode_ps=_column(row["decode_ps"]),
        context_ps=_column(row["context_ps"]),
        attention=(a_prefix, a_chunk, a_linear),
        all_reduce_tokens_ps=_column(row["all_reduce_tokens_ps"]),
        all_reduce_batch_ps=_column(row["all_reduce_batch_ps"]),
        kv_bytes_per_token=row["kv_bytes_per_token"],
        weight_bytes=row["weight_bytes"],
        kv_capacity_tokens=row["kv_capacity_tokens"],
        context_limit_tokens=document["models"][row["model"]]["context_limit_tokens"],
        step_overhead_ps=STEP_OVERHEAD_PS,
        request_overhead_ps=REQUEST_OVERHEAD_PS,
        all_reduce_scale=1.0,
        provenance=Provenance(
            package=document["source"]["package"],
            licence=document["source"]["licence"],
            backend=row["backend"],
            weights=row["weights"],
            kv_cache=row["kv_cache"],
            measured_share=row["measured_share"],
            notes=tuple(row["notes"]),
        ),
    )


def _column(values: list[int]) -> Int64s:
    column = np.array(values, dtype=np.int64)
    column.setflags(write=False)
    return column


@cache
def _read(name: str) -> dict[str, Any]:
    text = files("sandbox.profiles").joinpath(name).read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    if document.get("schema") != SCHEMA:
        raise ProfileDataError(f"{name} is not of schema {SCHEMA}; reinstall the package.")
    return document
