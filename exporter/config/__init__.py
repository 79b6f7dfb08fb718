"""Settings: one frozen model for each section, read from YAML and the environment."""

from exporter.config.capture import CaptureConfig, EmbedderConfig, FieldsConfig, ImageConfig, Payload
from exporter.config.drift import (
    AlibiConfig,
    DetectorConfig,
    MMDConfig,
    SampleConfig,
)
from exporter.config.learning import LearnConfig, StretchesConfig
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
    "AlibiConfig",
    "CaptureConfig",
    "CollectorConfig",
    "Config",
    "DetectorConfig",
    "EmbedderConfig",
    "FieldsConfig",
    "ImageConfig",
    "IngestConfig",
    "LabelsConfig",
    "LearnConfig",
    "MMDConfig",
    "Payload",
    "QueueConfig",
    "SampleConfig",
    "SidecarConfig",
    "StretchesConfig",
]
