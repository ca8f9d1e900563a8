import numpy as np
import pytest

from sandbox.cluster import ClusterError, ClusterSpec
from sandbox.hardware import build_hardware
from sandbox.kernel.state import BLOCK_TOKENS


def cluster(*pools, model="Llama-3.1-8B"):
    return ClusterSpec.model_validate({"model": model, "pool": list(pools)})


def test_tp_stays_within_a_node_and_a_pool():
    made = build_hardware(
        cluster({"gpu": "H100", "count": 3}, {"gpu": "A100", "count": 8, "node_size": 2})
    )
    shapes = [(int(row["pool"]), int(row["tp"])) for row in made.shapes]
    assert shapes == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_gpus_know_their_pool_and_node():
    made = build_hardware(
        cluster({"gpu": "H100", "count": 3, "node_size": 2}, {"gpu": "A100", "count": 1})
    )
    assert made.gpus["pool"].tolist() == [0, 0, 0, 1]
    assert made.gpus["node"].tolist() == [0, 0, 1, 2]


def test_tables_rise_with_work_and_cover_the_engine_settings():
    spec = cluster({"gpu": "H100", "count": 1})
    made = build_hardware(spec)
    assert made.step_batch.shape[1] == spec.engine.max_num_seqs + 1
    assert made.step_tokens.shape[1] > spec.engine.max_num_batched_tokens
    assert np.all(np.diff(made.step_tokens[0, 1:]) >= 0)


def test_callers_do_not_share_what_changes():
    spec = cluster({"gpu": "H100", "count": 2})
    build_hardware(spec).gpus["present"] = False
    assert build_hardware(spec).gpus["present"].all()


def test_kv_blocks_are_whole_and_a_larger_gpu_holds_more():
    made = build_hardware(cluster({"gpu": "L40S", "count": 1}, {"gpu": "H200", "count": 1}))
    assert np.all(made.shapes["kv_blocks"] == made.shapes["kv_tokens"] // BLOCK_TOKENS)
    assert made.shapes["kv_tokens"][0] < made.shapes["kv_tokens"][1]


def test_a_model_that_fits_nowhere_is_refused_with_what_exists():
    with pytest.raises(ClusterError, match="profiles exist for"):
        build_hardware(cluster({"gpu": "L40S", "count": 1}, model="DeepSeek-V3"))


def test_an_unknown_gpu_is_refused():
    with pytest.raises(ClusterError, match="Abacus"):
        build_hardware(cluster({"gpu": "Abacus", "count": 1}))
