"""Alerts on what a model answers, and on what it is asked."""

from __future__ import annotations

from exporter.mixin.alert import Alert
from exporter.mixin.terms import Terms

DETECTOR = "job, model, detector"


def predictions(terms: Terms) -> list[Alert]:
    """List the alerts on what the model answers."""
    settings = terms.alerts
    hour, silence = terms.window(3600), terms.window(600)
    before = terms.recorded("increase", f"[{hour}] offset {silence}")
    lately = terms.recorded("increase", f"[{silence}]")
    return [
        Alert(
            name="LowPredictionConfidence",
            title="Low prediction confidence",
            group="predictions",
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
            group="predictions",
            severity="warning",
            expr=terms.of_model("job_model:predicted_class_shift:distance1h"),
            op=">",
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
            group="predictions",
            severity="warning",
            expr=(
                f"{before} unless on (job, model) ({lately} > 0) unless on (job, model) ({terms.standing()})"
            ),
            op=">",
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


def drift(terms: Terms) -> list[Alert]:
    """List the alerts on the detectors and on what they found."""
    per = f"by ({DETECTOR})"
    on = f"on ({DETECTOR})"
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
            group="drift",
            severity="critical",
            expr=(
                f"max {per} (max_over_time({ratio}[{hour}])) and {on} ({active} == 1) "
                f"and {on} (sum {per} (increase({tests}[{hour}])) > 0)"
            ),
            op=">",
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
            group="drift",
            severity="warning",
            expr=(
                f"({smooth} > 1.1 * {long_run}) unless {on} ({active} == 1) "
                f"and {on} (sum {per} (increase({tests}[{recent}])) > 0)"
            ),
            op=">",
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
            group="drift",
            severity="critical",
            expr=f"max {per} ({failed})",
            op=">",
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
            group="drift",
            severity="warning",
            expr=f"max {per} ({calibrating})",
            op=">",
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
