"""The chart, rendered: valid manifests, one release beside another, found by the operators of a cluster."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config import AlertsConfig
from exporter.config.loading import load_config
from exporter.metrics.contract import HTTP_DURATION_BUCKETS
from exporter.mixin.rules import prometheus_rules
from exporter.mixin.terms import Terms, duration
from tests.mixin.helm import render
from tests.mixin.manifests import KUBE_PROMETHEUS_STACK, agree, ends_in_good_order, taken_by, validate

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "inference-exporter"


def values() -> dict[str, Any]:
    result: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
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
        (("exporter", "adminport"), 10911),
        (("exporter", "config", "alerts", "latency_sla"), 0.3),
        (("exporter", "config", "alerts", "drift_page_after"), "1h"),
        (("exporter", "config", "alerts", "error_per_second"), 3),
        (("serviceMonitor", "enabled"), True),
        (("podMonitor", "labels"), {"release": 1}),
        (("state", "size"), 1),
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


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Helm's own way: maps are merged, everything else is replaced."""
    result = dict(base)
    for key, change in changes.items():
        both = isinstance(change, dict) and isinstance(base.get(key), dict)
        result[key] = merged(base[key], change) if both else change
    return result


def chart(
    changes: dict[str, Any] | None = None, *, release: str = "wine", namespace: str = "models"
) -> list[dict[str, Any]]:
    files = render(CHART, merged(values(), changes or {}), release, namespace)
    return [document for documents in files.values() for document in documents]


def of_kind(documents: list[dict[str, Any]], *kinds: str) -> dict[str, Any]:
    (found,) = [document for document in documents if document["kind"] in kinds]
    return found


