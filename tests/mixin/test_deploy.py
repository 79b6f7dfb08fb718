"""What is deployed: every file parses, every path exists, and ports, names and labels agree."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config.loading import load_config
from exporter.mixin.rules import prometheus_rules
from exporter.mixin.terms import Terms
from tests.servers import free_port, request, wait_for

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "inference-exporter"

needs = {
    name: pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")
    for name in ("promtool", "amtool")
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
    assert "inference-exporter.rules.yml: differs from its source; change exporter/mixin/*_alerts.py" in told


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
        "sidecar": {8080, 10911},
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
        ("alertmanager", "webhook"),
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
    mounted = {config["target"] for config in COMPOSE["services"]["grafana"]["configs"]}
    folder = read(DEPLOY / "compose" / "grafana" / "dashboards.yml")["providers"][0]["options"]["path"]
    for path in (ROOT / "dashboards" / "grafana").glob("*.json"):
        assert f"{folder}/{path.name}" in mounted


def test_compose_sends_an_alert_once() -> None:
    """Prometheus's rules by Alertmanager; Grafana, which could evaluate the same ones, has none."""
    routing = read(DEPLOY / "alertmanager" / "alertmanager.yml")
    receivers = [hook["url"] for each in routing["receivers"] for hook in each["webhook_configs"]]
    assert receivers == ["http://webhook:8081/"]
    assert not [route for route in routing["route"]["routes"] if route.get("continue")]
    assert "alerting" not in json.dumps(COMPOSE["services"]["grafana"])
    files = {config["file"] for config in COMPOSE["configs"].values()}
    assert not [file for file in files if "grafana/alerting" in file]


def test_compose_keeps_what_was_learned() -> None:
    (volume,) = COMPOSE["services"]["sidecar"]["volumes"]
    name, _, folder = volume.partition(":")
    assert name in COMPOSE["volumes"]
    assert str(load_config(DEPLOY / "compose" / "sidecar.yml", environment={}).state) == folder
    # A named volume takes owner and mode of the image's folder.
    assert f"install -d -o 10001 -g 10001 -m 0700 {folder}" in (DEPLOY / "Dockerfile").read_text()


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


# Versions, and the webhook


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
