"""The alert rules, once: Prometheus's file and Grafana's are both written from this list."""

from __future__ import annotations

from exporter.mixin.alert import Alert
from exporter.mixin.drift_alerts import drift
from exporter.mixin.exporter_alerts import exporter
from exporter.mixin.prediction_alerts import predictions
from exporter.mixin.service_alerts import service
from exporter.mixin.terms import Terms


def groups(terms: Terms) -> dict[str, list[Alert]]:
    """Every alert for one configuration, by what it is about: the name of its group of rules."""
    return {
        "service": service(terms),
        "predictions": predictions(terms),
        "drift": drift(terms),
        "exporter": exporter(terms),
    }


def alerts(terms: Terms) -> tuple[Alert, ...]:
    """Every alert for one configuration."""
    return tuple(alert for members in groups(terms).values() for alert in members)
