"""The former home of ``import_torchvision``; it works for one release more."""

from __future__ import annotations

from exporter.former import moved

__getattr__ = moved("exporter.torchvision_ops", "exporter.embedders.torchvision_ops", ("import_torchvision",))
