"""Settings: one frozen model for each section. :mod:`exporter.config.loading` reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ByteSize, Field, model_validator

from exporter.config.base import Section
from exporter.config.capture import CaptureConfig
from exporter.config.drift import DRIFT_BY_DEFAULT, DetectorEntry
from exporter.config.models import AUTO, ModelConfig, Models, Version, fitting, is_pattern, is_read, laid_over
from exporter.config.types import (
    Address,
    Bytes,
    CollectorUrl,
    Duration,
    LabelText,
    Link,
    Number,
    Rule,
    Upstream,
    Whole,
    can_both_listen,
)
from exporter.model import OTHER, UNNAMED, ModelId


class QueueConfig(Section):
    """The queue between the request path and the worker."""

    max_items: Whole = Field(default=10_000, ge=1)
    """Exchanges and observations that wait at most; more are dropped."""
    max_bytes: Bytes = ByteSize(64 * 1024 * 1024)
    """What those of all models hold at most, in bytes; more is dropped."""
    max_batch: Whole = Field(default=256, ge=1, le=65_536)
    """Items handled in one go."""
    flush_interval_seconds: Duration = 0.1
    """How long an item waits for others, so that a batch is worth it."""
    drain_seconds: Duration = 5.0
    """At a stop: how long what waits may take before it is given up."""


class SidecarConfig(Section):
    """The data plane in front of an inference service."""

    upstream: Upstream
    """The service: `http://HOST:PORT` or `unix:/path`."""
    listen: Address = "0.0.0.0:8080"
    """Where clients connect: `HOST:PORT` or `unix:/path`."""
    connect_timeout: Duration = 5.0
    """For resolving the upstream's name and connecting; a 502 or 504 then."""
    first_byte_timeout: Duration = 300.0
    """How long the upstream may take to begin its response; a 504 then."""
    idle_timeout: Duration = 3600.0
    """A connection on which nothing moves for so long is closed."""
    max_connections: Whole = Field(default=10_000, ge=1)
    """Clients connected at once; further ones wait to be accepted."""
    drain_seconds: Duration = 30.0
    """At a stop: how long exchanges under way may take to end."""


class AdminConfig(Section):
    """The sidecar's listener for `/metrics`, health and the ingest API."""

    listen: Address = "127.0.0.1:10911"
    """`HOST:PORT` or `unix:/path`."""
    token: str | None = Field(default=None, min_length=8, repr=False)
    """Bearer token that is asked for; none by default."""


class CollectorConfig(Section):
    """Where observations are sent: the ingest API of a sidecar. A plain text stands for the `url` alone."""

    plain_key: ClassVar[str | None] = "url"

    url: CollectorUrl
    """`http://HOST:PORT`, `https://HOST:PORT` or `unix:/path`: its admin listener."""
    token: str | None = Field(default=None, min_length=8, repr=False)
    """The collector's own `admin.token`."""


class IngestConfig(Section):
    """Observations and labels that others post to the admin listener."""

    enabled: bool = False
    """Whether the routes exist."""
    max_body_bytes: Bytes = ByteSize(8 * 1024 * 1024)
    """A longer body is refused with 413, unpacked or not."""
    retry_after: Duration = 1.0
    """What `Retry-After` says when the queue is full."""
    event_window: Duration = 60.0
    """CloudEvents: how long a request waits for its response, or a response for it."""
    max_events: Whole = Field(default=10_000, ge=1)
    """CloudEvents that wait for the other half."""
    max_event_bytes: Bytes = ByteSize(64 * 1024 * 1024)
    """What they hold at most, in bytes."""
    max_records: Whole = Field(default=100_000, ge=1, le=10_000_000)
    """Identifiers remembered, so that a repeated record counts once."""


class LabelsConfig(Section):
    """How long and for how many predictions a late label is waited for."""

    window: Duration = 86_400.0
    """How long a prediction waits for its label, and a label for its prediction."""
    max_items: Whole = Field(default=100_000, ge=1, le=10_000_000)
    """How many wait; the oldest then give way."""


