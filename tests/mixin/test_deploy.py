"""What is deployed: every file parses, every path exists, and ports, names and labels agree."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Set
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config.loading import load_config
from exporter.mixin.rules import prometheus_rules
from exporter.mixin.terms import Terms
from tests.mixin.helm import render
from tests.servers import free_port, request, wait_for

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "inference-exporter"
OVERLAYS = ("example", "production", "kserve")
KUBERNETES = "1.32"

needs = {
    name: pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")
    for name in ("promtool", "amtool", "kubectl")
}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


# Generated files


def generated() -> Any:
    spec = importlib.util.spec_from_file_location("deploy_build", DEPLOY / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_files_agree_with_their_source() -> None:
    assert generated().disagreements() == []


def test_a_rule_file_edited_by_hand_is_told_which_file_to_change(tmp_path: Path) -> None:
    module = generated()
    module.write(tmp_path)
    assert module.disagreements(tmp_path) == []
    path = tmp_path / "prometheus" / "inference-exporter.rules.yml"
    path.write_text(path.read_text().replace("> 20", "> 2000"))
    (told,) = module.disagreements(tmp_path)
    assert "inference-exporter.rules.yml: differs from its source; change exporter/mixin/alerts.py" in told


# Prometheus and Alertmanager


@needs["promtool"]
def test_prometheus_accepts_its_files(tmp_path: Path) -> None:
    config = (DEPLOY / "compose" / "prometheus.yml").read_text()
    rules = DEPLOY / "prometheus" / "inference-exporter.rules.yml"
    path = tmp_path / "prometheus.yml"
    path.write_text(config.replace("/etc/prometheus/rules/*.yml", str(rules)))
    result = run("promtool", "check", "config", path)
    assert result.returncode == 0, result.stderr
    written = sum(len(group["rules"]) for group in prometheus_rules(Terms.of(None))["groups"])
    assert f"{written} rules found" in result.stdout


@needs["promtool"]
def test_a_missing_token_file_is_refused(tmp_path: Path) -> None:
    content = read(DEPLOY / "compose" / "prometheus.yml")
    content["rule_files"] = []
    content["scrape_configs"][0]["authorization"] = {"credentials_file": str(tmp_path / "token")}
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(content))
    result = run("promtool", "check", "config", path)
    assert result.returncode != 0
    assert str(tmp_path / "token") in result.stderr
    (tmp_path / "token").write_text("a-token")
    assert run("promtool", "check", "config", path).returncode == 0


@needs["amtool"]
def test_alertmanager_accepts_its_file() -> None:
    result = run("amtool", "check-config", DEPLOY / "alertmanager" / "alertmanager.yml")
    assert result.returncode == 0, result.stderr


def test_inhibitions_name_alerts_that_exist() -> None:
    names = {
        rule["alert"]
        for group in prometheus_rules(Terms.of(None))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    for rule in read(DEPLOY / "alertmanager" / "alertmanager.yml")["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            pattern = re.fullmatch(r'alertname=~?"(.*)"', matcher)
            assert pattern is not None
            for choice in pattern[1].split("|"):
                assert [name for name in names if re.fullmatch(choice, name)], choice


# Compose


COMPOSE = read(DEPLOY / "compose" / "compose.yaml")


def test_compose_names_only_what_exists() -> None:
    folder = DEPLOY / "compose"
    for name, config in COMPOSE["configs"].items():
        assert (folder / config["file"]).is_file(), name
    used = set()
    for name, service in COMPOSE["services"].items():
        for config in service.get("configs", []):
            assert config["source"] in COMPOSE["configs"], name
            used.add(config["source"])
        for network in service["networks"]:
            assert network in COMPOSE["networks"], name
        for dependency, condition in service.get("depends_on", {}).items():
            assert dependency in COMPOSE["services"], name
            assert condition == {"condition": "service_healthy"}
        if "build" in service:
            context = folder / service["build"]["context"]
            dockerfile = context / service["build"]["dockerfile"]
            assert dockerfile.is_file()
            assert f" AS {service['build']['target']}\n" in dockerfile.read_text() + "\n"
    assert used == set(COMPOSE["configs"])


def test_compose_pins_checks_and_separates() -> None:
    volumes = []
    for name, service in COMPOSE["services"].items():
        assert re.search(r":v?\d+\.\d+", service["image"]), name
        checked = "healthcheck" in service or service["build"]["target"] == "exporter"
        assert checked, name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith(("/", ".")):
                assert name == "cadvisor", volume
                assert volume.endswith(":ro")
            else:
                volumes.append(source)
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
    assert sorted(volumes) == sorted(COMPOSE["volumes"])
    assert len(COMPOSE["networks"]) == 2
    assert COMPOSE["services"]["service"]["networks"] == ["serving"]
    assert COMPOSE["services"]["prometheus"]["networks"] == ["monitoring"]


def test_compose_addresses_agree() -> None:
    listens = {
        "sidecar": {8080, 9109},
        "service": {8000},
        "alertmanager": {9093},
        "prometheus": {9090},
        "grafana": {3000},
        "cadvisor": {8080},
        "webhook": {8081},
    }
    everything = (DEPLOY / "compose" / "compose.yaml").read_text()
    everything += "".join(path.read_text() for path in sorted((DEPLOY / "compose").rglob("*.yml")))
    everything += (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
    names = "|".join(COMPOSE["services"])
    everything = re.sub(r"image: .*", "", everything)
    found = re.findall(rf"\b({names}):(\d+)\b", everything)
    assert {name for name, _ in found} >= {"sidecar", "service", "alertmanager", "prometheus", "webhook"}
    for name, port in found:
        assert int(port) in listens[name], (name, port)
    networks = {name: set(service["networks"]) for name, service in COMPOSE["services"].items()}
    for one, other in (
        ("traffic", "sidecar"),
        ("sidecar", "service"),
        ("prometheus", "sidecar"),
        ("grafana", "webhook"),
    ):
        assert networks[one] & networks[other], (one, other)
    assert not networks["traffic"] & networks["prometheus"]


def test_grafana_is_provisioned_with_what_the_rules_name() -> None:
    sources = read(DEPLOY / "compose" / "grafana" / "datasource.yml")["datasources"]
    rules = read(DEPLOY / "grafana" / "alerting" / "rules.yml")
    used = {
        query["datasourceUid"]
        for group in rules["groups"]
        for rule in group["rules"]
        for query in rule["data"]
    }
    assert used - {"__expr__"} <= {source["uid"] for source in sources}
    grafana = COMPOSE["services"]["grafana"]
    mounted = {config["target"] for config in grafana["configs"]}
    folder = read(DEPLOY / "compose" / "grafana" / "dashboards.yml")["providers"][0]["options"]["path"]
    for path in (ROOT / "dashboards" / "grafana").glob("*.json"):
        assert f"{folder}/{path.name}" in mounted
    for variable in set(
        re.findall(r"\$([A-Z_]+)", (DEPLOY / "grafana/alerting/contact-points.yml").read_text())
    ):
        assert variable in grafana["environment"]


@pytest.mark.parametrize(
    "path",
    [DEPLOY / "compose/sidecar.yml", *sorted((DEPLOY / "kubernetes").rglob("config.yaml"))],
    ids=lambda p: p.parent.name,
)
def test_configurations_are_valid(path: Path) -> None:
    assert load_config(path, environment={}).model


# Dockerfile


def dockerfile() -> list[tuple[str, str]]:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.strip().partition(" ") for line in lines)]


def test_every_path_the_dockerfile_copies_exists_and_is_in_its_context() -> None:
    allowed = {
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"
    }
    for word, rest in dockerfile():
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source in allowed, source


def test_the_default_image_is_small_and_does_not_run_as_root() -> None:
    stages: dict[str, list[tuple[str, str]]] = {}
    parent: dict[str, str] = {}
    for word, rest in dockerfile():
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            parent[name] = base
            stages[name] = []
        elif stages:
            stages[name].append((word, rest))
    assert name == "exporter"
    lineage = [*stages[name], *stages[parent[name]]]
    assert ("USER", "10001:10001") in lineage
    assert any(word == "HEALTHCHECK" for word, _ in lineage)
    assert "torch" not in json.dumps([stages["exporter"], stages["base"], stages["build"]])
    assert "torch" in json.dumps(stages["build-torch"])
    assert all(":latest" not in rest for word, rest in dockerfile() if word == "FROM")


# Kubernetes


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    result = run("kubectl", "kustomize", DEPLOY / "kubernetes" / "overlays" / request.param)
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


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


def _pod_monitor(document: dict[str, Any]) -> None:
    assert document["apiVersion"] == "monitoring.coreos.com/v1"
    _keys(document["spec"], {"selector", "podMetricsEndpoints"}, {"jobLabel"})
    _keys(document["spec"]["selector"], {"matchLabels"})
    for endpoint in document["spec"]["podMetricsEndpoints"]:
        _keys(endpoint, {"port", "path", "interval"}, {"authorization"})
        assert re.fullmatch(r"\d+(ms|s|m|h)", endpoint["interval"])
        if "authorization" in endpoint:
            _keys(endpoint["authorization"], {"type", "credentials"})
            _keys(endpoint["authorization"]["credentials"], {"name", "key"})


def _prometheus_rule(document: dict[str, Any]) -> None:
    assert document["apiVersion"] == "monitoring.coreos.com/v1"
    assert document["spec"] == prometheus_rules(Terms.of(None))
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
    "PodMonitor": _pod_monitor,
    "PrometheusRule": _prometheus_rule,
    "InferenceService": _inference_service,
}


def test_manifests_are_valid(overlay: list[dict[str, Any]]) -> None:
    assert {"PodMonitor", "PrometheusRule", "NetworkPolicy", "Deployment", "ConfigMap", "Service"} <= {
        document["kind"] for document in overlay
    }
    validate(overlay)


def test_a_wrong_manifest_is_noticed(overlay: list[dict[str, Any]]) -> None:
    broken = copy.deepcopy([document for document in overlay if document["kind"] == "Deployment"])
    broken[0]["spec"]["template"]["spec"]["containers"][0]["ports_"] = []
    with pytest.raises(Exception, match="ports_"):
        validate(broken)


def agree(documents: list[dict[str, Any]]) -> None:
    """Assert that selectors find pods, ports have names, and mounted things exist."""
    pods = [d["spec"]["template"] for d in documents if d["kind"] == "Deployment"]
    named = {(d["kind"], d["metadata"]["name"]) for d in documents}
    selectors = [d["spec"]["selector"] for d in documents if d["kind"] == "Service"]
    selectors += [
        d["spec"]["selector"]["matchLabels"] for d in documents if d["kind"] in ("PodMonitor", "Deployment")
    ]
    selectors += [d["spec"]["podSelector"]["matchLabels"] for d in documents if d["kind"] == "NetworkPolicy"]
    for selector in selectors:
        assert [p for p in pods if selector.items() <= p["metadata"]["labels"].items()], selector
    ports: dict[str, int] = {}
    for pod in pods:
        containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
        for container in containers:
            ports |= {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            for mount in container.get("volumeMounts", []):
                assert mount["name"] in {volume["name"] for volume in pod["spec"]["volumes"]}
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


def test_names_ports_and_labels_agree(overlay: list[dict[str, Any]]) -> None:
    agree(overlay)


def test_the_exporter_is_a_native_sidecar_on_the_ports_it_names(overlay: list[dict[str, Any]]) -> None:
    for document in overlay:
        if document["kind"] != "Deployment":
            continue
        pod = document["spec"]["template"]["spec"]
        (container,) = [
            c
            for c in (*pod.get("initContainers", []), *pod["containers"])
            if c["name"] == "inference-exporter"
        ]
        if document["metadata"]["name"] == "wine":
            assert container["restartPolicy"] == "Always"
            assert container in pod["initContainers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert f"--listen=0.0.0.0:{ports['ie-data']}" in container["args"]
        assert f"--admin=0.0.0.0:{ports['ie-admin']}" in container["args"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert "memory" in container["resources"]["limits"]


# Helm


def values() -> dict[str, Any]:
    result: dict[str, Any] = read(CHART / "values.yaml")
    return result


def test_the_charts_values_fit_their_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(values(), schema)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("exporter", "adminPort"), 0),
        (("exporter", "config", "model"), ""),
        (("model", "image"), None),
        (("replicas",), "two"),
        (("podMonitor", "interval"), "often"),
        (("exporter", "adminport"), 9109),
    ],
)
def test_a_wrong_value_is_refused(path: tuple[str, ...], wrong: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    changed = values()
    section = changed
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = wrong
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, json.loads((CHART / "values.schema.json").read_text()))


def chart(changes: dict[str, dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    merged = values()
    for section, change in (changes or {}).items():
        merged[section] = {**merged[section], **change}
    return [document for documents in render(CHART, merged).values() for document in documents]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"exporter": {"tokenSecret": "a-secret"}},
        {"model": {"readinessPath": ""}, "service": {"port": 8000}},
    ],
)
def test_the_chart_gives_valid_manifests(changes: dict[str, dict[str, Any]]) -> None:
    documents = chart(changes)
    validate(documents)
    secret = changes.get("exporter", {}).get("tokenSecret")
    extra = [{"kind": "Secret", "metadata": {"name": secret}}] if secret else []
    agree([*documents, *extra])


def test_parts_of_the_chart_can_be_left_out() -> None:
    off = {
        name: {"enabled": False} for name in ("podMonitor", "prometheusRule", "networkPolicy", "dashboards")
    }
    assert {document["kind"] for document in chart(off)} == {"ConfigMap", "Deployment", "Service"}


def test_the_chart_holds_all_dashboards_and_a_valid_configuration(tmp_path: Path) -> None:
    maps = {d["metadata"]["name"]: d["data"] for d in chart() if d["kind"] == "ConfigMap"}
    assert set(maps["wine-dashboards"]) == {
        path.name for path in (ROOT / "dashboards" / "grafana").glob("*.json")
    }
    path = tmp_path / "config.yaml"
    path.write_text(maps["wine-exporter"]["config.yaml"])
    assert load_config(path, environment={}).model == "wine"


def test_versions_agree() -> None:
    from exporter.version import __version__

    chart_file = read(CHART / "Chart.yaml")
    assert chart_file["version"] == chart_file["appVersion"] == __version__
    everywhere = [*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.yml")]
    found = {
        tag
        for path in everywhere
        for tag in re.findall(r"inference-exporter(?:-examples)?:(\d[\w.]*)", path.read_text())
    }
    assert found == {__version__}


def test_the_webhook_prints_alerts() -> None:
    port = free_port()
    command = [sys.executable, str(DEPLOY / "compose" / "webhook.py"), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: request(port, "GET", "/")[0] == 204)
            labels, notes = {"alertname": "DriftActive"}, {"summary": "it drifts"}
            body = {"alerts": [{"status": "firing", "labels": labels, "annotations": notes}]}
            assert request(port, "POST", "/", json.dumps(body).encode())[0] == 204
            assert process.stdout is not None
            assert process.stdout.readline().split("  ")[:3] == ["FIRING", "DriftActive", "it drifts"]
        finally:
            process.terminate()
