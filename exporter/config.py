"""Settings: one frozen model for each section. :mod:`exporter.config_file` reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    model_validator,
)

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+")


def parse_duration(value: Any) -> Any:
    """Turn ``7d``, ``1h30m`` or ``500ms`` into seconds; numbers are seconds already."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not _DURATION.fullmatch(text):
        try:
            return float(text)
        except ValueError:
            raise ValueError(
                "a duration is a number of seconds or text such as 30s, 15m, 12h or 7d"
            ) from None
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdw])", text)
    return sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts)


def _address(value: str) -> str:
    if value.startswith("unix:"):
        if len(value) <= len("unix:"):
            raise ValueError("a Unix socket is written unix:/path/to/socket")
        return value
    host, separator, port = value.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("an address is HOST:PORT (port 0 to 65535) or unix:/path/to/socket")
    return value


def _upstream(value: str) -> str:
    if value.startswith("unix:"):
        return _address(value)
    if not re.fullmatch(r"https?://[^/\s?#]+/?", value):
        raise ValueError("an upstream is http://HOST:PORT, https://HOST:PORT or unix:/path, without a path")
    return value.rstrip("/")


def _path_pattern(value: str) -> str:
    if value.startswith("regex:"):
        try:
            re.compile(value.removeprefix("regex:"))
        except re.error as error:
            raise ValueError(f"the text after regex: is not a regular expression ({error})") from None
        return value
    if not value.startswith("/"):
        raise ValueError("a path is /exact, /prefix/* or regex:PATTERN")
    if "*" in value[:-1] or (value.endswith("*") and not value.endswith("/*")):
        raise ValueError("a * may only stand at the end, as /prefix/*; use regex:PATTERN for more")
    return value


Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
Address = Annotated[str, AfterValidator(_address)]
Upstream = Annotated[str, AfterValidator(_upstream)]
PathPattern = Annotated[str, AfterValidator(_path_pattern)]
Bytes = Annotated[ByteSize, Field(gt=0)]
Payload = Literal["auto", "open-inference-v2", "kserve-v1", "torchserve", "openai", "headers", "fields"]


