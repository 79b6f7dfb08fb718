"""Settings: one frozen model for each section, read from YAML and the environment."""

from exporter.config.capture import CaptureConfig, EmbedderConfig, FieldsConfig, ImageConfig, Payload
from exporter.config.drift import DriftConfig, LearnConfig, SampleConfig
from exporter.config.schema import (
    AdminConfig,
    AlertsConfig,
    CollectorConfig,
    Config,
    IngestConfig,
    LabelsConfig,
    QueueConfig,
    SidecarConfig,
)

__all__ = [
    "AdminConfig",
    "AlertsConfig",
    "CaptureConfig",
    "CollectorConfig",
    "Config",
    "DriftConfig",
    "EmbedderConfig",
    "FieldsConfig",
    "ImageConfig",
    "IngestConfig",
    "LabelsConfig",
    "LearnConfig",
    "Payload",
    "QueueConfig",
    "SampleConfig",
    "SidecarConfig",
]
