"""What others post, brought into the runtime: observations, late labels, reports of models."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.decoders.registry import Reading
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange
from exporter.metrics.contract import AGREEMENTS
from exporter.metrics.instruments import Instruments
from exporter.observation import LABEL_OUTCOMES, Label, LabelOutcome, Observation
from exporter.pipeline.processor import Outcomes, Processor
from exporter.processors.drift import Drift
from exporter.processors.labels import LabelJoiner, LabelledPrediction
from exporter.receivers.ingest.app import IngestApp
from exporter.receivers.ingest.documents import ModelReport
from exporter.runtime import Runtime


class Ingest(Processor):
    """The sink behind the ingest API, and the application itself as :attr:`app`.

    Observations go the way of all others: the model's queue, its metrics, its detectors. Labels are
    joined to predictions of any source that carry a request id.
    """

    def __init__(self, runtime: Runtime) -> None:
        config, instruments = runtime.config, runtime.instruments
        self._runtime = runtime
        self._model = config.model
        self._joiner = LabelJoiner(max_items=config.labels.max_items, window_seconds=config.labels.window)
        self._agreement = {
            agreement: instruments["prediction_labelled_total"].labels(self._model, agreement)
            for agreement in AGREEMENTS
        }
        self._outcomes = {
            outcome: instruments["inference_exporter_labels_total"].labels(self._model, outcome)
            for outcome in LABEL_OUTCOMES
        }
        self._trained = instruments["inference_exporter_model_training_timestamp_seconds"].labels(self._model)
        self.app = IngestApp(
            config.ingest,
            model=self._model,
            sink=self,
            read=self._read,
            max_exchange_bytes=int(config.capture.max_body_bytes),
            token=config.admin.token,
            embedding_length=self._embedding_length,
            refuse=runtime.pipeline.refuse,
            count=_RequestCounter(instruments),
        )
        runtime.pipeline.processors.append(self)

    def _read(self, exchange: Exchange) -> list[Reading]:
        # Looked up each time, since a reload may bring another one.
        return self._runtime.pipeline.extractor.read(exchange)

    def accepts(self, model: str) -> bool:
        """Whether observations of a model can be taken: those of the model that is watched."""
        return model == self._model

    def submit(self, observation: Observation) -> bool:
        """Queue an observation; False if the queue is full."""
        return self._runtime.submit(observation, "ingest")

    def label(self, label: Label) -> LabelOutcome:
        """Join a label."""
        outcome, pair = self._joiner.labelled(label)
        self._outcomes[outcome].inc()
        self._count(pair)
        return outcome

    def report(self, report: ModelReport) -> None:
        """Take note of when a model was trained."""
        self._trained.set(report.last_training_time)

    def unreadable(self, error: PayloadError) -> None:
        """Count an exchange out of CloudEvents that held no readable prediction."""
        self._runtime.monitor.ledger.refused("ingest", error.reason)

    def process(self, observations: Sequence[Observation], outcomes: Outcomes) -> None:  # noqa: ARG002
        """Remember predictions, for labels that may come."""
        for observation in observations:
            if observation.request_id is not None:
                self._count(self._joiner.observed(observation))

    def _count(self, pair: LabelledPrediction | None) -> None:
        if pair is not None and pair.predicted_class is not None:
            self._agreement["right" if pair.predicted_class == str(pair.label) else "wrong"].inc()

    def _embedding_length(self, _model: str) -> int | None:
        drift = self._runtime.pipeline.find(Drift)
        lengths = {
            watch.detector.n_features
            for watch in (drift.watches if drift is not None else ())
            if watch.detector is not None
        }
        return lengths.pop() if len(lengths) == 1 else None


class _RequestCounter:
    """Counts requests by route and status, both out of short lists of ours."""

    def __init__(self, instruments: Instruments) -> None:
        self._requests = instruments["inference_exporter_ingest_requests_total"]

    def __call__(self, route: str, status: int) -> None:
        self._requests.labels(route, str(status)).inc()
