"""Alerts on what a model says."""

from __future__ import annotations

from exporter.mixin.alert import Alert
from exporter.mixin.terms import MODEL, NAMED, Terms


def predictions(terms: Terms) -> list[Alert]:
    settings = terms.alerts
    hour, silence = terms.window(3600), terms.window(600)
    before = terms.recorded("increase", f"[{hour}] offset {silence}")
    lately = terms.recorded("increase", f"[{silence}]")
    return [
        Alert(
            name="LowPredictionConfidence",
            title="Low prediction confidence",
            severity="warning",
            expr=terms.of_model("job_model_version:prediction_confidence:avg5m"),
            op="<",
            limit=settings.min_confidence,
            for_seconds=terms.seconds(60),
            summary=f"Model {NAMED} is unsure of its answers",
            description=(
                f"The mean confidence of model {NAMED} ({{{{ $labels.job }}}}) is "
                "{{ $value | humanizePercentage }}; the limit is "
                f"{settings.min_confidence:.4g} (a share of 1)."
            ),
            panel=("inference-predictions", "Average Prediction Confidence"),
        ),
        Alert(
            name="PredictedClassShift",
            title="Predicted classes shifted",
            severity="warning",
            expr=terms.of_model("job_model_version:predicted_class_shift:distance1h"),
            limit=settings.class_shift,
            for_seconds=terms.seconds(900),
            summary=f"Model {NAMED} answers with other classes than it used to",
            description=(
                "{{ $value | humanizePercentage }} of the last hour's predictions of model "
                f"{NAMED} ({{{{ $labels.job }}}}) went to other classes than on the day before, "
                f"beyond what chance explains; the limit is {settings.class_shift:.4g} (a share of 1)."
            ),
            panel=("inference-predictions", "Predicted class shift"),
        ),
        Alert(
            name="PredictionsStopped",
            title="Predictions stopped",
            severity="warning",
            expr=(f"{before} unless on ({MODEL}) ({lately} > 0) unless on ({MODEL}) ({terms.standing()})"),
            limit=60,
            for_seconds=terms.seconds(300),
            summary=f"Model {NAMED} makes no predictions any more",
            description=(
                f"No prediction of model {NAMED} ({{{{ $labels.job }}}}) was read for "
                f"{silence}; in the {hour} before it made {{{{ $value | humanize }}}}."
            ),
            panel=("inference-predictions", "Predictions per second"),
        ),
    ]
