"""A service with the hook on, and its answers beside those without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fastapi import FastAPI

from exporter import InferenceExporter
from exporter.pipeline.pipeline import Pipeline
from exporter.processors.drift import Drift
from exporter.processors.predictions import Predictions
from tests.identity.service import Log, create_app, everything, served


class Rig:
    """A service with the hook on, all of it: capture of every path, detector, checkpoint, live module."""

    def __init__(self, reference: Path, folder: Path, drain_seconds: float) -> None:
        self.events: list[Any] = []
        self.before_event: Callable[[], None] = lambda: None
        self.exporter = InferenceExporter(
            model="m",
            capture={"paths": ["/*"]},
            drift=[
                {
                    "reference": str(reference),
                    "checkpoint": str(folder / "checkpoint.npz"),
                    "checkpoint_interval": "1ms",
                }
            ],
            queue={"flush_interval_seconds": 0.005, "drain_seconds": drain_seconds},
            on_event=self._event,
        )
        self.monitor = self.exporter.runtime.monitor

    @property
    def pipeline(self) -> Pipeline:
        return self.exporter.runtime.pipeline

    @property
    def predictions(self) -> Predictions:
        found = self.pipeline.find(Predictions)
        assert found is not None
        return found

    @property
    def watch(self) -> Any:
        found = self.pipeline.find(Drift)
        assert found is not None
        return found.watches[0]

    def _event(self, event: Any) -> None:
        self.before_event()
        self.events.append(event)

    def put_on(self, app: FastAPI) -> FastAPI:
        module = torch.nn.Sequential(torch.nn.Linear(2, 2))
        self.exporter.instrument(app).expose(app).watch(module)
        return app

    def sample(self, name: str, **labels: str) -> float:
        if "model" in labels:
            labels = {"version": "", **labels}
        value = self.exporter.registry.get_sample_value(name, labels)
        assert value is not None, (name, labels)
        return value

    def errors(self, stage: str) -> float:
        return self.sample("inference_exporter_errors_total", stage=stage)


def answers_of(rig: Rig, file: Path) -> dict[str, bytes]:
    log: Log = []
    with served(rig.put_on(create_app(log, file))) as port:
        return everything(port, log)


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return [name for name in one if one[name] != other[name]]
