"""The alert rules, once: Prometheus's file and Grafana's are both written from this list."""

from __future__ import annotations

from exporter.mixin.alert import Alert
from exporter.mixin.terms import Terms, number

# The usual pair: two hours at this pace use up a tenth of a month's budget, or six hours do half of that.
_FAST_BURN = 14.4
_SLOW_BURN = 6.0
_MAX_RATIO = 0.9  # a low objective must not put the limit out of reach


def groups(terms: Terms) -> dict[str, list[Alert]]:
    """Every alert for one configuration, by what it is about: the name of its group of rules."""
    return {
        "service": _service(terms),
        "predictions": _predictions(terms),
        "drift": _drift(terms),
        "exporter": _exporter(terms),
    }


def alerts(terms: Terms) -> tuple[Alert, ...]:
    """Every alert for one configuration."""
    return tuple(alert for members in groups(terms).values() for alert in members)


def _service(terms: Terms) -> list[Alert]:
    settings = terms.alerts
    budget = 1 - settings.latency_objective
    sla = f"{number(settings.latency_sla)} s"
    objective = f"{settings.latency_objective:.6g}"
    fast, slow = (round(min(burn * budget, _MAX_RATIO), 6) for burn in (_FAST_BURN, _SLOW_BURN))
    over = {
        name: terms.of_exporter(f"job:http_requests_over_sla:ratio_rate{name}")
        for name in ("5m", "30m", "1h", "6h")
    }
    errors = terms.of_exporter("job_handler_status:http_requests:rate1m", 'status=~"[45].*"')
    return [
        Alert(
            name="ErrorResponses",
            title="Error responses",
            severity="critical",
            expr=f"sum by (job) ({errors})",
            limit=settings.errors_per_second,
            for_seconds=terms.seconds(60),
            summary="{{ $labels.job }} answers many requests with an error",
            description=(
                "{{ $labels.job }} gives {{ $value | humanize }} responses a second with a status of 400 or "
                f"above; the limit is {number(settings.errors_per_second)}."
            ),
            panel=("inference-service", "Error responses"),
        ),
        Alert(
            name="ServerErrors",
            title="Server errors",
            severity="critical",
            expr=terms.of_exporter("job:http_server_errors:ratio_rate5m"),
            limit=settings.server_error_ratio,
            for_seconds=terms.seconds(120),
            summary="{{ $labels.job }} fails a large share of its requests",
            description=(
                "{{ $value | humanizePercentage }} of the last five minutes' requests to {{ $labels.job }} "
                f"failed with a status of 500 or above; the limit is {settings.server_error_ratio:.4g} "
                "(a share of 1)."
            ),
            panel=("inference-service", "Share of server errors"),
        ),
        Alert(
            name="LatencyBudgetBurnsFast",
            title="Latency above its SLA (fast)",
            severity="critical",
            expr=f"{over['1h']} and on (job) ({over['5m']} > {number(fast)})",
            limit=fast,
            for_seconds=terms.seconds(120),
            summary="{{ $labels.job }} is much slower than its SLA",
            description=(
                "{{ $value | humanizePercentage }} of the last hour's requests to {{ $labels.job }} took "
                f"longer than {sla}. The objective is that a share of {objective} is faster; at this pace "
                "a month's budget lasts two days."
            ),
            panel=("inference-service", "Requests over the SLA"),
        ),
        Alert(
            name="LatencyBudgetBurnsSlowly",
            title="Latency above its SLA (slow)",
            severity="warning",
            expr=f"{over['6h']} and on (job) ({over['30m']} > {number(slow)})",
            limit=slow,
            for_seconds=terms.seconds(900),
            summary="{{ $labels.job }} has been slower than its SLA for hours",
            description=(
                "{{ $value | humanizePercentage }} of the last six hours' requests to {{ $labels.job }} took "
                f"longer than {sla}. The objective is that a share of {objective} is faster; at this pace "
                "a month's budget lasts five days."
            ),
            panel=("inference-service", "Requests over the SLA"),
        ),
        Alert(
            name="UpstreamDown",
            title="Upstream down",
            severity="critical",
            expr=f"min by (job, instance) ({terms.of_exporter('inference_exporter_upstream_up')})",
            op="<",
            limit=1,
            for_seconds=terms.seconds(60),
            summary="The inference service behind {{ $labels.instance }} is down",
            description=(
                "The sidecar {{ $labels.instance }} ({{ $labels.job }}) cannot connect to its upstream; "
                "clients get 502 (inference_exporter_upstream_up is {{ $value }})."
            ),
            panel=("inference-service", "Upstream"),
        ),
    ]


