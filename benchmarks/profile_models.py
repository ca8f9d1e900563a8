"""Which models have profiles, and what one replica of each needs of GPU memory.

Needs the `profiles` extra, whose wheel has the models' configuration files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from aiconfigurator_core.sdk import perf_database

from sandbox.profiles import Gpu

CONFIGS = Path(perf_database.__file__).resolve().parents[1] / "model_configs"

GIB = 2**30
MEMORY_SHARE = 0.9  # vLLM's default gpu_memory_utilization
CONTEXT_AND_NCCL_BYTES = 1.5 * GIB
PROFILED_TOKENS = 8192  # step size for which the engine reserves activations at start


class Model(NamedTuple):
    """A model to tabulate: its name in the package, other names, TP degrees, options."""

    path: str
    alias: list[str]
    degrees: list[int]
    options: dict[str, Any]
    weights: str
    kv_cache: str = "bfloat16"

    @property
    def weight_size(self) -> int:
        """Bytes of one weight of the linear layers."""
        return 1 if self.weights == "fp8" else 2

    @property
    def kv_size(self) -> int:
        """Bytes of one KV entry."""
        return 1 if self.kv_cache == "fp8" else 2


DEEPSEEK_OPTIONS = {"moe_tp_size": 8, "moe_ep_size": 1, "fmha_quant_mode": "bfloat16",
                    "kvcache_quant_mode": "bfloat16"}  # fmt: skip
MODELS = {
    "deepseek-v3": Model("deepseek-ai/DeepSeek-V3", ["DeepSeek-R1"], [8], DEEPSEEK_OPTIONS, "fp8"),
    "llama-3.1-70b": Model(
        "meta-llama/Meta-Llama-3.1-70B",
        ["Meta-Llama-3.1-70B", "Llama-3.1-70B-Instruct", "Meta-Llama-3.1-70B-Instruct"],
        [1, 2, 4, 8], {}, "bfloat16",
    ),
    "llama-3.1-8b": Model(
        "meta-llama/Meta-Llama-3.1-8B",
        ["Meta-Llama-3.1-8B", "Llama-3.1-8B-Instruct", "Meta-Llama-3.1-8B-Instruct"],
        [1, 2, 4, 8], {}, "bfloat16",
    ),
    "qwen3-32b": Model("Qwen/Qwen3-32B", [], [1, 2, 4, 8], {}, "bfloat16"),
    # Checkpoints with 8-bit weights, as they are usually served: an 8-bit KV cache where the
    # checkpoint asks for one.
    "llama-3.1-70b-fp8": Model(
        "nvidia/Llama-3.1-70B-Instruct-FP8", ["Llama-3.1-70B-Instruct-FP8"], [1, 2, 4, 8],
        {}, "fp8", "fp8",
    ),
    "llama-3.1-8b-fp8": Model(
        "meta-llama/Meta-Llama-3.1-8B", ["Llama-3.1-8B-Instruct-FP8"], [1, 2, 4, 8],
        {"gemm_quant_mode": "fp8", "kvcache_quant_mode": "fp8"}, "fp8", "fp8",
    ),
    "qwen3-32b-fp8": Model("Qwen/Qwen3-32B-FP8", [], [1, 2, 4, 8], {}, "fp8"),
}  # fmt: skip


class Memory(NamedTuple):
    """Bytes of one replica over all its GPUs, from the model's configuration file."""

    weight_bytes: int
    kv_bytes_per_token: int
    reserve_bytes: int
    context_limit_tokens: int


def memory(model: Model, tp: int) -> Memory:
    """Exact weights and KV bytes, and the activation reserve of the engine's start-up run."""
    name = model.path.replace("/", "--") + "_config.json"
    config = json.loads((CONFIGS / name).read_text(encoding="utf-8"))
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    ffn_tokens = 2 * config["intermediate_size"] // tp + 4 * hidden
    if "kv_lora_rank" in config:
        weights, kv = _latent_bytes(config, tp)
        expert = 2 * config["moe_intermediate_size"] // tp + hidden
        ffn_tokens += config["num_experts_per_tok"] * expert
    else:
        weights, kv = _grouped_bytes(config, tp, model)
    reserve = tp * int(CONTEXT_AND_NCCL_BYTES + 2 * PROFILED_TOKENS * ffn_tokens)
    return Memory(weights, kv * layers, reserve, config["max_position_embeddings"])


def _grouped_bytes(config: dict[str, Any], tp: int, model: Model) -> tuple[int, int]:
    """(weights, KV bytes per token and layer) of a dense grouped-query model.

    Embeddings, norms and the output layer stay in bfloat16 whatever the linear layers are.
    """
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    kv_heads, size = config["num_key_value_heads"], config.get("head_dim", hidden // heads)
    copies = max(1, tp // kv_heads)
    attention = hidden * size * (2 * heads + 2 * kv_heads * copies)
    norms = 2 * hidden + (2 * size if config["model_type"] == "qwen3" else 0)
    layers, linear = config["num_hidden_layers"], 3 * hidden * config["intermediate_size"]
    rest = layers * norms * tp + 2 * config["vocab_size"] * hidden + hidden * tp
    total = model.weight_size * layers * (attention + linear) + 2 * rest
    return total, 2 * model.kv_size * kv_heads * copies * size


def _latent_bytes(config: dict[str, Any], tp: int) -> tuple[int, int]:
    """The same for latent attention with fp8 block weights; the latent cache is on every GPU."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    rank, latent = config["q_lora_rank"], config["kv_lora_rank"]
    nope, rope, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    on_every_gpu = hidden * (rank + latent + rope) * tp
    up = latent * heads * (nope + value)
    split = rank * heads * (nope + rope) + up + heads * value * hidden
    dense_layers = config["first_k_dense_replace"]
    moe_layers = config["num_hidden_layers"] - dense_layers
    routed = config["n_routed_experts"]
    experts = routed + config["n_shared_experts"]
    mlp = 3 * hidden * (dense_layers * config["intermediate_size"]
                        + moe_layers * experts * config["moe_intermediate_size"])  # fmt: skip
    blocks = config["num_hidden_layers"] * (on_every_gpu + split) + mlp
    # Engines keep a bfloat16 copy of the up-projections, which decode absorbs into attention.
    absorbed = 2 * config["num_hidden_layers"] * up
    plain = 2 * (2 * config["vocab_size"] * hidden + moe_layers * hidden * routed * tp)
    scales = blocks * 4 // 128**2
    return blocks + scales + absorbed + plain, 2 * (latent + rope) * tp


def capacity_tokens(gpu: Gpu, tp: int, needs: Memory) -> int:
    """KV tokens left beside weights and activations; zero or less does not fit."""
    usable = int(gpu.memory_bytes * MEMORY_SHARE) * tp
    return (usable - needs.weight_bytes - needs.reserve_bytes) // needs.kv_bytes_per_token
