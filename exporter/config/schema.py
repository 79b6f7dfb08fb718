"""Settings: one frozen model for each section. :mod:`exporter.config.loading` reads them."""

from __future__ import annotations

from typing import Literal

from pydantic import ByteSize, Field, model_validator

from exporter.config.base import Section
from exporter.config.capture import CaptureConfig
from exporter.config.drift import DriftConfig
from exporter.config.types import (
    Address,
    Bytes,
    Duration,
    LabelText,
    Link,
    Number,
    Rule,
    Upstream,
    Whole,
)


class QueueConfig(Section):
    """The bounds of the queue between the request path and the worker."""

    max_items: Whole = Field(default=10_000, ge=1)
    max_bytes: Bytes = ByteSize(64 * 1024 * 1024)
    max_batch: Whole = Field(default=256, ge=1, le=65_536)
    flush_interval_seconds: Duration = 0.1
    drain_seconds: Duration = 5.0


class SidecarConfig(Section):
    """The data plane in front of an inference service."""

    upstream: Upstream
    listen: Address = "0.0.0.0:8080"
    connect_timeout: Duration = 5.0
    first_byte_timeout: Duration = 300.0
    idle_timeout: Duration = 3600.0
    max_connections: Whole = Field(default=10_000, ge=1)
    drain_seconds: Duration = 30.0


class AdminConfig(Section):
    """The listener for /metrics, health and the API."""

    listen: Address = "127.0.0.1:9109"
    token: str | None = Field(default=None, min_length=8, repr=False)


class IngestConfig(Section):
    """Observations and labels that others post to the admin listener."""

    enabled: bool = False
    max_body_bytes: Bytes = ByteSize(8 * 1024 * 1024)
    retry_after: Duration = 1.0
    event_window: Duration = 60.0
    max_events: Whole = Field(default=10_000, ge=1)
    max_event_bytes: Bytes = ByteSize(64 * 1024 * 1024)
    max_records: Whole = Field(default=100_000, ge=1, le=10_000_000)


class LabelsConfig(Section):
    """How long and for how many predictions a late label is waited for."""

    window: Duration = 86_400.0
    max_items: Whole = Field(default=100_000, ge=1, le=10_000_000)


class AlertsConfig(Section):
    """What the generated alert rules and dashboards hold the service to."""

    errors_per_second: Number = Field(default=20.0, gt=0)
    server_error_ratio: Number = Field(
        default=0.1, gt=0, lt=1, description="Share of responses with a status from 500 that is an alert."
    )
    min_confidence: Number = Field(default=0.75, gt=0, lt=1)
    latency_sla: Duration = 0.5
    latency_objective: Number = Field(default=0.99, ge=0.5, lt=1)
    rising_score_ratio: Number = Field(default=0.5, gt=0, lt=1)
    class_shift: Number = Field(default=0.2, gt=0, lt=1)
    job: str | None = Field(default=None, min_length=1, max_length=128)
    runbook_url: Link | None = None


class Config(Section):
    """Everything that can be set."""

    model: LabelText = Field(default="model", min_length=1, max_length=128)
    capture: CaptureConfig = CaptureConfig()
    drift: tuple[DriftConfig, ...] = ()
    collector: str | None = None
    isolation: Literal["auto", "process", "thread"] = "auto"
    queue: QueueConfig = QueueConfig()
    sidecar: SidecarConfig | None = None
    admin: AdminConfig = AdminConfig()
    ingest: IngestConfig = IngestConfig()
    labels: LabelsConfig = LabelsConfig()
    alerts: AlertsConfig = AlertsConfig()

    @model_validator(mode="after")
    def _a_collector_detects(self) -> Config:
        if self.collector is not None and self.drift:
            raise Rule(
                "collector",
                self.collector,
                "with a collector the detectors are its own; move drift to the collector's configuration",
            )
        return self

    @model_validator(mode="after")
    def _detector_names_differ(self) -> Config:
        taken: set[str] = set()
        for index, entry in enumerate(self.drift):
            # A checkpoint is counted under the entry's own name, a window under its label.
            labels = {entry.label, *entry.labels(entry.windows)}
            if taken & labels:
                raise Rule(
                    f"drift[{index}].name",
                    entry.label,
                    "another entry of drift goes by this name; give each its own",
                )
            taken |= labels
        return self
