"""The alert rules, once: Prometheus's file and Grafana's are both written from this list."""

from __future__ import annotations

from exporter.mixin.alert import Alert
from exporter.mixin.exporter_alerts import exporter
from exporter.mixin.model_alerts import drift, predictions
from exporter.mixin.service_alerts import service
from exporter.mixin.terms import Terms


def alerts(terms: Terms) -> tuple[Alert, ...]:
    """List every alert for one configuration."""
    return (*service(terms), *predictions(terms), *drift(terms), *exporter(terms))