class AlertsConfig(Section):
    """What the generated alert rules and dashboards hold the service to."""

    errors_per_second: Number = Field(default=20.0, gt=0)
    """Responses a second with a status of 400 or above; more raise an alert."""
    server_error_ratio: Number = Field(default=0.1, gt=0, lt=1)
    """Share of responses with a status from 500 that is an alert."""
    min_confidence: Number = Field(default=0.75, gt=0, lt=1)
    """An average confidence below it raises an alert."""
    latency_sla: Duration = 0.5
    """What counts as fast: a bound of `http_request_duration_seconds`, such as `250ms`."""
    latency_objective: Number = Field(default=0.99, ge=0.5, lt=1)
    """The share of requests that has to be fast."""
    rising_score_ratio: Number = Field(default=0.5, gt=0, lt=1)
    """From which share of its threshold a rising statistic raises an alert."""
    drift_page_after: Duration = Field(default=3600.0, ge=240)
    """How long a drift lasts before it pages somebody; until then it is a warning."""
    drift_page_ratio: Number = Field(default=3.0, gt=1)
    """Above so many times its threshold, a quarter of that time suffices."""
    reference_max_age: Duration = 90 * 86_400.0
    """A reference older than that raises an alert."""
    class_shift: Number = Field(default=0.2, gt=0, lt=1)
    """Share of predictions that may go to other classes than the day before."""
    job: str | None = Field(default=None, min_length=1, max_length=128)
    """Prometheus's `job` that rules and dashboards look at; every one by default."""
    runbook_url: Link | None = None
    """Where the runbooks are; by default those of this project."""


