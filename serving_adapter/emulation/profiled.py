"""What a shipped profile says of an engine: its step times, its KV memory, how long it loads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving_adapter.emulation.emulator import EmulatorSettings
from serving_adapter.emulation.engine_model import BLOCK_TOKENS, PICOSECONDS, EngineSettings


def settings_from_profile(
    gpu: str, model: str, tp: int, time_scale: float, engine: Mapping[str, int] | None = None
) -> EmulatorSettings:
    """An engine like the profile's: its step times, its KV memory, its host overhead.

    Raises:
        sandbox.profiles.UnknownProfile: no such profile; the message lists what exists.
    """
    from sandbox.profiles import load_profile

    profile = load_profile(gpu, model, tp)
    limits: dict[str, Any] = dict(engine or {})
    limits.setdefault("kv_blocks", profile.kv_capacity_tokens // BLOCK_TOKENS)
    limits.setdefault("max_model_len", profile.context_limit_tokens)
    return EmulatorSettings(
        model=profile.model,
        times=profile,
        engine=EngineSettings(**limits),
        time_scale=time_scale,
        request_overhead_s=profile.request_overhead_ps / PICOSECONDS,
    )


def cold_start_s(gpu: str, model: str, tp: int) -> float:
    """Engine seconds from process start to ready, as the simulator has them by default.

    Weights come from host memory, every GPU loading its own over its own link.

    Raises:
        sandbox.profiles.UnknownProfile: no such profile.
    """
    from sandbox.cluster import SwitchSpec
    from sandbox.profiles import load_gpu, load_profile

    switch = SwitchSpec()
    shard_bytes = load_profile(gpu, model, tp).weight_bytes / tp
    return switch.start_s + shard_bytes / (load_gpu(gpu).host_link_bytes_per_s * switch.load_share)
