"""Every metric's name, help, labels and buckets: the published contract, in one file.

The rest of the package reaches them through :class:`exporter.metrics.instruments.Instruments`; nothing
else creates one, but :mod:`exporter.metrics.http`, which counts in a form of its own.
Names follow Prometheus's conventions: base units, ``_total`` on counters, ratios from 0 to 1.
"""

from __future__ import annotations

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

SOURCES = ("hook", "sidecar", "ingest")
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
DETECTOR_STATES = ("learning", "calibrating", "filling", "ready", "failed")
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
)
OTHER_CLASS = "other"
FORWARD_DROP_REASONS = ("queue_full", "queue_bytes", "refused", "failed", "stopped")
AGREEMENTS = ("right", "wrong")

Kind = Literal["counter", "gauge", "histogram", "summary"]
MultiprocessMode = Literal["livesum", "livemax", "livemin", "livemostrecent", "max"]


@dataclass(frozen=True, slots=True)
class Spec:
    """One metric of the contract.

    ``multiprocess`` says how the values of several worker processes become one, for gauges.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    multiprocess: MultiprocessMode = "livemax"


_DETECTOR = ("model", "detector")

PREDICTIONS = (
    Spec(
        "prediction_confidence",
        "histogram",
        "Confidence of the model in its prediction, 0 to 1.",
        ("model",),
        CONFIDENCE_BUCKETS,
    ),
    Spec(
        "predicted_class_total",
        "counter",
        "Predictions by class; classes beyond max_classes count as other.",
        ("model", "class_name"),
    ),
    Spec("prediction_value", "histogram", "Outputs of a regression model.", ("model",), VALUE_BUCKETS),
)
DRIFT = (
    Spec(
        "drift_test_stat",
        "histogram",
        "Drift test statistic of each tested observation.",
        _DETECTOR,
        TEST_STAT_BUCKETS,
    ),
    Spec(
        "drift_test_stat_last",
        "gauge",
        "Most recent drift test statistic.",
        _DETECTOR,
        multiprocess="livemostrecent",
    ),
    Spec("drift_threshold", "gauge", "Threshold that the drift test statistic has to exceed.", _DETECTOR),
    Spec("drift_score_ratio", "gauge", "Most recent drift test statistic over its threshold.", _DETECTOR),
    Spec("drift_active", "gauge", "1 while a drift episode lasts, else 0.", _DETECTOR),
    Spec("drift_events_total", "counter", "Observations whose drift test exceeded its threshold.", _DETECTOR),
    Spec("drift_episodes_total", "counter", "Drift episodes, counted at their onset.", _DETECTOR),
    Spec(
        "drift_detector_state", "gauge", "1 for the state the detector is in, else 0.", (*_DETECTOR, "state")
    ),
    Spec(
        "drift_last_test_timestamp_seconds",
        "gauge",
        "When the last drift test was made, in seconds since the epoch.",
        _DETECTOR,
    ),
    Spec(
        "drift_expected_run_length",
        "gauge",
        "Mean number of tests between false alarms that the threshold is calibrated for.",
        _DETECTOR,
    ),
    Spec(
        "drift_calibration_ok",
        "gauge",
        "1 if the quality checks of the threshold's calibration passed, else 0.",
        _DETECTOR,
        multiprocess="livemin",
    ),
    Spec(
        "drift_checkpoint_timestamp_seconds",
        "gauge",
        "When the detector was last written to its checkpoint, in seconds since the epoch.",
        _DETECTOR,
    ),
    Spec(
        "drift_checkpoint_failures_total",
        "counter",
        "Checkpoints of the detector that could not be written or taken up.",
        _DETECTOR,
    ),
)
LEDGER = (
    Spec(
        "inference_exporter_observations_total",
        "counter",
        "Observations captured, by source.",
        ("model", "source"),
    ),
    Spec("inference_exporter_processed_total", "counter", "Observations handled to the end.", ("model",)),
    Spec(
        "inference_exporter_dropped_total",
        "counter",
        "Observations given up, by reason.",
        ("model", "reason"),
    ),
    Spec(
        "inference_exporter_sampled_out_total",
        "counter",
        "Observations recorded but, by the sampling rate, not tested for drift.",
        ("model",),
    ),
    Spec(
        "inference_exporter_queued",
        "gauge",
        "Observations waiting or being handled.",
        ("model",),
        multiprocess="livesum",
    ),
    Spec(
        "inference_exporter_queue_bytes",
        "gauge",
        "Bytes that the waiting observations hold.",
        ("model",),
        multiprocess="livesum",
    ),
)
OPERATION = (
    Spec("inference_exporter_build_info", "gauge", "Constant 1, labelled by version.", ("version",)),
    Spec("inference_exporter_errors_total", "counter", "Failures of the exporter's own stages.", ("stage",)),
    Spec(
        "inference_exporter_invalid_values_total",
        "counter",
        "Values found in an exchange but refused, by field and reason.",
        ("model", "field", "reason"),
    ),
    Spec(
        "inference_exporter_detect_seconds",
        "histogram",
        "Time a detector took for one batch.",
        _DETECTOR,
        DETECT_SECONDS_BUCKETS,
    ),
    Spec(
        "inference_exporter_lag_seconds",
        "histogram",
        "Age of an observation when it was handled.",
        ("model",),
        LAG_SECONDS_BUCKETS,
    ),
    Spec(
        "inference_exporter_orphan_observes_total",
        "counter",
        "Calls of observe() outside any captured request.",
    ),
)
FORWARD = (
    Spec("inference_exporter_forwarded_total", "counter", "Observations that the collector has taken."),
    Spec(
        "inference_exporter_forward_dropped_total",
        "counter",
        "Observations that could not be sent to the collector, by reason.",
        ("reason",),
    ),
    Spec(
        "inference_exporter_forward_queued",
        "gauge",
        "Observations waiting for the collector.",
        multiprocess="livesum",
    ),
)
INGEST = (
    Spec(
        "inference_exporter_ingest_requests_total",
        "counter",
        "Requests to the ingest API, by route and status code.",
        ("route", "code"),
    ),
    Spec(
        "inference_exporter_labels_total",
        "counter",
        "Late labels, by what became of them.",
        ("model", "outcome"),
    ),
    Spec(
        "prediction_labelled_total",
        "counter",
        "Predictions whose true class is known by now, by whether they were right.",
        ("model", "agreement"),
    ),
    Spec(
        "inference_exporter_model_training_timestamp_seconds",
        "gauge",
        "When the model was last trained, as its reports say, in seconds since the epoch.",
        ("model",),
    ),
)
SIDECAR = (
    Spec(
        "inference_exporter_upstream_up",
        "gauge",
        "1 if the upstream accepted a connection at the last probe.",
    ),
    Spec(
        "inference_exporter_proxy_connections",
        "gauge",
        "Client connections open now.",
        multiprocess="livesum",
    ),
    Spec("inference_exporter_proxy_connections_total", "counter", "Client connections accepted."),
    Spec(
        "inference_exporter_proxy_upstream_failures_total",
        "counter",
        "Connections that the upstream failed, by reason.",
        ("reason",),
    ),
    Spec(
        "inference_exporter_proxy_unobserved_total",
        "counter",
        "Connections forwarded without being followed, by reason.",
        ("reason",),
    ),
    Spec(
        "inference_exporter_config_reload_success",
        "gauge",
        "1 if the last reload of the configuration succeeded, else 0.",
    ),
)
HTTP = (
    Spec(
        "http_requests_total",
        "counter",
        "Total number of requests by method, status and handler.",
        ("handler", "method", "status"),
    ),
    Spec(
        "http_request_duration_seconds",
        "histogram",
        "Duration of HTTP requests in seconds, by handler and method.",
        ("handler", "method"),
        HTTP_DURATION_BUCKETS,
    ),
    Spec(
        "http_request_duration_highr_seconds",
        "histogram",
        "Duration of HTTP requests in seconds, with many buckets and no labels.",
        (),
        HTTP_DURATION_HIGHR_BUCKETS,
    ),
    Spec(
        "http_request_size_bytes",
        "summary",
        "Size of the bodies of requests in bytes, by handler.",
        ("handler",),
    ),
    Spec(
        "http_response_size_bytes",
        "summary",
        "Size of the bodies of responses in bytes, by handler.",
        ("handler",),
    ),
)
CONTRACT = (*PREDICTIONS, *DRIFT, *LEDGER, *OPERATION, *FORWARD, *INGEST, *SIDECAR, *HTTP)