class Config(Section):
    """Everything that can be set."""

    model: LabelText = Field(default="model", min_length=1, max_length=128)
    """Value of the `model` label; `auto`: what each exchange names."""
    version: Version = ""
    """Value of the `version` label; `auto`, `header:NAME`, `request-header:NAME`: what each exchange says."""
    max_models: Whole = Field(default=20, ge=1, le=1000)
    """Models kept apart, those of `models` among them; further ones count as `other`."""
    max_versions: Whole = Field(default=5, ge=1, le=100)
    """Versions of a model kept apart, where exchanges say them; further ones count as `other`."""
    models: Models = Field(default={})
    """What is different for single models; see "Many models"."""
    capture: CaptureConfig = CaptureConfig()
    drift: tuple[DetectorEntry, ...] = DRIFT_BY_DEFAULT
    collector: CollectorConfig | None = None
    isolation: Literal["auto", "process", "thread"] = "auto"
    """Where the hook reads, counts and tests; see below."""
    state: Path | None = None
    """Folder that keeps what was learned and what runs over restarts; none by default."""
    queue: QueueConfig = QueueConfig()
    sidecar: SidecarConfig | None = None
    admin: AdminConfig = AdminConfig()
    ingest: IngestConfig = IngestConfig()
    labels: LabelsConfig = LabelsConfig()
    alerts: AlertsConfig = AlertsConfig()

    @property
    def identity(self) -> ModelId:
        """The model by its labels, where it is one: of a configuration out of :meth:`of`."""
        return ModelId(self.model, self.version)

    @model_validator(mode="before")
    @classmethod
    def _the_default_gives_way_to_a_collector(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("collector") is not None and "drift" not in given:
            return {**given, "drift": ()}
        return given

    @property
    def unnamed(self) -> str:
        """What a model is called that nothing names."""
        return UNNAMED if self.model == AUTO else self.model

    @property
    def only(self) -> str | None:
        """The name of the only model that there may be; None if there may be others."""
        return None if self.model == AUTO or self.models else self.model

    @property
    def named(self) -> list[str]:
        """The models that are known beforehand."""
        own = [] if self.model == AUTO else [self.model]
        return list(dict.fromkeys([*own, *(name for name in self.models if not is_pattern(name))]))

    @property
    def is_open(self) -> bool:
        """Whether there may be models besides those that are named."""
        return self.model == AUTO or any(map(is_pattern, self.models))

    def takes(self, name: str) -> bool:
        """Whether a name that somebody gives is that of a model of its own."""
        return self.model in (AUTO, name) or fitting(self.models, name) is not None

    def says_version(self, name: str) -> bool:
        """Whether the version of a model is what each of its exchanges says."""
        return is_read(self._own(name).version)

    def of(self, model: ModelId) -> Config:
        """The configuration of one model: what is set for it lies over what is set for all.

        What is counted as ``other`` is a mixture of models or versions, in which no detector finds anything
        but the mixture.
        """
        key = fitting(self.models, model.name)
        changed: dict[str, Any] = {"model": model.name, "version": model.version, "models": {}}
        if key is not None:
            over = self.models[key]
            for name in sorted(over.model_fields_set - {"version", "drift"}):
                changed[name] = laid_over(getattr(self, name), getattr(over, name), ("models", key, name))
            if "drift" in over.model_fields_set:
                changed["drift"] = over.drift
        if OTHER in model and key != OTHER:
            changed["drift"] = ()
        return self.model_copy(update=changed)

    def fixed_version(self, name: str) -> str:
        """The version of a model that no exchange names, or where none is asked."""
        version = self._own(name).version
        return "" if is_read(version) else version

    def version_address(self, name: str) -> str:
        """The key ``version`` as it is set for a model, or else for all."""
        return self._own(name).version

    def _own(self, name: str) -> Config | ModelConfig:
        key = fitting(self.models, name)
        over = None if key is None else self.models[key]
        return over if over is not None and "version" in over.model_fields_set else self

    @model_validator(mode="after")
    def _models_are_whole(self) -> Config:
        if len(self.named) > self.max_models:
            fix = f"raise it to {len(self.named)} or more"
            raise Rule("max_models", self.max_models, f"models and model name {len(self.named)}; {fix}")
        for name, over in self.models.items():
            if "drift" in over.model_fields_set and over.drift and self.collector is not None:
                fix = "move drift to the collector's configuration"
                rule = f"with a collector the detectors are its own; {fix}"
                raise Rule(("models", name, "drift"), over.drift, rule)
            _names_differ(over.drift, ("models", name, "drift"))
        names = dict.fromkeys((*self.named, *self.models, *((self.unnamed,) if self.model == AUTO else ())))
        taken: set[Path] = set()
        for name in names:
            key = fitting(self.models, name)
            own = key is not None and "drift" in self.models[key].model_fields_set
            many = is_pattern(name) or name not in self.named or self.says_version(name)
            for index, entry in enumerate(self.of(ModelId(name)).drift):
                if entry.checkpoint is not None and (many or entry.checkpoint in taken):
                    at = ("models", key, "drift") if own and key is not None else ("drift",)
                    fix = "give each model a drift of its own, under models"
                    rule = f"several models or versions would write this file; {fix}"
                    raise Rule((*at, index, "checkpoint"), str(entry.checkpoint), rule)
                taken |= {entry.checkpoint} if entry.checkpoint is not None else set()
        return self

    @model_validator(mode="after")
    def _a_collector_detects(self) -> Config:
        if self.collector is not None and self.drift:
            fix = "move drift to the collector's configuration"
            raise Rule("collector", self.collector.url, f"with a collector the detectors are its own; {fix}")
        return self

    @model_validator(mode="after")
    def _each_address_once(self) -> Config:
        if self.sidecar is None:
            return self
        upstream = self.sidecar.upstream.removeprefix("http://")
        has_port = upstream.startswith("unix:") or re.search(r":[0-9]+$", upstream)
        taken = {"sidecar.upstream": upstream if has_port else f"{upstream}:80"}
        for key, address in (("sidecar.listen", self.sidecar.listen), ("admin.listen", self.admin.listen)):
            for other, there in taken.items():
                if not can_both_listen(address, there):
                    raise Rule(key, address, f"it is the address of {other} ({there}); give each its own")
            taken[key] = address
        return self

    @model_validator(mode="after")
    def _detector_names_differ(self) -> Config:
        _names_differ(self.drift, ("drift",))
        return self


def _names_differ(entries: Sequence[DetectorEntry], key: tuple[str, ...]) -> None:
    taken: set[str] = set()
    for index, entry in enumerate(entries):
        # A checkpoint is counted under the entry's own name, a window under its label.
        labels = {entry.label, *entry.labels(entry.windows)}
        if taken & labels:
            rule = "another entry of drift goes by this name; give each its own"
            raise Rule((*key, index, "name"), entry.label, rule)
        taken |= labels
