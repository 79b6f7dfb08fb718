"""What every Kubernetes manifest is held to: Kubernetes's schemas, and agreement with the others."""

from __future__ import annotations

import json
import re
from collections.abc import Set
from typing import Any

import pytest

from exporter.config import SidecarConfig

KUBERNETES = "1.32"
WORKLOADS = ("Deployment", "StatefulSet")
SELECTED = ("PodMonitor", "ServiceMonitor", "PrometheusRule")
KUBE_PROMETHEUS_STACK = {"release": "kube-prometheus-stack"}
"""``podMonitorSelector``, ``serviceMonitorSelector`` and ``ruleSelector`` of that chart by default."""


def validate(documents: list[dict[str, Any]]) -> None:
    """Check against Kubernetes's schemas, and the operators' kinds against what their schemas ask for."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for document in documents:
        kind = document["kind"]
        if kind in CUSTOM:
            CUSTOM[kind](document)
        else:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


def _keys(found: dict[str, Any], required: set[str], optional: Set[str] = frozenset()) -> None:
    assert required <= set(found) <= required | optional, found


def _monitor(document: dict[str, Any]) -> None:
    assert document["apiVersion"] == "monitoring.coreos.com/v1"
    endpoints = {"PodMonitor": "podMetricsEndpoints", "ServiceMonitor": "endpoints"}[document["kind"]]
    _keys(document["spec"], {"selector", endpoints})
    _keys(document["spec"]["selector"], {"matchLabels"})
    for endpoint in document["spec"][endpoints]:
        _keys(endpoint, {"port", "path", "interval", "relabelings"}, {"authorization"})
        (relabeling,) = endpoint["relabelings"]
        _keys(relabeling, {"targetLabel"}, {"sourceLabels", "separator", "replacement"})
        assert relabeling["targetLabel"] == "job"
        assert re.fullmatch(r"\d+(ms|s|m|h)", endpoint["interval"])
        if "authorization" in endpoint:
            _keys(endpoint["authorization"], {"type", "credentials"})
            _keys(endpoint["authorization"]["credentials"], {"name", "key"})


def _prometheus_rule(document: dict[str, Any]) -> None:
    assert document["apiVersion"] == "monitoring.coreos.com/v1"
    for group in document["spec"]["groups"]:
        _keys(group, {"name", "rules"}, {"interval"})
        for rule in group["rules"]:
            assert ("alert" in rule) != ("record" in rule)
            _keys(rule, {"expr"}, {"alert", "record", "for", "labels", "annotations"})
            assert all(isinstance(value, str) for value in rule.get("annotations", {}).values())


def _inference_service(document: dict[str, Any]) -> None:
    assert document["apiVersion"] == "serving.kserve.io/v1beta1"
    logger = document["spec"]["predictor"]["logger"]
    _keys(logger, {"mode", "url"})
    assert logger["mode"] in ("all", "request", "response")


CUSTOM = {
    "PodMonitor": _monitor,
    "ServiceMonitor": _monitor,
    "PrometheusRule": _prometheus_rule,
    "InferenceService": _inference_service,
}


def agree(documents: list[dict[str, Any]]) -> None:
    """Assert that selectors find pods, ports have names, and mounted things exist."""
    pods = [d["spec"]["template"] for d in documents if d["kind"] in WORKLOADS]
    named = {(d["kind"], d["metadata"]["name"]) for d in documents}
    selectors = [d["spec"]["selector"] for d in documents if d["kind"] == "Service"]
    selectors += [
        d["spec"]["selector"]["matchLabels"] for d in documents if d["kind"] in ("PodMonitor", *WORKLOADS)
    ]
    selectors += [d["spec"]["podSelector"]["matchLabels"] for d in documents if d["kind"] == "NetworkPolicy"]
    for selector in selectors:
        assert [p for p in pods if selector.items() <= p["metadata"]["labels"].items()], selector
    services = [d for d in documents if d["kind"] == "Service"]
    for monitor in (d for d in documents if d["kind"] == "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = [s for s in services if wanted <= s["metadata"]["labels"].items()]
        names = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= names
    for workload in (d for d in documents if d["kind"] == "StatefulSet"):
        assert ("Service", workload["spec"]["serviceName"]) in named
    ports: dict[str, int] = {}
    for workload in (d for d in documents if d["kind"] in WORKLOADS):
        pod = workload["spec"]["template"]
        claims = {c["metadata"]["name"] for c in workload["spec"].get("volumeClaimTemplates", [])}
        containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
        for container in containers:
            ports |= {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            for mount in container.get("volumeMounts", []):
                assert mount["name"] in claims | {volume["name"] for volume in pod["spec"]["volumes"]}
            for variable in container.get("env", []):
                assert ("Secret", variable["valueFrom"]["secretKeyRef"]["name"]) in named
        for volume in pod["spec"]["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in named
        for container in containers:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if probe in container:
                    port = container[probe]["httpGet"]["port"]
                    assert port in ports or port in ports.values()
    for document in documents:
        text = json.dumps(document["spec"]) if "spec" in document else ""
        for name in re.findall(r'"(?:targetPort|port)": "([a-z-]+)"', text):
            assert name in ports, name


def taken_by(documents: list[dict[str, Any]], selector: dict[str, str]) -> dict[str, bool]:
    """Say for each monitor and rule whether an operator with this selector takes it."""
    return {
        f"{document['kind']} {document['metadata']['name']}": (
            selector.items() <= document["metadata"].get("labels", {}).items()
        )
        for document in documents
        if document["kind"] in SELECTED
    }


def ends_in_good_order(workload: dict[str, Any]) -> None:
    """Assert that a pod starts and ends without a request that nobody answers.

    The model's container takes requests until it is out of every balancer, and only then ends; the sidecar,
    a restartable init container, ends after it. Both say when they have started.
    """
    pod = workload["spec"]["template"]["spec"]
    (sidecar,) = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    (model,) = pod["containers"]
    sleep = model["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleep >= 5
    assert pod["terminationGracePeriodSeconds"] >= sleep + SidecarConfig.model_fields["drain_seconds"].default
    ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
    for name, path in (
        ("startupProbe", "/-/healthy"),
        ("livenessProbe", "/-/healthy"),
        ("readinessProbe", "/-/ready"),
    ):
        assert sidecar[name]["httpGet"] == {"path": path, "port": "ie-admin"}
    for name in ("startupProbe", "readinessProbe"):
        assert model[name]["httpGet"]["port"] == ports["ie-data"]
    startup = model["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300
