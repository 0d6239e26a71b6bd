"""The chart's committed renders agree with the code; where helm is installed, they are the chart's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from pydantic_settings import BaseSettings

from runtime.settings import GatewaySettings, KafkaSettings, ProcessorsSettings, SinkSettings, TracingSettings, load
from runtime.settings.base import env_name

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy" / "helm" / "chaukas-gateway"
GOLDEN = Path(__file__).parent / "golden_helm"
NAMES = ("default", "scaled", "small")
RENDERS: dict[str, list[dict[str, Any]]] = {
    name: list(yaml.safe_load_all((GOLDEN / f"{name}.yaml").read_text())) for name in NAMES
}
SETTINGS: dict[str, list[type[BaseSettings]]] = {
    "gateway": [GatewaySettings, KafkaSettings, TracingSettings],
    "processors": [ProcessorsSettings, KafkaSettings, TracingSettings],
    "sink": [SinkSettings, KafkaSettings, TracingSettings],
}


def of_kind(name: str, kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in RENDERS[name] if one["kind"] == kind}


def workloads(name: str) -> list[dict[str, Any]]:
    return [*of_kind(name, "Deployment").values(), *of_kind(name, "Job").values()]


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_a_setting_of_its_process(name: str) -> None:
    for workload in workloads(name):
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        *python, module = container["command"]
        assert python == ["python", "-P", "-m"]
        known = {env_name(cls, key, field) for cls in SETTINGS[module] for key, field in cls.model_fields.items()}
        given = [one["name"] for one in container["env"]]
        # KAFKA_ settings may also be properties of librdkafka.
        assert {one for one in given if not one.startswith("KAFKA_")} <= known
        assert len(given) == len(set(given))


@pytest.mark.parametrize("name", NAMES)
def test_ports_and_probes_are_those_the_processes_listen_on(name: str) -> None:
    for deployment in of_kind(name, "Deployment").values():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        cls = SETTINGS[container["command"][-1]][0]
        ports = {one["name"]: one["containerPort"] for one in container["ports"]}
        assert ports["http"] == cls.model_fields["http_port"].default
        if "grpc" in ports:
            assert ports["grpc"] == cls.model_fields["grpc_port"].default
        for probe, path in (("startup", "/healthz"), ("liveness", "/healthz"), ("readiness", "/readyz")):
            asked = container[f"{probe}Probe"]["httpGet"]
            assert (asked["path"], asked["port"]) == (path, "http")
            # The gateway's page is its HTTP door; the sink's certificate is for queries alone.
            assert (asked.get("scheme") == "HTTPS") == any(
                one["name"] == "GATEWAY_TLS_CERT_FILE" for one in container["env"]
            )


@pytest.mark.parametrize("name", NAMES)
def test_pods_are_unprivileged_and_bounded(name: str) -> None:
    for workload in workloads(name):
        pod = workload["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert len(pod["topologySpreadConstraints"]) == 2
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", NAMES)
def test_whatever_selects_pods_finds_some(name: str) -> None:
    pods = [one["spec"]["template"]["metadata"]["labels"] for one in of_kind(name, "Deployment").values()]
    for one in RENDERS[name]:
        spec = one["spec"]
        match one["kind"]:
            case "Service":
                labels = spec["selector"]
            case "Deployment" | "PodDisruptionBudget" | "PodMonitor":
                labels = spec["selector"]["matchLabels"]
            case "NetworkPolicy":
                labels = spec["podSelector"]["matchLabels"]
            case "HorizontalPodAutoscaler" | "ScaledObject":
                assert spec["scaleTargetRef"]["name"] in of_kind(name, "Deployment")
                assert "replicas" not in of_kind(name, "Deployment")[spec["scaleTargetRef"]["name"]]["spec"]
                continue
            case _:
                continue
        assert sum(labels.items() <= pod.items() for pod in pods) == 1, one["metadata"]


def test_no_secret_is_rendered_and_those_that_are_named_are_references() -> None:
    secret = {"GATEWAY_SINK_TOKEN", "SINK_TOKEN", "CLICKHOUSE_DSN"}
    for name in NAMES:
        assert not of_kind(name, "Secret")
        for workload in workloads(name):
            for one in workload["spec"]["template"]["spec"]["containers"][0]["env"]:
                assert ("valueFrom" in one) == (one["name"] in secret)


def test_the_processes_scale_on_the_lag_of_their_own_group_and_topic() -> None:
    kafka = load(KafkaSettings)
    objects = of_kind("scaled", "ScaledObject")
    wanted = {
        "chaukas-processors": (kafka.group("", "chaukas-processors"), kafka.topics.raw),
        "chaukas-sink-writer": (kafka.group("", "chaukas-sink"), kafka.topics.enriched),
    }
    found = {name: one["spec"]["triggers"][0]["metadata"] for name, one in objects.items()}
    assert {name: (one["consumerGroup"], one["topic"]) for name, one in found.items()} == wanted


def test_the_rules_are_prometheus_own() -> None:
    rules = ROOT / "deploy" / "prometheus" / "rules"
    for name in ("recording", "alerts"):
        text = (rules / f"{name}.yaml").read_text()
        assert (CHART / "files" / f"{name}.yaml").read_text() == text, "copy deploy/prometheus/rules/ into the chart"
        wanted = yaml.safe_load(text.replace("docs/runbooks.md", "https://wiki.example/chaukas"))
        assert of_kind("scaled", "PrometheusRule")[f"chaukas-{name}"]["spec"] == wanted


def test_the_values_schema_takes_the_values_and_refuses_what_is_wrong() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    validator = jsonschema.Draft7Validator(schema)
    validator.validate(values)
    assert not validator.is_valid({**values, "gatway": {}})
    assert not validator.is_valid({**values, "gateway": {**values["gateway"], "settings": {"SINK_TOKEN": "x"}}})


@pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed (see deploy/README.md)")
@pytest.mark.parametrize("name", NAMES)
def test_the_renders_are_current(name: str) -> None:
    command = ["helm", "template", "chaukas", str(CHART), "--namespace=chaukas", "--kube-version=1.33.0"]
    done = subprocess.run(
        [*command, "-f", str(CHART / "ci" / f"{name}-values.yaml")], capture_output=True, text=True, check=True
    )
    assert done.stdout == (GOLDEN / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_door_has_a_certificate_or_the_word_that_it_needs_none(name: str) -> None:
    for component, prefix in (("gateway", "GATEWAY"), ("sink-query", "SINK")):
        pod = of_kind(name, "Deployment")[f"chaukas-{component}"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        given = {one["name"]: one.get("value") for one in container["env"]}
        assert (given.get(f"{prefix}_ALLOW_PLAINTEXT") == "true") != (f"{prefix}_TLS_CERT_FILE" in given)
        mounted = {one["mountPath"] for one in container["volumeMounts"]}
        assert (f"{prefix}_TLS_CERT_FILE" in given) == ("/tls" in mounted)
        assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}


def test_the_schema_is_migrated_before_an_upgrade_and_not_before_an_installation() -> None:
    assert not of_kind("small", "Job")  # it says so
    for name in ("default", "scaled"):
        (job,) = of_kind(name, "Job").values()
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
        assert job["spec"]["activeDeadlineSeconds"] < 300  # helm's own --timeout, unless it is given one
        (container,) = job["spec"]["template"]["spec"]["containers"]
        writer = of_kind(name, "Deployment")["chaukas-sink-writer"]["spec"]["template"]["spec"]["containers"][0]
        assert container["image"] == writer["image"]
        assert [*container["command"], *container["args"]] == [*writer["command"], "--migrate-only"]
        assert [one for one in container["env"] if one["name"] == "CLICKHOUSE_DSN"] == [
            one for one in writer["env"] if one["name"] == "CLICKHOUSE_DSN"
        ]
        assert not [key for key in container if key.endswith("Probe")]
