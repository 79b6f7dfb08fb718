"""What others post, brought into the runtime: observations, late labels, reports of models."""

from __future__ import annotations

from dataclasses import replace

from exporter.http.exchange import Exchange
from exporter.model import can_be_label
from exporter.observation import Label, LabelOutcome, Observation
from exporter.processors.drift import Drift
from exporter.processors.labels import Labels
from exporter.receivers.ingest.app import IngestApp
from exporter.receivers.ingest.documents import Report
from exporter.runtime import Runtime


class Ingest:
    """The sink behind the ingest API, and its routes as :attr:`app`.

    Observations, and exchanges out of CloudEvents, go the way of all others: the model's queue, its
    metrics, its detectors. Labels are joined to predictions of any source that carry a request id.
    """

    def __init__(self, runtime: Runtime) -> None:
        config, instruments = runtime.config, runtime.instruments
        self._requests = instruments["inference_exporter_ingest_requests_total"]
        self._trained = instruments["inference_exporter_model_training_timestamp_seconds"]
        self._runtime = runtime
        self.app = IngestApp(
            config.ingest,
            model=config.unnamed,
            sink=self,
            max_exchange_bytes=int(config.capture.max_body_bytes),
            token=config.admin.token,
        )

    def accepts(self, model: str) -> bool:
        """Whether observations of a model can be taken: one that is watched, or may be."""
        config = self._runtime.config
        return model == config.unnamed or (config.takes(model) and can_be_label(model))

    def submit(self, item: Observation | Exchange, model: str | None) -> bool:
        """Queue an observation or exchange; False if the queue is full."""
        return self._runtime.submit(item, "ingest", model)

    def label(self, label: Label) -> LabelOutcome:
        """Join a label with a prediction of any version."""
        (first, *_) = self._runtime.pipelines(label.model)
        labels = first.find(Labels)
        if labels is None:
            raise ValueError("this runtime takes no labels: ingest is not enabled")
        # What is counted as other has one memory for all, as it has one name.
        return labels.label(replace(label, model=first.model.name))

    def report(self, report: Report) -> None:
        """Take note of when a model was trained."""
        (first, *_) = self._runtime.models.of_name(report.model_id)
        self._trained.labels(*first.model).set(report.last_training_time)

    def count(self, route: str, status: int) -> None:
        """Count a response."""
        self._requests.labels(route, str(status)).inc()

    def embedding_length(self, model: str) -> int | None:
        """The length that the model's detectors expect of embeddings; None where they do not agree on one."""
        found = [pipeline.find(Drift) for pipeline in self._runtime.pipelines(model)]
        watches = [watch for drift in found if drift is not None for watch in drift.watches]
        lengths = {watch.detector.n_features for watch in watches if watch.detector is not None}
        return lengths.pop() if len(lengths) == 1 else None
