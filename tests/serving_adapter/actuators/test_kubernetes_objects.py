"""Replicas as Kubernetes objects: what is made of a template, and what is read off pods."""

import json

import pytest

from sandbox import contract
from serving_adapter.actuators.kubernetes_objects import (
    GPU_RESOURCE,
    SPEC_ANNOTATION,
    failure_of,
    replica_deployment,
    spec_of,
    with_flags,
)
from serving_adapter.actuators.replicas import ReplicaSpec, Shape
from serving_adapter.errors import ReplicaError
from tests.serving_adapter.actuators.recorded_api import TEMPLATE

SPEC = ReplicaSpec(shape=Shape(pool=1, gpu="A100", tp=2, pp=2), role=contract.PREFILL)


def test_a_replica_is_the_template_with_the_plans_parallelism():
    made = replica_deployment(TEMPLATE, "llama-1", "llama", SPEC, {"gpu": "a100"})
    pod = made["spec"]["template"]
    engine = pod["spec"]["containers"][0]
    tail = ["--tensor-parallel-size", "2", "--pipeline-parallel-size", "2"]
    assert engine["args"] == ["--model", "tiny", *tail]
    assert engine["resources"]["limits"] == {"memory": "64Gi", GPU_RESOURCE: "4"}
    assert pod["spec"]["nodeSelector"] == {"gpu": "a100"}
    assert made["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert pod["metadata"]["labels"]["evolver/role"] == "prefill"
    assert spec_of(made) == SPEC
    assert TEMPLATE["spec"]["template"]["spec"]["containers"][0]["args"][-1] == "8"


def test_a_template_without_a_container_is_refused():
    empty = {"spec": {"template": {"spec": {}}}}
    with pytest.raises(ReplicaError, match="no container"):
        replica_deployment(empty, "a", "b", SPEC, {})


@pytest.mark.parametrize("words", ["-tp 4 -pp 1", "--tensor-parallel-size=4", ""])
def test_flags_say_a_shape_once(words):
    assert with_flags([*words.split(), "--seed", "1"], Shape(tp=2))[:2] == ["--seed", "1"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"shape": 1}', "[" * 9000, json.dumps({"shape": {"tp": "2"}}),
             json.dumps({"shape": {}, "share": [10**400]})],
)
def test_an_annotation_that_is_no_spec_is_none_of_ours(text):
    assert spec_of({"metadata": {"annotations": {SPEC_ANNOTATION: text}}}) is None


def test_only_what_does_not_pass_is_a_failure():
    pulling = {"status": {"containerStatuses": [{"state": {"waiting": {"reason": "Pulling"}}}]}}
    assert failure_of([{"status": {}}, pulling]) == ""
