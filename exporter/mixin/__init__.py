"""Alert rules and dashboards, written for a user's own configuration."""

from exporter.mixin.dashboards import write_dashboards
from exporter.mixin.rules import write_prometheus_rule, write_rules

__all__ = ["write_dashboards", "write_prometheus_rule", "write_rules"]
