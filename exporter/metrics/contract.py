"""Every metric's name, help, labels and buckets: the published contract, in one file.

The rest of the package reaches them through :class:`exporter.metrics.instruments.Instruments`; nothing
else creates one, but :mod:`exporter.metrics.http`, which counts in a form of its own.
Names follow Prometheus's conventions: base units, ``_total`` on counters, ratios from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

CONFIDENCE_BUCKETS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

# An unbiased MMD^2 is negative about half the time under the null and at most 2 for a kernel with
# values from 0 to 1. Roughly eight buckets a decade, so that the null, any threshold that
# calibration finds, and drift fall into different ones.
TEST_STAT_BUCKETS = (
    *(-0.1, -0.05, -0.02, -0.01, -0.005, -0.002, -0.001, 0.0),
    *(0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0065, 0.008),
    *(0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08),
    *(0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.5, 2.0),
)

HTTP_DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
HTTP_DURATION_HIGHR_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5),
    *(0.6, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0, 30.0, 60.0),
)
VALUE_BUCKETS = (
    *(-1000.0, -300.0, -100.0, -30.0, -10.0, -3.0, -1.0, -0.3, -0.1, 0.0),
    *(0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
)
DETECT_SECONDS_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
LAG_SECONDS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

SOURCES = ("hook", "sidecar", "ingest", "record")
DROP_REASONS = (
    "queue_full",  # the queue held max_items
    "queue_bytes",  # the queue held max_bytes
    "body_too_large",  # a body was longer than max_body_bytes
    "unreadable",  # a body could not be decoded or parsed
    "no_prediction",  # a readable body held none of the fields looked for
    "failed",  # a stage of ours raised while handling it
    "stopped",  # it was still queued when the drain time was over, or came after the stop
)
ERROR_STAGES = ("extract", "detect", "notify", "proxy")
DETECTOR_STATES = ("learning", "calibrating", "filling", "provisional", "ready", "failed")
REFERENCE_SOURCES = ("none", "loaded", "provisional", "learned", "restored")
INVALID_VALUES = (
    ("predicted_class", "wrong_type"),
    ("confidence", "wrong_type"),
    ("confidence", "not_finite"),
    ("confidence", "out_of_range"),
    ("value", "wrong_type"),
    ("value", "not_finite"),
    ("embedding", "wrong_type"),
    ("embedding", "wrong_shape"),
    ("embedding", "not_finite"),
    ("model", "not_a_name"),
    ("version", "not_a_name"),
)
OTHER_CLASS = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
FORWARD_DROP_REASONS = ("queue_full", "queue_bytes", "refused", "failed", "stopped")
AGREEMENTS = ("right", "wrong")

InstrumentType = Literal["counter", "gauge", "histogram", "summary"]
MultiprocessMode = Literal["livesum", "livemax", "livemin", "livemostrecent"]


@dataclass(frozen=True, slots=True)
class Spec:
    """One metric of the contract.

    ``multiprocess`` says how the values of several worker processes become one, for gauges.
    """

    name: str
    type: InstrumentType
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    multiprocess: MultiprocessMode = "livemax"


_Named = Callable[[str], Spec]


def _counter(text: str, *labels: str) -> _Named:
    return lambda name: Spec(name, "counter", text, labels)


def _gauge(text: str, *labels: str, multiprocess: MultiprocessMode = "livemax") -> _Named:
    return lambda name: Spec(name, "gauge", text, labels, multiprocess=multiprocess)


def _histogram(buckets: tuple[float, ...], text: str, *labels: str) -> _Named:
    return lambda name: Spec(name, "histogram", text, labels, buckets)


def _summary(text: str, *labels: str) -> _Named:
    return lambda name: Spec(name, "summary", text, labels)


def _specs(**metrics: _Named) -> tuple[Spec, ...]:
    return tuple(make(name) for name, make in metrics.items())


# The empty version, to Prometheus, is no label at all.
_MODEL = ("model", "version")
_DETECTOR = (*_MODEL, "detector")

PREDICTIONS = _specs(
    prediction_confidence=_histogram(
        CONFIDENCE_BUCKETS, "Confidence of the model in its prediction, 0 to 1.", *_MODEL
    ),
    predicted_class_total=_counter(
        "Predictions by class; classes beyond max_classes count as other.", *_MODEL, "class_name"
    ),
    prediction_value=_histogram(VALUE_BUCKETS, "Outputs of a regression model.", *_MODEL),
)
DRIFT = _specs(
    drift_test_stat=_histogram(
        TEST_STAT_BUCKETS, "Drift test statistic of each tested observation.", *_DETECTOR
    ),
    drift_test_stat_last=_gauge(
        "Most recent drift test statistic.", *_DETECTOR, multiprocess="livemostrecent"
    ),
    drift_threshold=_gauge("Threshold that the drift test statistic has to exceed.", *_DETECTOR),
    drift_score_ratio=_gauge("Most recent drift test statistic over its threshold.", *_DETECTOR),
    drift_active=_gauge("1 while a drift episode lasts, else 0.", *_DETECTOR),
    drift_events_total=_counter("Observations whose drift test exceeded its threshold.", *_DETECTOR),
    drift_episodes_total=_counter("Drift episodes, counted at their onset.", *_DETECTOR),
    drift_detector_state=_gauge("1 for the state the detector is in, else 0.", *_DETECTOR, "state"),
    drift_last_test_timestamp_seconds=_gauge(
        "When the last drift test was made, in seconds since the epoch.", *_DETECTOR
    ),
    drift_expected_run_length=_gauge(
        "Mean number of tests between false alarms that the threshold is calibrated for.", *_DETECTOR
    ),
    drift_calibration_ok=_gauge(
        "1 if the threshold's calibration passed its checks, and holds on the stream as it is, else 0.",
        *_DETECTOR,
        multiprocess="livemin",
    ),
    drift_reference_info=_gauge("1 for where the reference came from, else 0.", *_DETECTOR, "source"),
    drift_reference_rows=_gauge("Observations that the reference is made of.", *_DETECTOR),
    drift_reference_timestamp_seconds=_gauge(
        "When the reference was complete, in seconds since the epoch; 0 where that is not known.", *_DETECTOR
    ),
    drift_reference_drifting_ratio=_gauge(
        "Share of the learned reference that came while an episode of drift lasted.", *_DETECTOR
    ),
    drift_learning_ratio=_gauge("Share of the reference that has been learned.", *_DETECTOR),
    drift_effective_sample_ratio=_gauge(
        "How many independent observations one of the stream is worth, 0 to 1.",
        *_DETECTOR,
        multiprocess="livemin",
    ),
    embedding_atypical_total=_counter(
        "Tested observations that are less typical than the fifth-least typical of the reference.", *_DETECTOR
    ),
    embedding_atypical_tested_total=_counter(
        "Tested observations that were held against the reference's least typical ones.", *_DETECTOR
    ),
    drift_checkpoint_timestamp_seconds=_gauge(
        "When the detector was last written to its checkpoint or state, in seconds since the epoch.",
        *_DETECTOR,
    ),
    drift_checkpoint_failures_total=_counter(
        "Checkpoints and states of the detector that could not be written or taken up.", *_DETECTOR
    ),
)
LEDGER = _specs(
    inference_exporter_observations_total=_counter("Observations captured, by source.", *_MODEL, "source"),
    inference_exporter_processed_total=_counter("Observations handled to the end.", *_MODEL),
    inference_exporter_dropped_total=_counter("Observations given up, by reason.", *_MODEL, "reason"),
    inference_exporter_sampled_out_total=_counter(
        "Observations recorded but, by the sampling rate, not tested for drift.", *_MODEL
    ),
    inference_exporter_queued=_gauge(
        "Observations waiting or being handled.", *_MODEL, multiprocess="livesum"
    ),
    inference_exporter_queue_bytes=_gauge(
        "Bytes that the waiting observations hold.", *_MODEL, multiprocess="livesum"
    ),
)
OPERATION = _specs(
    inference_exporter_build_info=_gauge("Constant 1, labelled by version.", "version"),
    inference_exporter_errors_total=_counter("Failures of the exporter's own stages.", "stage"),
    inference_exporter_invalid_values_total=_counter(
        "Values found in an exchange but refused, by field and reason.", *_MODEL, "field", "reason"
    ),
    inference_exporter_repeats_total=_counter(
        "Embeddings that repeat one of the 250 before, bit for bit: not tested while at most half do.",
        *_DETECTOR,
    ),
    inference_exporter_detect_seconds=_histogram(
        DETECT_SECONDS_BUCKETS, "Time a detector took for one batch.", *_DETECTOR
    ),
    inference_exporter_lag_seconds=_histogram(
        LAG_SECONDS_BUCKETS, "Age of an observation when it was handled.", *_MODEL
    ),
    inference_exporter_orphan_observes_total=_counter("Calls of observe() outside any captured request."),
)
FORWARD = _specs(
    inference_exporter_forwarded_total=_counter("Observations that the collector has taken."),
    inference_exporter_forward_dropped_total=_counter(
        "Observations that could not be sent to the collector, by reason.", "reason"
    ),
    inference_exporter_forward_queued=_gauge(
        "Observations waiting for the collector.", multiprocess="livesum"
    ),
)
INGEST = _specs(
    inference_exporter_ingest_requests_total=_counter(
        "Requests to the ingest API, by route and status code.", "route", "code"
    ),
    inference_exporter_labels_total=_counter("Late labels, by what became of them.", *_MODEL, "outcome"),
    prediction_labelled_total=_counter(
        "Predictions whose true class is known by now, by whether they were right.", *_MODEL, "agreement"
    ),
    inference_exporter_model_training_timestamp_seconds=_gauge(
        "When the model was last trained, as its reports say, in seconds since the epoch.", *_MODEL
    ),
)
SIDECAR = _specs(
    inference_exporter_upstream_up=_gauge("1 if the upstream accepted a connection at the last probe."),
    inference_exporter_proxy_connections=_gauge("Client connections open now.", multiprocess="livesum"),
    inference_exporter_proxy_connections_total=_counter("Client connections accepted."),
    inference_exporter_proxy_upstream_failures_total=_counter(
        "Connections that the upstream failed, by reason.", "reason"
    ),
    inference_exporter_proxy_unobserved_total=_counter(
        "Connections forwarded without being followed, by reason.", "reason"
    ),
    inference_exporter_config_reload_success=_gauge(
        "1 if the last reload of the configuration succeeded, else 0."
    ),
)
HTTP = _specs(
    http_requests_total=_counter(
        "Total number of requests by method, status and handler.", "handler", "method", "status"
    ),
    http_request_duration_seconds=_histogram(
        HTTP_DURATION_BUCKETS,
        "Duration of HTTP requests in seconds, by handler and method.",
        "handler",
        "method",
    ),
    http_request_duration_highr_seconds=_histogram(
        HTTP_DURATION_HIGHR_BUCKETS, "Duration of HTTP requests in seconds, with many buckets and no labels."
    ),
    http_request_size_bytes=_summary("Size of the bodies of requests in bytes, by handler.", "handler"),
    http_response_size_bytes=_summary("Size of the bodies of responses in bytes, by handler.", "handler"),
)
CONTRACT = (*PREDICTIONS, *DRIFT, *LEDGER, *OPERATION, *FORWARD, *INGEST, *SIDECAR, *HTTP)


def method_label(method: str) -> str:
    """A request's method as the label ``method``; a client may send any word, which is then ``OTHER``."""
    return method if method in METHODS else "OTHER"