SERVICE_MONITOR = {"podMonitor": {"enabled": False}, "serviceMonitor": {"enabled": True}}
NO_VOLUME = {"state": {"persistent": False}}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"exporter": {"tokenSecret": "a-secret"}},
        {"model": {"readinessPath": ""}, "service": {"port": 8000}},
        {**SERVICE_MONITOR, "exporter": {"tokenSecret": "a-secret"}},
        {**NO_VOLUME, "commonLabels": {"team": "vision"}},
        {"state": {"storageClass": "fast"}},
    ],
)
def test_the_chart_gives_valid_manifests(changes: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(merged(values(), changes), json.loads((CHART / "values.schema.json").read_text()))
    documents = chart(changes)
    validate(documents)
    secret = changes.get("exporter", {}).get("tokenSecret")
    extra = [{"kind": "Secret", "metadata": {"name": secret}}] if secret else []
    agree([*documents, *extra])


def test_parts_of_the_chart_can_be_left_out() -> None:
    off = {
        name: {"enabled": False} for name in ("podMonitor", "prometheusRule", "networkPolicy", "dashboards")
    }
    assert {document["kind"] for document in chart(off)} == {"ConfigMap", "StatefulSet", "Service"}


@pytest.mark.parametrize("changes", [{}, NO_VOLUME])
def test_a_pod_starts_and_ends_in_good_order(changes: dict[str, Any]) -> None:
    ends_in_good_order(of_kind(chart(changes), "StatefulSet", "Deployment"))


def test_a_pod_that_ends_at_once_is_noticed() -> None:
    workload = of_kind(chart({"model": {"preStopSeconds": 0}}), "StatefulSet")
    with pytest.raises(AssertionError):
        ends_in_good_order(workload)


def test_what_was_learned_is_kept_on_a_volume_for_each_pod() -> None:
    workload = of_kind(chart(), "StatefulSet")["spec"]
    assert [claim["metadata"]["name"] for claim in workload["volumeClaimTemplates"]] == ["state"]
    assert "state" not in {volume["name"] for volume in workload["template"]["spec"]["volumes"]}
    (mount,) = [
        mount
        for mount in workload["template"]["spec"]["initContainers"][0]["volumeMounts"]
        if mount["name"] == "state"
    ]
    assert values()["exporter"]["config"]["state"] == mount["mountPath"]
    without = of_kind(chart(NO_VOLUME), "Deployment")["spec"]
    assert "volumeClaimTemplates" not in without
    assert {"name": "state", "emptyDir": {}} in without["template"]["spec"]["volumes"]


LABEL = KUBE_PROMETHEUS_STACK


@pytest.mark.parametrize(
    "changes",
    [
        {"commonLabels": LABEL},
        {"podMonitor": {"labels": LABEL}, "prometheusRule": {"labels": LABEL}},
        {**SERVICE_MONITOR, "commonLabels": LABEL},
        {
            "podMonitor": {"enabled": False},
            "serviceMonitor": {"enabled": True, "labels": LABEL},
            "prometheusRule": {"labels": LABEL},
        },
        {
            "commonLabels": {"release": "other"},
            "podMonitor": {"labels": LABEL},
            "prometheusRule": {"labels": LABEL},
        },
    ],
)
def test_a_default_kube_prometheus_stack_takes_monitors_and_rules(changes: dict[str, Any]) -> None:
    taken = taken_by(chart(changes), LABEL)
    assert len(taken) == 2
    assert set(taken.values()) == {True}


def test_without_a_label_it_takes_none_of_them() -> None:
    assert taken_by(chart(), LABEL) == {"PodMonitor wine": False, "PrometheusRule wine": False}


def test_common_labels_are_on_everything_and_change_no_selector() -> None:
    documents, plain = chart({"commonLabels": {"team": "a", "app.kubernetes.io/name": "b"}}), chart()
    for document in documents:
        assert document["metadata"]["labels"]["team"] == "a", document["kind"]
        assert document["metadata"]["labels"].get("app.kubernetes.io/name", "wine") == "wine" or (
            document["kind"] == "ConfigMap"
        )
    pods = of_kind(documents, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert pods["app.kubernetes.io/name"] == "wine"
    for document, other in zip(documents, plain, strict=True):
        for key in ("selector", "podSelector"):
            assert document.get("spec", {}).get(key) == other.get("spec", {}).get(key)


def rules_of(documents: list[dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = of_kind(documents, "PrometheusRule")["spec"]
    return spec


def in_seconds(rules: dict[str, Any], after: float) -> dict[str, Any]:
    """Write the times of the one alert that has settable ones as the chart does, and a bucket's bound."""
    text = yaml.safe_dump(rules, width=10_000)
    text = re.sub(r'le="([\d.]+)"', r'le=~"\1([.]0)?"', text)
    for seconds in (after, after / 4):
        for around in ("[{}]) >", "for {}, or", "for {} with"):
            written, plain = around.format(duration(seconds)), around.format(f"{seconds:g}s")
            text = text.replace(written, plain)
    text = text.replace("the limit is 90d.", "the limit is 7776000s.")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


@pytest.mark.parametrize(
    "alerts",
    [
        {},
        {
            "errors_per_second": 3,
            "server_error_ratio": 0.25,
            "min_confidence": 0.6,
            "latency_sla": 1,
            "latency_objective": 0.999,
            "rising_score_ratio": 0.4,
            "drift_page_after": 1800,
            "drift_page_ratio": 2.5,
            "class_shift": 0.35,
            "runbook_url": "https://wiki.example/runbooks",
        },
        {"latency_objective": 0.5},
    ],
)
def test_the_rules_hold_the_release_to_its_values(alerts: dict[str, Any]) -> None:
    settings = AlertsConfig.model_validate({**alerts, "job": "models/wine"})
    expected = in_seconds(prometheus_rules(Terms(settings)), settings.drift_page_after)
    assert rules_of(chart({"exporter": {"config": {"alerts": alerts}}})) == expected


def test_the_values_are_those_of_the_configuration() -> None:
    limits = values()["exporter"]["config"]["alerts"]
    defaults = AlertsConfig().model_dump(exclude={"job", "runbook_url"})
    assert {key: value for key, value in limits.items() if key != "runbook_url"} == defaults
    schema = json.loads((CHART / "values.schema.json").read_text())["definitions"]["alerts"]["properties"]
    assert set(schema) == set(limits)
    assert schema["latency_sla"]["enum"] == list(HTTP_DURATION_BUCKETS)


def test_a_second_release_shares_no_name_no_address_and_no_series() -> None:
    releases = [chart(), chart(release="iris"), chart(namespace="staging")]
    jobs, boards, folders = set(), [], set()
    for documents in releases:
        endpoint = of_kind(documents, "PodMonitor")["spec"]["podMetricsEndpoints"][0]
        job = endpoint["relabelings"][0]["replacement"]
        jobs.add(job)
        for group in rules_of(documents)["groups"]:
            for rule in group["rules"]:
                assert f'job=~"{job}"' in rule["expr"], rule
        (board,) = [d for d in documents if "grafana_dashboard" in d["metadata"]["labels"]]
        folders.add(board["metadata"]["annotations"]["grafana_folder"])
        boards.append([json.loads(text) for text in board["data"].values()])
    assert jobs == {"models/wine", "models/iris", "staging/wine"}
    assert len(folders) == 3
    uids = [board["uid"] for dashboards in boards for board in dashboards]
    assert len(set(uids)) == len(uids) == 18
    assert max(map(len, uids)) <= 40
    for dashboards in boards:
        own = {board["uid"] for board in dashboards}
        linked = set(re.findall(r'"/d/([\w-]+)', json.dumps(dashboards)))
        assert linked
        assert linked <= own
    names = [
        {(d["kind"], d["metadata"]["name"]) for d in documents} for documents in (releases[0], releases[1])
    ]
    assert not names[0] & names[1]


def test_a_key_that_stands_twice_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "a.yaml").write_text("labels:\n  a: 1\n  a: 2\n")
    with pytest.raises(ValueError, match="a key stands twice"):
        render(tmp_path, {})


def test_the_chart_holds_all_dashboards_and_a_valid_configuration(tmp_path: Path) -> None:
    maps = {d["metadata"]["name"]: d["data"] for d in chart() if d["kind"] == "ConfigMap"}
    assert set(maps["wine-dashboards"]) == {
        path.name for path in (ROOT / "dashboards" / "grafana").glob("*.json")
    }
    path = tmp_path / "config.yaml"
    path.write_text(maps["wine-exporter"]["config.yaml"])
    assert load_config(path, environment={}).model == "wine"