class Section(BaseModel):
    """A section of the configuration: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=False)


class FieldsConfig(Section):
    """Where each field of an observation stands.

    A value is a dotted path into the JSON answer (``result.label``, ``scores[0]``), the same into the
    request with the prefix ``request.``, a header with ``header:NAME`` (answer) or
    ``request-header:NAME``, or a JMESPath expression with ``jmespath:``.
    """

    predicted_class: str | None = None
    confidence: str | None = None
    value: str | None = None
    embedding: str | None = None
    features: str | None = None
    request_id: str | None = None


class CaptureConfig(Section):
    """Which exchanges become observations, and how they are read."""

    paths: tuple[PathPattern, ...] = ("/predict",)
    payload: Payload = "auto"
    fields: FieldsConfig = FieldsConfig()
    max_body_bytes: Bytes = ByteSize(1024 * 1024)
    max_classes: int = Field(default=200, ge=1, le=10_000)
    value_buckets: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _fields_need_a_field(self) -> CaptureConfig:
        if self.payload == "fields" and not any(self.fields.model_dump().values()):
            raise ValueError("payload: fields needs at least one key under capture.fields")
        return self


class LearnConfig(Section):
    """Learn the reference from the first embeddings of the stream."""

    learn: int = Field(ge=40, le=100_000)


class SampleConfig(Section):
    """Thin the stream in time before it is tested."""

    max_per_second: float = Field(gt=0)


class DriftConfig(Section):
    """One detector: its reference, its windows, and how often it may raise a false alarm."""

    detector: Literal["mmd", "alibi"] = "mmd"
    name: str = Field(default="", max_length=64)
    reference: LearnConfig | Path = LearnConfig(learn=1000)
    window: int | tuple[int, ...] = 50
    expected_run_length: float | None = Field(default=None, gt=1)
    false_alarm_interval: Duration | None = None
    sample: SampleConfig | None = None
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    bandwidth: float | None = Field(default=None, gt=0)
    seed: int | None = Field(default=None, ge=0)
    checkpoint: Path | None = None
    checkpoint_interval: Duration = 60.0
    trust_pickles: bool = False
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _one_way_to_say_how_often(self) -> DriftConfig:
        if self.expected_run_length is not None and self.false_alarm_interval is not None:
            raise ValueError("give expected_run_length or false_alarm_interval, not both")
        if self.false_alarm_interval is not None and self.sample is None:
            raise ValueError(
                "false_alarm_interval needs sample: {max_per_second: ...}, "
                "since only then is it known how many tests a second are made"
            )
        return self

    @model_validator(mode="after")
    def _windows_are_lengths(self) -> DriftConfig:
        if not self.windows or min(self.windows) < 2 or len(set(self.windows)) != len(self.windows):
            raise ValueError(
                "window is a whole number from 2, or a list of different ones such as [10, 50, 250]"
            )
        return self

    @property
    def windows(self) -> tuple[int, ...]:
        """The window lengths, ascending."""
        return (self.window,) if isinstance(self.window, int) else tuple(sorted(self.window))

    @property
    def label(self) -> str:
        """What the entry is called: its own name, or the kind of detector."""
        return self.name or self.detector

    def labels(self, windows: Sequence[int]) -> list[str]:
        """The value of the ``detector`` label for each window: several speak for themselves."""
        return [self.label] if len(windows) == 1 else [f"{self.label}_w{window}" for window in windows]

    @property
    def run_length(self) -> float:
        """Mean number of tests between false alarms that the thresholds are calibrated for."""
        if self.false_alarm_interval is not None and self.sample is not None:
            return max(2.0, self.false_alarm_interval * self.sample.max_per_second)
        return self.expected_run_length if self.expected_run_length is not None else 10_000.0


class QueueConfig(Section):
    """The bounds of the queue between the request path and the worker."""

    max_items: int = Field(default=10_000, ge=1)
    max_bytes: Bytes = ByteSize(64 * 1024 * 1024)
    max_batch: int = Field(default=256, ge=1, le=65_536)
    flush_interval_seconds: Duration = 0.05
    drain_seconds: Duration = 5.0


class SidecarConfig(Section):
    """The data plane in front of an inference service."""

    upstream: Upstream
    listen: Address = "0.0.0.0:8080"
    connect_timeout: Duration = 5.0
    first_byte_timeout: Duration = 300.0
    idle_timeout: Duration = 3600.0
    max_connections: int = Field(default=10_000, ge=1)
    drain_seconds: Duration = 30.0


class AdminConfig(Section):
    """The listener for /metrics, health and the API."""

    listen: Address = "127.0.0.1:9109"
    token: str | None = Field(default=None, min_length=8)


class AlertsConfig(Section):
    """What the generated alert rules and dashboards hold the service to."""

    errors_per_second: float = Field(default=20.0, gt=0)
    min_confidence: float = Field(default=0.75, gt=0, lt=1)
    latency_sla: Duration = 0.5
    latency_objective: float = Field(default=0.99, ge=0.5, lt=1)
    rising_score_ratio: float = Field(default=0.5, gt=0, lt=1)
    class_shift: float = Field(default=0.2, gt=0, lt=1)
    job: str | None = Field(default=None, min_length=1, max_length=128)
    runbook_url: str | None = Field(default=None, pattern=r"^https?://\S+$")


class Config(Section):
    """Everything that can be set."""

    model: str = Field(default="model", min_length=1, max_length=128)
    capture: CaptureConfig = CaptureConfig()
    drift: tuple[DriftConfig, ...] = ()
    queue: QueueConfig = QueueConfig()
    sidecar: SidecarConfig | None = None
    admin: AdminConfig = AdminConfig()
    alerts: AlertsConfig = AlertsConfig()

    @model_validator(mode="after")
    def _detector_names_differ(self) -> Config:
        labels = [drift.label for drift in self.drift]
        if len(set(labels)) != len(labels):
            raise ValueError("two detectors share a name; give each entry of drift its own name")
        return self
