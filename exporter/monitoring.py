"""The former name of :mod:`exporter.mixin`; it works for one release more."""

from __future__ import annotations

from exporter.former import moved

__getattr__ = moved("exporter.monitoring", "exporter.mixin", ("write_dashboards", "write_rules"))
