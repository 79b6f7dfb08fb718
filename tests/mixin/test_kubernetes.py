"""The kustomize overlays: valid, in agreement with themselves, and found by the operators of a cluster."""

from __future__ import annotations

import copy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config.loading import load_config
from exporter.mixin.rules import prometheus_rules
from exporter.mixin.terms import Terms
from tests.mixin.manifests import (
    KUBE_PROMETHEUS_STACK,
    WORKLOADS,
    agree,
    ends_in_good_order,
    taken_by,
    validate,
)

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = ("example", "production", "kserve")


def built(folder: Path) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return built(KUBERNETES / "overlays" / request.param)


def test_manifests_are_valid(overlay: list[dict[str, Any]]) -> None:
    assert {"PodMonitor", "PrometheusRule", "NetworkPolicy", "StatefulSet", "ConfigMap", "Service"} <= {
        document["kind"] for document in overlay
    }
    validate(overlay)


def test_a_wrong_manifest_is_noticed(overlay: list[dict[str, Any]]) -> None:
    broken = copy.deepcopy([document for document in overlay if document["kind"] == "StatefulSet"])
    broken[0]["spec"]["template"]["spec"]["containers"][0]["ports_"] = []
    with pytest.raises(Exception, match="ports_"):
        validate(broken)


def test_names_ports_and_labels_agree(overlay: list[dict[str, Any]]) -> None:
    agree(overlay)


def test_the_exporter_is_a_native_sidecar_on_the_ports_it_names(overlay: list[dict[str, Any]]) -> None:
    for document in overlay:
        if document["kind"] not in WORKLOADS:
            continue
        pod = document["spec"]["template"]["spec"]
        (container,) = [
            c
            for c in (*pod.get("initContainers", []), *pod["containers"])
            if c["name"] == "inference-exporter"
        ]
        if document["metadata"]["name"] == "wine":
            ends_in_good_order(document)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert f"--listen=0.0.0.0:{ports['ie-data']}" in container["args"]
        assert f"--admin=0.0.0.0:{ports['ie-admin']}" in container["args"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert "memory" in container["resources"]["limits"]


def test_the_rules_are_those_of_every_model(overlay: list[dict[str, Any]]) -> None:
    (rule,) = [document for document in overlay if document["kind"] == "PrometheusRule"]
    assert rule["spec"] == prometheus_rules(Terms.of(None))


def test_a_default_kube_prometheus_stack_takes_what_production_has() -> None:
    taken = taken_by(built(KUBERNETES / "overlays" / "production"), KUBE_PROMETHEUS_STACK)
    assert taken == {"PodMonitor inference-exporter": True, "PrometheusRule inference-exporter": True}
    taken = taken_by(built(KUBERNETES / "overlays" / "example"), KUBE_PROMETHEUS_STACK)
    assert set(taken.values()) == {False}


def test_what_a_cluster_needs_once_is_not_in_what_every_model_needs() -> None:
    def names(folder: str) -> set[tuple[str, str]]:
        return {(d["kind"], d["metadata"]["name"]) for d in built(KUBERNETES / folder)}

    assert {kind for kind, _ in names("base")} == {"PodMonitor", "NetworkPolicy", "Secret"}
    assert {kind for kind, _ in names("monitoring")} == {"PrometheusRule", "ConfigMap"}


def test_what_is_learned_is_kept_on_a_volume(overlay: list[dict[str, Any]]) -> None:
    (workload,) = [document for document in overlay if document["kind"] in WORKLOADS]
    pod = workload["spec"]["template"]["spec"]
    (sidecar,) = [
        c for c in (*pod.get("initContainers", []), *pod["containers"]) if c["name"] == "inference-exporter"
    ]
    kept = {m["mountPath"] for m in sidecar["volumeMounts"] if m["name"] == "state"}
    assert [claim["metadata"]["name"] for claim in workload["spec"]["volumeClaimTemplates"]] == ["state"]
    assert "fsGroup" in pod["securityContext"]
    for path in KUBERNETES.rglob("config.yaml"):
        assert str(load_config(path, environment={}).state) in kept
