"""The former home of :class:`exporter.detectors.OnlineMMD`; it works for one release more."""

from __future__ import annotations

from exporter.former import moved

__getattr__ = moved("exporter.detect.mmd", "exporter.detectors", ("OnlineMMD",))