def _predictions(terms: Terms) -> list[Alert]:
    settings = terms.alerts
    hour, silence = terms.window(3600), terms.window(600)
    before = terms.recorded("increase", f"[{hour}] offset {silence}")
    lately = terms.recorded("increase", f"[{silence}]")
    return [
        Alert(
            name="LowPredictionConfidence",
            title="Low prediction confidence",
            severity="warning",
            expr=terms.of_model("job_model:prediction_confidence:avg5m"),
            op="<",
            limit=settings.min_confidence,
            for_seconds=terms.seconds(60),
            summary="Model {{ $labels.model }} is unsure of its answers",
            description=(
                "The mean confidence of model {{ $labels.model }} ({{ $labels.job }}) is "
                "{{ $value | humanizePercentage }}; the limit is "
                f"{settings.min_confidence:.4g} (a share of 1)."
            ),
            panel=("inference-predictions", "Average Prediction Confidence"),
        ),
        Alert(
            name="PredictedClassShift",
            title="Predicted classes shifted",
            severity="warning",
            expr=terms.of_model("job_model:predicted_class_shift:distance1h"),
            limit=settings.class_shift,
            for_seconds=terms.seconds(900),
            summary="Model {{ $labels.model }} answers with other classes than it used to",
            description=(
                "{{ $value | humanizePercentage }} of the last hour's predictions of model "
                "{{ $labels.model }} ({{ $labels.job }}) went to other classes than on the day before, "
                f"beyond what chance explains; the limit is {settings.class_shift:.4g} (a share of 1)."
            ),
            panel=("inference-predictions", "Predicted class shift"),
        ),
        Alert(
            name="PredictionsStopped",
            title="Predictions stopped",
            severity="warning",
            expr=(
                f"{before} unless on (job, model) ({lately} > 0) unless on (job, model) ({terms.standing()})"
            ),
            limit=60,
            for_seconds=terms.seconds(300),
            summary="Model {{ $labels.model }} makes no predictions any more",
            description=(
                f"No prediction of model {{{{ $labels.model }}}} ({{{{ $labels.job }}}}) was read for "
                f"{silence}; in the {hour} before it made {{{{ $value | humanize }}}}."
            ),
            panel=("inference-predictions", "Predictions per second"),
        ),
    ]


