"""Execution techniques change step times as published inside their limits, and nowhere else."""

from math import sqrt

import numpy as np
import pytest

from sandbox.cluster import ClusterError, ClusterSpec, parse_cluster
from sandbox.hardware import build_hardware
from sandbox.profiles import load_profile
from sandbox.step_tables import step_tables, tokens_per_step
from sandbox.techniques import TECHNIQUES

NSA = ("nsa",)
DRAFTS = {"depth": 2, "max_depth": 4, "acceptance": 0.7, "draft_share": 0.05}
# what each one needs besides its name
SETTINGS = {"sipipe": {"pipeline_bubble": 0.5}, "flashforge": {"shared_prefix_share": 0.9}}


def cluster(*names, gpu="H100", model="Llama-3.1-8B", gain="best", pp=1, **parts):
    engine = {"technique": names, "technique_gain": gain, "max_pipeline_parallel_size": pp}
    for name in names:
        engine |= SETTINGS.get(name, {})
    engine |= parts.pop("engine", {})
    pool = [{"gpu": gpu, "count": 4}]
    return ClusterSpec.model_validate({"model": model, "pool": pool, "engine": engine} | parts)


def tables(spec, tp=1, pp=1):
    return step_tables(load_profile(spec.pool[0].gpu, spec.model, tp), pp, spec)


def beside(*names, tp=1, pp=1, **how):
    """The tables without and with techniques."""
    plain = cluster(pp=pp, **{**how, "engine": how.get("engine", {})})
    return tables(plain, tp, pp), tables(cluster(*names, pp=pp, **how), tp, pp)


def host(batch):
    return load_profile("H100", "Llama-3.1-8B", 1).sequence_overhead_ps * batch


def same(one, other):
    return all(
        np.array_equal(getattr(one, part), getattr(other, part))
        for part in ("tokens", "batch", "context", "mixed", "spec_batch", "spec_context")
    )


def test_clusterfusion_shortens_decoding_of_small_batches_on_one_h100():
    plain, fused = beside("clusterfusion")
    for batch in (1, 16):
        gained = (plain.batch[batch] - host(batch)) / (fused.batch[batch] - host(batch))
        assert gained == pytest.approx(1.61)
        assert plain.context[batch] / fused.context[batch] == pytest.approx(1.61, rel=1e-3)
    assert np.array_equal(plain.batch[17:], fused.batch[17:])
    assert np.array_equal(plain.tokens, fused.tokens)
    assert same(*beside("clusterfusion", tp=2))


def test_turbomind_is_for_weights_of_16_bits_and_makes_room_for_kv():
    plain, packed = beside("turbomind")
    assert plain.context[8] / packed.context[8] == pytest.approx(1 / 0.39, rel=1e-3)
    usual, average = beside("turbomind", gain="average")
    gained = (average.batch[8] - host(8)) / (usual.batch[8] - host(8))
    assert gained == pytest.approx(0.70)
    before, after = (build_hardware(cluster(*names)).shapes[0] for names in ((), ("turbomind",)))
    assert after["kv_bytes"] * 2 == before["kv_bytes"]
    freed = 0.75 * load_profile("H100", "Llama-3.1-8B", 1).weight_bytes / int(before["kv_bytes"])
    assert after["kv_tokens"] == pytest.approx(2 * (before["kv_tokens"] + freed), abs=2)
    with pytest.raises(ClusterError, match="turbomind"):
        build_hardware(cluster("turbomind", model="Llama-3.1-8B-FP8"))


def test_unisparse_shortens_what_grows_with_the_prompt():
    before, after = (build_hardware(cluster(*names)).shapes[0] for names in ((), ("unisparse",)))
    for part in ("attention_prefix", "attention_chunk"):
        assert before[part] / after[part] == pytest.approx(2.61, rel=1e-3)
    assert before["attention_linear"] == after["attention_linear"]
    assert same(*beside("unisparse"))


def test_where_only_the_best_is_published_the_usual_is_its_root():
    shapes = [build_hardware(cluster(*n, gain="average")).shapes[0] for n in ((), ("unisparse",))]
    gained = shapes[0]["attention_chunk"] / shapes[1]["attention_chunk"]
    assert gained == pytest.approx(sqrt(2.61), rel=1e-3)


