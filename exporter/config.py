"""Settings: one frozen model for each section. :mod:`exporter.config_file` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field, Tag, model_validator

from exporter.config_values import (
    Address,
    Buckets,
    Bytes,
    Device,
    Digest,
    Duration,
    LabelText,
    Link,
    Number,
    PathPattern,
    Rule,
    Upstream,
    Whole,
    alternative,
)

# The engine cannot calibrate for less.
_SHORTEST_RUN = 10.0

Payload = Literal["auto", "open-inference-v2", "kserve-v1", "torchserve", "openai", "headers", "fields"]


class Section(BaseModel):
    """A section of the configuration: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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


class ImageConfig(Section):
    """Where a request's images are, and how they are prepared for the embedder.

    ``source`` is ``auto`` (by the request's content type), ``body`` for a raw image, ``multipart`` or
    ``multipart:NAME`` for uploads, or a dotted path to base64 text in a JSON request.
    """

    source: str = Field(default="auto", min_length=1)
    resize: Whole | None = Field(default=256, ge=1, le=8192)
    crop: Whole = Field(default=224, ge=1, le=8192)
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    channels: Literal[1, 3] = 3
    layout: Literal["nchw", "nhwc"] = "nchw"
    mean: tuple[Number, ...] = (0.485, 0.456, 0.406)
    std: tuple[Number, ...] = (0.229, 0.224, 0.225)
    max_pixels: Whole = Field(default=40_000_000, ge=1)

    @model_validator(mode="after")
    def _one_number_for_each_channel(self) -> ImageConfig:
        for key, given in (("mean", self.mean), ("std", self.std)):
            if len(given) not in (1, self.channels):
                raise Rule(
                    key, given, f"it needs 1 number or {self.channels}, one for each channel; write them so"
                )
        if min(self.std) <= 0:
            raise Rule(
                "std", self.std, "a standard deviation is above 0; write such as [0.229, 0.224, 0.225]"
            )
        if self.resize is not None and self.resize < self.crop:
            raise Rule(
                "resize", self.resize, f"it must be at least crop ({self.crop}); raise it or lower crop"
            )
        return self


class EmbedderConfig(Section):
    """A model of our own that turns a request's images into embeddings, in the worker.

    ``path`` is the ONNX or TorchScript file, or the weights of a torchvision ``architecture``, whose
    submodule ``layer`` then gives the embedding.
    """

    kind: Literal["onnx", "torchscript", "torchvision"]
    path: Path
    sha256: Digest | None = None
    architecture: str | None = None
    layer: str | None = None
    classes: Whole = Field(default=1000, ge=1)
    output: str | None = None
    length: Whole | None = Field(default=None, ge=1)
    device: Device = "auto"
    max_batch: Whole = Field(default=32, ge=1, le=1024)
    image: ImageConfig = ImageConfig()

    @model_validator(mode="after")
    def _what_torchvision_needs(self) -> EmbedderConfig:
        if self.kind == "torchvision":
            for key, given in (("architecture", self.architecture), ("layer", self.layer)):
                if not given:
                    raise Rule(
                        key,
                        given,
                        "kind: torchvision needs it; give names such as "
                        "architecture: mobilenet_v2 and layer: features",
                    )
        return self


class CaptureConfig(Section):
    """Which exchanges become observations, and how they are read."""

    paths: tuple[PathPattern, ...] = ("/predict",)
    payload: Payload = "auto"
    fields: FieldsConfig = FieldsConfig()
    max_body_bytes: Bytes = ByteSize(1024 * 1024)
    max_classes: Whole = Field(default=200, ge=1, le=10_000)
    value_buckets: Buckets = ()
    embedder: EmbedderConfig | None = None

    @model_validator(mode="after")
    def _fields_need_a_field(self) -> CaptureConfig:
        if self.payload == "fields" and not any(self.fields.model_dump().values()):
            raise Rule(
                "payload",
                "fields",
                "payload: fields needs an address; add one under capture.fields, "
                "such as predicted_class: result.label",
            )
        return self


class LearnConfig(Section):
    """Learn the reference from the first embeddings of the stream."""

    learn: Whole = Field(ge=40, le=100_000)


class SampleConfig(Section):
    """Thin the stream in time before it is tested."""

    max_per_second: Number = Field(gt=0)


Reference = Annotated[
    Annotated[LearnConfig, Tag("<learn>")] | Annotated[Path, Tag("<path>")],
    alternative("<learn>", "<path>", "<path>"),
]
Window = Annotated[
    Annotated[Whole, Tag("<one>")] | Annotated[tuple[Whole, ...], Tag("<several>")],
    alternative("<one>", "<several>", "<one>"),
]


class DriftConfig(Section):
    """One detector: its reference, its windows, and how often it may raise a false alarm."""

    detector: Literal["mmd", "alibi"] = "mmd"
    name: LabelText = Field(default="", max_length=64)
    reference: Reference = LearnConfig(learn=1000)
    window: Window = 50
    expected_run_length: Number | None = Field(default=None, ge=_SHORTEST_RUN)
    false_alarm_interval: Duration | None = None
    sample: SampleConfig | None = None
    device: Device = "auto"
    bandwidth: Number | None = Field(default=None, gt=0)
    seed: Whole | None = Field(default=None, ge=0)
    checkpoint: Path | None = None
    checkpoint_interval: Duration = 60.0
    trust_pickles: bool = False
    sha256: Digest | None = None

    @model_validator(mode="after")
    def _one_way_to_say_how_often(self) -> DriftConfig:
        if self.false_alarm_interval is None:
            return self
        if self.expected_run_length is not None:
            raise Rule(
                "false_alarm_interval",
                self.false_alarm_interval,
                "expected_run_length says the same; remove one of the two",
            )
        if self.sample is None:
            raise Rule(
                "false_alarm_interval",
                self.false_alarm_interval,
                "only with a sampling rate is it known how many tests a second are made; "
                "add sample: {max_per_second: 5}, say",
            )
        if self.run_length < _SHORTEST_RUN:
            raise Rule(
                "false_alarm_interval",
                self.false_alarm_interval,
                f"at {self.sample.max_per_second:g} tests a second these are {self.run_length:g} tests, "
                f"and at least {_SHORTEST_RUN:g} have to lie between false alarms; give a longer interval",
            )
        return self

    @model_validator(mode="after")
    def _windows_are_lengths(self) -> DriftConfig:
        if not self.windows or min(self.windows) < 2 or len(set(self.windows)) != len(self.windows):
            given = self.window if isinstance(self.window, int) else list(self.window)
            raise Rule(
                "window",
                given,
                "a window is a whole number from 2; write one such as 50, or different ones such as [10, 50]",
            )
        need = 4 * self.windows[-1]
        if isinstance(self.reference, LearnConfig) and self.detector == "mmd" and self.reference.learn < need:
            raise Rule(
                "reference.learn",
                self.reference.learn,
                f"a window of {self.windows[-1]} needs {need} embeddings or more; "
                f"give at least that, or a window of at most {self.reference.learn // 4}",
            )
        return self

    @model_validator(mode="after")
    def _what_alibi_needs(self) -> DriftConfig:
        if self.detector == "alibi" and isinstance(self.reference, LearnConfig):
            raise Rule(
                "reference",
                self.reference.model_dump(),
                "detector: alibi cannot learn; give the path of the folder that alibi-detect saved",
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
            return self.false_alarm_interval * self.sample.max_per_second
        return self.expected_run_length if self.expected_run_length is not None else 10_000.0


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
