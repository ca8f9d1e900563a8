from collections import Counter

import pytest

from sandbox import contract
from serving_adapter.actuators.replicas import ReplicaSpec, Shape
from serving_adapter.errors import PlanRefused
from serving_adapter.ray_serve.applications import LLMApplications, PlainApplications

MIXED = ReplicaSpec(shape=Shape(tp=2, pp=2))
PREFILL = ReplicaSpec(shape=Shape(tp=1), role=contract.PREFILL)
DECODE = ReplicaSpec(shape=Shape(tp=4), role=contract.DECODE)


def llm(**more):
    return LLMApplications(
        model_id="org/model-1.5", model_source="org/model", accelerators=("H100",), gpus=("H100",),
        engine_kwargs={"max_num_seqs": 64}, **more,
    )  # fmt: skip


def test_a_plan_becomes_configs_that_serve_understands_and_that_can_be_read_back():
    applications = llm(kv_transfer_config={"kv_connector": "NixlConnector"})
    counts = Counter([MIXED, MIXED, PREFILL, DECODE, DECODE, DECODE])
    configs = applications.configs(counts)
    read = {
        applications.spec_at(config["name"], one["name"]): one["num_replicas"]
        for config in configs
        for one in config["deployments"]
    }
    assert read == counts
    mixed, pair = configs
    engine = mixed["args"]["llm_configs"][0]["engine_kwargs"]
    assert engine == {"max_num_seqs": 64, "tensor_parallel_size": 2, "pipeline_parallel_size": 2}
    assert mixed["deployments"][0]["name"] == "LLMServer:org--model-1_5"
    assert pair["args"]["decode_config"]["engine_kwargs"]["tensor_parallel_size"] == 4
    assert "kv_transfer_config" in pair["args"]["prefill_config"]["engine_kwargs"]
    more = applications.configs(counts + Counter([MIXED]))[0]
    more["deployments"], mixed["deployments"] = [], []
    assert more == mixed  # only the number differs, so that Serve restarts nothing


def test_the_configs_pass_serves_own_schema():
    schema = pytest.importorskip("ray.serve.schema", reason="Ray Serve is not installed")
    applications = llm(kv_transfer_config={"kv_connector": "x"})
    configs = applications.configs(Counter([MIXED, PREFILL, DECODE]))
    found = schema.ServeDeploySchema.model_validate({"applications": configs})
    assert [len(one.deployments) for one in found.applications] == [1, 2]


def test_what_serve_cannot_have_is_refused():
    with pytest.raises(PlanRefused, match="kv_transfer_config"):
        llm().configs(Counter([PREFILL, DECODE]))
    with pytest.raises(PlanRefused, match="accelerator"):
        llm().configs(Counter([ReplicaSpec(shape=Shape(pool=1))]))
    two = Counter([PREFILL, DECODE, ReplicaSpec(shape=Shape(tp=2), role=contract.DECODE)])
    with pytest.raises(PlanRefused):
        llm(kv_transfer_config={"kv_connector": "x"}).configs(two)


def test_deployments_of_others_are_nobodys_replicas():
    plain = PlainApplications(import_path="m:f", deployment="Engine", prefix="e")
    (config,) = plain.configs(Counter([MIXED]))
    assert plain.spec_at(config["name"], "Engine") == MIXED
    for application, deployment in (("e-mixed-p0tp2pp2", "x"), ("e-odd-p0tp2pp2", "Engine"),
                                    ("f-mixed-p0tp2pp2", "Engine"), ("e-mixed-p7tp2pp2", "Engine"),
                                    ("llm-p0tp2pp2", "LLMServer:org--model-1_5")):  # fmt: skip
        assert plain.spec_at(application, deployment) is None
    assert llm().spec_at("llm-p0tp2pp2", "Ingress") is None
