"""The rules as files: for Prometheus, for its operator in Kubernetes, and for Grafana's own alerting."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from exporter.config import Config
from exporter.mixin.alert import Alert
from exporter.mixin.alerts import groups
from exporter.mixin.dashboards import panel_ids
from exporter.mixin.recording import recordings
from exporter.mixin.terms import Terms, duration, number

_GRAFANA_DATASOURCE = "prometheus"
_GRAFANA_RECEIVER = "Inference alerts"
HEADER = "# Written by `inference-exporter rules`; change the configuration and write it again.\n"


def write_rules(
    config: Config | None, out: Path, *, time_scale: float = 1.0, min_window_seconds: float = 0.0
) -> list[Path]:
    """Write the alert and recording rules for a configuration into a folder; give the files written.

    Parameters
    ----------
    config
        Whose model, paths and ``alerts`` section count. None writes rules for every model that a
        Prometheus finds, with the default thresholds.
    out
        Folder; ``prometheus/`` and ``grafana/`` are made below it.
    time_scale
        Factor on every window and pending period: 1 for production, 1/60 to try rules of hours in minutes.
    min_window_seconds
        No window gets shorter than this; at least four scrape intervals.

    Raises
    ------
    ConfigError
        If the latency SLA is not a bound of the duration histogram.
    """
    terms = Terms.of(config, time_scale=time_scale, min_window_seconds=min_window_seconds)
    files = {
        "prometheus/inference-exporter.rules.yml": prometheus_rules(terms),
        "grafana/alerting/rules.yml": grafana_rules(terms),
        "grafana/alerting/contact-points.yml": grafana_contact_points(),
        "grafana/alerting/policies.yml": grafana_policies(),
    }
    written = []
    for name, content in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER + dump(content), encoding="utf-8")
        written.append(path)
    return written


def write_prometheus_rule(
    config: Config | None, out: Path, *, labels: Mapping[str, str] | None = None
) -> Path:
    """Write the rules as the PrometheusRule that the Prometheus operator takes; give the file.

    Parameters
    ----------
    config
        As of :func:`write_rules`. The resource is named after its model.
    out
        Folder; ``prometheusrule.yaml`` is made in it.
    labels
        What the operator's ``ruleSelector`` asks for, such as ``release: kube-prometheus-stack``.

    Raises
    ------
    ConfigError
        If the latency SLA is not a bound of the duration histogram.
    """
    text = HEADER + dump(prometheus_rule(Terms.of(config), labels or {}))
    path = out / "prometheusrule.yaml"
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def prometheus_rule(terms: Terms, labels: Mapping[str, str]) -> dict[str, Any]:
    """Give the Prometheus operator's resource with the groups of a Prometheus rule file."""
    # Of what a model may be called, what a resource may be.
    model = re.sub(r"[^a-z0-9]+", "-", (terms.model or "").lower()).strip("-")
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": f"inference-exporter-{model}"[:63].strip("-"),
            "labels": {"app.kubernetes.io/part-of": "inference-exporter", **labels},
        },
        "spec": prometheus_rules(terms),
    }


def prometheus_rules(terms: Terms) -> dict[str, Any]:
    """Give the content of a Prometheus rule file."""
    interval = duration(terms.interval_seconds())
    records = [{"record": name, "expr": expr} for name, expr in recordings(terms).items()]
    written: list[dict[str, Any]] = [
        {"name": "inference-exporter-recording", "interval": interval, "rules": records}
    ]
    for name, members in groups(terms).items():
        rules = [
            {
                "alert": alert.name,
                "expr": f"{_operand(alert.expr)} {alert.op} {number(alert.limit)}",
                "for": duration(alert.for_seconds),
                "labels": _labels(alert),
                "annotations": _annotations(alert, terms),
            }
            for alert in members
        ]
        written.append({"name": f"inference-exporter-{name}", "interval": interval, "rules": rules})
    return {"groups": written}


