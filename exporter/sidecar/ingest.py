"""What others post, brought into the runtime: observations, late labels, reports of models."""

from __future__ import annotations

from exporter.http.exchange import Exchange
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
        model = config.model
        self._requests = instruments["inference_exporter_ingest_requests_total"]
        self._runtime = runtime
        self._model = model
        self._labels = Labels(config.labels, config.identity, instruments)
        self._trained = instruments["inference_exporter_model_training_timestamp_seconds"].labels(
            *config.identity
        )
        self.app = IngestApp(
            config.ingest,
            model=model,
            sink=self,
            max_exchange_bytes=int(config.capture.max_body_bytes),
            token=config.admin.token,
        )
        runtime.pipeline.processors.append(self._labels)

    def accepts(self, model: str) -> bool:
        """Whether observations of a model can be taken: those of the model that is watched."""
        return model == self._model

    def submit(self, item: Observation | Exchange, model: str) -> bool:  # noqa: ARG002 - there is one
        """Queue an observation or exchange; False if the queue is full."""
        return self._runtime.submit(item, "ingest")

    def label(self, label: Label) -> LabelOutcome:
        """Join a label."""
        return self._labels.label(label)

    def report(self, report: Report) -> None:
        """Take note of when a model was trained."""
        self._trained.set(report.last_training_time)

    def count(self, route: str, status: int) -> None:
        """Count a response."""
        self._requests.labels(route, str(status)).inc()

    def embedding_length(self, model: str) -> int | None:  # noqa: ARG002 - there is one
        """The length that the detectors expect of embeddings; None where they do not agree on one."""
        drift = self._runtime.pipeline.find(Drift)
        watches = drift.watches if drift is not None else ()
        lengths = {watch.detector.n_features for watch in watches if watch.detector is not None}
        return lengths.pop() if len(lengths) == 1 else None
