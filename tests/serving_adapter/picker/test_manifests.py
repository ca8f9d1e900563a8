"""The Kubernetes manifests fit together, and their command line is one of ours."""

from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="needs PyYAML")

FOLDER = Path(__file__).parents[3] / "deploy" / "kubernetes"


@pytest.fixture(scope="module")
def objects():
    texts = [path.read_text() for path in sorted(FOLDER.glob("endpoint-picker*.yaml"))]
    found = [one for text in texts for one in yaml.safe_load_all(text)]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


@pytest.fixture(scope="module")
def container(objects):
    template = objects["StatefulSet", "evolver-picker"]["spec"]["template"]
    (found,) = template["spec"]["containers"]
    return found


def test_the_pool_refers_to_the_picker_by_a_service_that_reaches_it(objects, container):
    pool = objects["InferencePool", "vllm"]
    assert pool["apiVersion"] == "inference.networking.k8s.io/v1"
    reference = pool["spec"]["endpointPickerRef"]
    assert reference["failureMode"] in ("FailOpen", "FailClose")
    service = objects["Service", reference["name"]]["spec"]
    (port,) = service["ports"]
    assert port["port"] == reference["port"]["number"]
    labels = objects["StatefulSet", "evolver-picker"]["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert ports[port["targetPort"]] == 9002


def test_picker_and_pool_mean_the_same_engines(objects, container):
    pool = objects["InferencePool", "vllm"]["spec"]
    engines = objects["Service", "vllm-engines"]["spec"]
    assert (engines["clusterIP"], engines["selector"]) == ("None", pool["selector"]["matchLabels"])
    (port,) = pool["targetPorts"]
    assert engines["ports"][0]["targetPort"] == port["number"]
    assert f"--engine=http://vllm-engines:{engines['ports'][0]['port']}" in container["args"]
    (rule,) = objects["HTTPRoute", "vllm"]["spec"]["rules"]
    assert rule["backendRefs"][0]["name"] == objects["InferencePool", "vllm"]["metadata"]["name"]


def test_the_command_line_is_one_that_is_understood(container):
    from typer.main import get_command

    from evolver.cli.app import app
    from evolver.cli.screen import Screen

    name, *arguments = container["args"]
    command = get_command(app).commands[name]
    typed = command.make_context(name, list(arguments), obj=Screen()).params
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert (typed["port"], typed["pages_port"]) == (ports["grpc"], ports["pages"])
    mounts = [one["mountPath"] for one in container["volumeMounts"]]
    assert str(typed["snapshot"].parent) in mounts
    assert {one["value"] for one in container["env"]} <= set(mounts)
    paths = {container[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")}
    assert paths == {"/readyz", "/healthz"}


def test_a_pod_lives_longer_than_its_drain(objects, container):
    spec = objects["StatefulSet", "evolver-picker"]["spec"]["template"]["spec"]
    (drain_s,) = [int(a.split("=")[1]) for a in container["args"] if a.startswith("--drain-s")]
    assert drain_s < spec["terminationGracePeriodSeconds"]
