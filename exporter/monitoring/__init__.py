"""Alert rules and dashboards, written for a user's own configuration."""

from exporter.monitoring.dashboards import write_dashboards
from exporter.monitoring.rules import write_rules

__all__ = ["write_dashboards", "write_rules"]