def _drift(terms: Terms) -> list[Alert]:
    per = "by (job, model, detector)"
    on = "on (job, model, detector)"
    ratio = terms.of_model("drift_score_ratio")
    active = f"max {per} ({terms.of_model('drift_active')})"
    tests = terms.of_model("drift_test_stat_count")
    hour, recent = terms.window(3600), terms.window(300)
    failed, calibrating = (
        terms.of_model("drift_detector_state", f'state="{state}"') for state in ("failed", "calibrating")
    )
    smooth, long_run = (
        terms.of_model(f"job_model_detector:drift_score_ratio:avg{name}") for name in ("5m", "1h")
    )
    return [
        Alert(
            name="DriftActive",
            title="Drift active",
            severity="critical",
            expr=(
                f"max {per} (max_over_time({ratio}[{hour}])) and {on} ({active} == 1) "
                f"and {on} (sum {per} (increase({tests}[{hour}])) > 0)"
            ),
            limit=0,
            for_seconds=terms.seconds(60),
            summary="The inputs of model {{ $labels.model }} have drifted",
            description=(
                "Detector {{ $labels.detector }} of model {{ $labels.model }} ({{ $labels.job }}) sees "
                "drift; its statistic reached {{ $value | humanize }} times the threshold in the last hour."
            ),
            panel=("inference-drift", "Drift state"),
        ),
        Alert(
            name="DriftScoreRising",
            title="Drift score rising",
            severity="warning",
            expr=(
                f"({smooth} > 1.1 * {long_run}) unless {on} ({active} == 1) "
                f"and {on} (sum {per} (increase({tests}[{recent}])) > 0)"
            ),
            limit=terms.alerts.rising_score_ratio,
            for_seconds=terms.seconds(600),
            summary="The drift score of model {{ $labels.model }} is rising towards its threshold",
            description=(
                "The statistic of detector {{ $labels.detector }} of model {{ $labels.model }} "
                "({{ $labels.job }}) has risen to {{ $value | humanizePercentage }} of its threshold; "
                f"the limit is {terms.alerts.rising_score_ratio:.4g} of it."
            ),
            panel=("inference-drift", "Score ratio"),
        ),
        Alert(
            name="DetectorFailed",
            title="Detector failed",
            severity="critical",
            expr=f"max {per} ({failed})",
            limit=0,
            for_seconds=terms.seconds(60),
            summary="Model {{ $labels.model }} is not watched for drift",
            description=(
                "Detector {{ $labels.detector }} of model {{ $labels.model }} ({{ $labels.job }}) has failed "
                "(failed = {{ $value }}); predictions are still recorded, drift is not tested."
            ),
            panel=("inference-drift", "Detector state"),
        ),
        Alert(
            name="DetectorCalibratingTooLong",
            title="Detector calibrating too long",
            severity="warning",
            expr=f"max {per} ({calibrating})",
            limit=0,
            for_seconds=terms.seconds(900),
            summary="A detector of model {{ $labels.model }} does not finish its calibration",
            description=(
                "Detector {{ $labels.detector }} of model {{ $labels.model }} ({{ $labels.job }}) has been "
                "calibrating for 15 minutes (calibrating = {{ $value }}); it usually takes seconds."
            ),
            panel=("inference-drift", "Detector state"),
        ),
    ]


def _exporter(terms: Terms) -> list[Alert]:
    window = terms.window(600)
    return [
        Alert(
            name="ExporterDown",
            title="Exporter down",
            severity="critical",
            expr=f"min by (job, instance) ({terms.up()})",
            op="<",
            limit=1,
            for_seconds=terms.seconds(120),
            summary="{{ $labels.instance }} cannot be scraped",
            description=(
                "Prometheus gets no metrics from {{ $labels.instance }} ({{ $labels.job }}): "
                "up is {{ $value }}."
            ),
            panel=("inference-high-level", "Exporters up"),
        ),
        Alert(
            name="ExporterStale",
            title="Exporter stale",
            severity="critical",
            expr=terms.standing(),
            limit=0,
            for_seconds=terms.seconds(300),
            summary="Observations of model {{ $labels.model }} are taken but not processed",
            description=(
                "{{ $value | humanize }} observations a second of model {{ $labels.model }} "
                f"({{{{ $labels.job }}}}) came in over {window}, and none came to an end."
            ),
            panel=("inference-drift", "Ledger"),
        ),
        Alert(
            name="QueueDropping",
            title="Queue dropping",
            severity="warning",
            expr=terms.of_model("job_model:inference_exporter_dropped:ratio_rate5m"),
            limit=0.01,
            for_seconds=terms.seconds(300),
            summary="Observations of model {{ $labels.model }} are dropped",
            description=(
                "{{ $value | humanizePercentage }} of the observations of model {{ $labels.model }} "
                "({{ $labels.job }}) are dropped because the queue is full; the limit is 1%."
            ),
            panel=("inference-drift", "Dropped by reason"),
        ),
    ]