def grafana_rules(terms: Terms) -> dict[str, Any]:
    """Give the content of a Grafana file that provisions the same alerts.

    Grafana evaluates them itself; the recording rules still belong into the Prometheus it asks.
    Grafana replaces ``$name`` by environment variables in most fields of this file, but not in
    annotations and not in queries, which is where ours stand.
    """
    ids = panel_ids()
    written = [
        {
            "orgId": 1,
            "name": f"inference-exporter-{name}",
            "folder": "Inference",
            "interval": duration(max(terms.interval_seconds(), 10.0)),
            "rules": [_grafana_rule(alert, terms, ids) for alert in members],
        }
        for name, members in groups(terms).items()
    ]
    return {"apiVersion": 1, "groups": written}


def grafana_contact_points() -> dict[str, Any]:
    """Give one webhook; Grafana takes its address from the environment."""
    receiver = {
        "uid": "inference-webhook",
        "type": "webhook",
        "settings": {"url": "$ALERT_WEBHOOK_URL", "httpMethod": "POST"},
        "disableResolveMessage": False,
    }
    point = {"orgId": 1, "name": _GRAFANA_RECEIVER, "receivers": [receiver]}
    return {"apiVersion": 1, "contactPoints": [point]}


def grafana_policies() -> dict[str, Any]:
    """Give the policy tree: everything to the webhook, critical alerts sooner and more often."""
    critical = {
        "receiver": _GRAFANA_RECEIVER,
        "object_matchers": [["severity", "=", "critical"]],
        "group_wait": "10s",
        "group_interval": "1m",
        "repeat_interval": "1h",
    }
    policy = {
        "orgId": 1,
        "receiver": _GRAFANA_RECEIVER,
        "group_by": ["grafana_folder", "alertname", "job", "model", "version"],
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat_interval": "12h",
        "routes": [critical],
    }
    return {"apiVersion": 1, "policies": [policy]}


def dump(content: Any) -> str:
    """Write YAML with keys in their given order and no line broken inside an expression."""
    return yaml.safe_dump(content, sort_keys=False, width=10_000, allow_unicode=True)


def _operand(expr: str) -> str:
    """Put an expression of set operators in brackets, since comparison binds tighter."""
    return f"({expr})" if " unless " in expr or " and " in expr else expr


def _labels(alert: Alert) -> dict[str, str]:
    return {"severity": alert.severity, "component": "inference-exporter"}


def _annotations(alert: Alert, terms: Terms) -> dict[str, str]:
    runbook = terms.runbook(alert.page)
    return {"summary": alert.summary, "description": alert.description, "runbook_url": runbook}


def _grafana_rule(alert: Alert, terms: Terms, ids: dict[tuple[str, str], int]) -> dict[str, Any]:
    dashboard, _ = alert.panel
    annotations = {
        key: text.replace("$value", "$values.A.Value") for key, text in _annotations(alert, terms).items()
    }
    uid = hashlib.sha256(f"{terms.model}/{alert.name}".encode()).hexdigest()[:12]
    query = {
        "refId": "A",
        "datasource": {"type": "prometheus", "uid": _GRAFANA_DATASOURCE},
        "expr": alert.expr,
        "instant": True,
        "range": False,
        "editorMode": "code",
        "intervalMs": 1000,
        "maxDataPoints": 43_200,
    }
    evaluator = {"type": {">": "gt", "<": "lt"}[alert.op], "params": [alert.limit]}
    condition = {
        "refId": "B",
        "type": "threshold",
        "datasource": {"type": "__expr__", "uid": "__expr__"},
        "expression": "A",
        "conditions": [{"evaluator": evaluator}],
    }
    return {
        "uid": f"inference-{uid}",
        "title": alert.title if terms.model is None else f"{alert.title} ({terms.model})",
        "condition": "B",
        "data": [
            {
                "refId": model["refId"],
                "relativeTimeRange": {"from": 600, "to": 0},
                "datasourceUid": source,
                "model": model,
            }
            for source, model in ((_GRAFANA_DATASOURCE, query), ("__expr__", condition))
        ],
        "dashboardUid": dashboard,
        "panelId": ids[alert.panel],
        "noDataState": "OK",
        "execErrState": "Error",
        "for": duration(alert.for_seconds),
        "annotations": annotations | {"__dashboardUid__": dashboard, "__panelId__": str(ids[alert.panel])},
        "labels": _labels(alert),
        "isPaused": False,
    }
