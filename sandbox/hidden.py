"""Lays a signal profile on a simulation: its masks, its estimates, and how old its signals are."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sandbox import contract
from sandbox.draws import estimated_prompts
from sandbox.kernel.hiding import ENGINE, INSTANCE, REQUEST, WINDOW
from sandbox.records import dtype_of
from sandbox.signal_profiles import FULL, SignalProfile, signal_profile

if TYPE_CHECKING:
    from sandbox.cluster import ClusterSpec
    from sandbox.kernel import state
    from sandbox.simulation import Setup

_MISSING = {"i": -1, "f": np.nan, "b": False}
_RECORDS = {
    REQUEST: contract.Request,
    INSTANCE: contract.Instance,
    ENGINE: contract.Instance,
    WINDOW: contract.Window,
}
_ASKED_WITH = {  # who else asks them knows more than this door
    INSTANCE: frozenset({"route", "route_decode", "migrate"}),
    ENGINE: frozenset({"priority", "admit", "evict", "prewarm", "branches", "tune"}),
}
Masks = NDArray[np.int64]
Rows = NDArray[np.void]


def seen_through(cluster: ClusterSpec) -> ClusterSpec:
    """The cluster as its signal profile has it: signals as old, lengths predicted as there.

    A door that is the only one to its engines counts all that happens there itself, so what it
    knows is as young as the cluster file says. A cluster that predicts nothing stays so.
    """
    profile = signal_profile(cluster.signals)
    router, predictor = cluster.router, cluster.predictor
    if router.count > 1 and profile.age_s > router.signal_age_s:
        router = router.model_copy(update={"signal_age_s": profile.age_s})
    if profile.learns_lengths and predictor.mode == "noisy":
        predictor = predictor.model_copy(update={"mode": "measured"})
    return cluster.model_copy(update={"router": router, "predictor": predictor})


def hide(sim: state.Sim, setup: Setup) -> None:
    """Write what the profile hides, estimates and remembers into a simulation's rows."""
    profile = signal_profile(setup.cluster.signals)
    settings = sim.settings[0]
    settings["hides"] = bool(profile.missing)
    settings["remembers"] = profile.remembers_prefix
    for kind in _RECORDS:
        sim.hidden[2 * kind : 2 * kind + 2] = _masks(profile.name, kind, sim.hidden.shape[1])
    rows = sim.requests[: len(setup.trace)]
    prompts = setup.trace.prompt_tokens
    rows["told_prompt"] = estimated_prompts(prompts, profile.prompt_error, setup.seed)


def mask_words() -> int:
    """Words of the longest record that is masked."""
    return max(dtype_of(record).itemsize // 8 for record in _RECORDS.values())


@functools.cache
def _masks(name: str, kind: int, words: int) -> Masks:
    """(2, words): what is kept of a record, and what is put there."""
    profile, record = signal_profile(name), _RECORDS[kind]
    hooks = _ASKED_WITH.get(kind)
    knows_all = hooks is not None and hooks.isdisjoint(profile.hooks)
    keep, put = np.ones(1, dtype_of(record)), np.zeros(1, dtype_of(record))
    keep.view(np.uint8)[:] = 0xFF
    if knows_all:
        profile = FULL
    if kind == WINDOW:
        for row in range(contract.MAX_CLASSES):
            _hide_fields(profile, "ClassRow", keep["classes"][:, row], put["classes"][:, row])
    _hide_fields(profile, record.__name__, keep, put, knobs=kind != ENGINE)
    masks = np.zeros((2, words), np.int64)
    masks[0] = -1
    masks[0, : keep.itemsize // 8] = keep.view(np.int64)
    masks[1, : put.itemsize // 8] = put.view(np.int64)
    return masks


def _hide_fields(
    profile: SignalProfile, record: str, keep: Rows, put: Rows, *, knobs: bool = True
) -> None:
    """An engine's own hooks always see the knobs as they left them."""
    constants = profile.constants.get(record, {})
    for field in sorted(profile.missing):
        of, _, name = field.partition(".")
        if of != record or (name.startswith("knob_") and not knobs):
            continue
        kind = keep.dtype[name].kind
        keep[name] = False if kind == "b" else 0
        put[name] = constants.get(name, _MISSING[kind])