@pytest.mark.parametrize(("batch", "share"), [(1, 1.0), (2, 0.55), (64, 1 / 3.8)])
def test_flashforge_reads_a_shared_prefix_once_up_to_the_published_gain(batch, share):
    plain, forged = beside("flashforge")
    assert forged.context[batch] / plain.context[batch] == pytest.approx(share, rel=1e-3)
    assert np.array_equal(plain.batch, forged.batch)


def test_bubbles_stretch_pipelines_and_sipipe_takes_them_away():
    bubbly = {"engine": {"pipeline_bubble": 0.5}}
    ideal = tables(cluster(pp=2), pp=2)
    plain, filled = beside("sipipe", pp=2, **bubbly)
    for part in ("tokens", "batch", "context", "mixed"):
        stretched = getattr(plain, part)[8] / getattr(ideal, part)[8]
        assert stretched == pytest.approx(2.0, rel=1e-3)
        kept = getattr(filled, part)[8] / getattr(plain, part)[8]
        assert kept == pytest.approx(1 - 0.427, rel=1e-3)
    assert same(*beside("sipipe", **bubbly))


def test_sipipe_takes_no_more_than_there_is():
    few = {"engine": {"pipeline_bubble": 0.1}}
    assert same(tables(cluster("sipipe", pp=2, **few), pp=2), tables(cluster(pp=2), pp=2))


def test_sparse_attention_is_for_models_of_long_context():
    plain, sparse = beside("nsa")
    assert plain.context[8] / sparse.context[8] == pytest.approx(11.6, rel=1e-2)
    with pytest.raises(ClusterError, match="nsa"):
        build_hardware(cluster("nsa", model="Qwen3-32B"))


def test_fsa_shortens_prefill_beyond_nsa_where_it_was_measured():
    nsa, fsa = tables(cluster("nsa", gpu="H200")), tables(cluster("nsa", "fsa", gpu="H200"))
    assert nsa.tokens[2048] / fsa.tokens[2048] == pytest.approx(1.36, rel=1e-6)
    assert np.array_equal(nsa.batch, fsa.batch)
    with pytest.raises(ClusterError, match="fsa"):
        build_hardware(cluster("nsa", "fsa"))


def test_specsa_reads_blocks_once_for_several_drafts_and_gains_no_more_than_published():
    nsa = tables(cluster("nsa", speculation=DRAFTS))
    both = tables(cluster("nsa", "specsa", speculation=DRAFTS))
    tau = tokens_per_step(2, 0.7)
    reads = nsa.spec_context[1, 8] * tau / nsa.context[8]
    assert reads == pytest.approx(3.1, rel=1e-2)
    reads = both.spec_context[1, 8] * tau / both.context[8]
    assert reads == pytest.approx(1.1, rel=1e-2)
    certain = {"max_depth": 4, "acceptance": 1.0, "draft_share": 0.0}
    bound = tables(cluster("nsa", "specsa", speculation=certain))
    overhead = load_profile("H100", "Llama-3.1-8B", 1).step_overhead_ps
    assert bound.spec_batch[3, 1] == pytest.approx((overhead + bound.batch[1]) / 3.49)


def test_prompts_never_shorten_a_step():
    for names in (("turbomind",), ("clusterfusion",), ("nsa",)):
        made = tables(cluster(*names))
        mixed = made.tokens[np.arange(1, 257) + 1] + made.mixed[1:]
        assert np.all(mixed >= made.batch[1:])


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        ('technique = ["warp"]', "no technique 'warp'"),
        ('technique = ["nsa", "nsa"]', "named twice"),
        ('technique = ["fsa"]', "fsa needs nsa"),
        ('technique = ["nsa", "unisparse"]', "same kernels"),
        ('technique = ["clusterfusion", "turbomind"]', "same kernels"),
        ('technique = ["sipipe"]', "pipeline_bubble"),
        ('technique = ["flashforge"]', "shared_prefix_share"),
        ('technique = ["nsa", "specsa"]', "max_depth"),
    ],
)
def test_what_cannot_be_is_refused(engine, told):
    text = f'model = "Llama-3.1-8B"\n[[pool]]\ngpu = "H100"\ncount = 1\n[engine]\n{engine}\n'
    with pytest.raises(ClusterError, match=told):
        parse_cluster(text)


def test_every_row_names_its_paper_and_a_published_gain():
    for row in TECHNIQUES:
        assert "arXiv" in row.source
        assert all((gain.average or gain.best or 0.0) > 1.0 for gain in row.gains)
