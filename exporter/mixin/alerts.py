"""The alert rules, once: Prometheus's file and Grafana's are both written from this list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from exporter.mixin.terms import Terms, number

Severity = Literal["critical", "warning"]
Group = Literal["service", "predictions", "drift", "exporter"]
_DETECTOR = "job, model, detector"

# The usual pair: two hours at this pace use up a tenth of a month's budget, or six hours do half of that.
FAST_BURN = 14.4
SLOW_BURN = 6.0
# An exchange given up for one of these was looked at: the worker is alive.
UNREAD_REASONS = ("unreadable", "no_prediction", "body_too_large")
_MAX_RATIO = 0.9  # a low objective must not put the limit out of reach


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: fires while ``expr op limit`` holds for ``for_seconds``.

    ``expr`` is empty, not zero, where there is nothing to judge; then nothing fires.
    ``panel`` names the dashboard (its uid) and the panel (its title) that show the same thing.
    """

    name: str
    title: str
    group: Group
    severity: Severity
    expr: str
    op: Literal[">", "<"]
    limit: float
    for_seconds: float
    summary: str
    description: str
    panel: tuple[str, str]

    @property
    def page(self) -> str:
        """File name of the runbook page, without its ending."""
        return "".join(f"-{c.lower()}" if c.isupper() else c for c in self.name).lstrip("-")


def alerts(terms: Terms) -> tuple[Alert, ...]:
    """List every alert for one configuration."""
    return (*_service(terms), *_predictions(terms), *_drift(terms), *_exporter(terms))


def _service(terms: Terms) -> list[Alert]:
    settings = terms.alerts
    budget = 1 - settings.latency_objective
    sla = f"{number(settings.latency_sla)} s"
    objective = f"{settings.latency_objective:.6g}"
    fast, slow = (round(min(burn * budget, _MAX_RATIO), 6) for burn in (FAST_BURN, SLOW_BURN))
    over = {
        name: terms.of_exporter(f"job:http_requests_over_sla:ratio_rate{name}")
        for name in ("5m", "30m", "1h", "6h")
    }
    errors = terms.of_exporter("job_handler_status:http_requests:rate1m", 'status=~"[45].*"')
    return [
        Alert(
            name="ErrorResponses",
            title="Error responses",
            group="service",
            severity="critical",
            expr=f"sum by (job) ({errors})",
            op=">",
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
            name="LatencyBudgetBurnsFast",
            title="Latency above its SLA (fast)",
            group="service",
            severity="critical",
            expr=f"{over['1h']} and on (job) ({over['5m']} > {number(fast)})",
            op=">",
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
            group="service",
            severity="warning",
            expr=f"{over['6h']} and on (job) ({over['30m']} > {number(slow)})",
            op=">",
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
            group="service",
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
    before = _recorded(terms, "increase", f"[{hour}] offset {silence}")
    lately = _recorded(terms, "increase", f"[{silence}]")
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
                f"{before} unless on (job, model) ({lately} > 0) "
                f"unless on (job, model) ({_standing(terms)})"
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


def _drift(terms: Terms) -> list[Alert]:
    per = f"by ({_DETECTOR})"
    on = f"on ({_DETECTOR})"
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


def _exporter(terms: Terms) -> list[Alert]:
    window = terms.window(600)
    return [
        Alert(
            name="ExporterDown",
            title="Exporter down",
            group="exporter",
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
            group="exporter",
            severity="critical",
            expr=_standing(terms),
            op=">",
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
            group="exporter",
            severity="warning",
            expr=terms.of_model("job_model:inference_exporter_dropped:ratio_rate5m"),
            op=">",
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


def _recorded(terms: Terms, function: str, window: str) -> str:
    """Sum over the predictions that were read and recorded, tested for drift or not.

    What was observed is no measure of them: an exchange counts as observed before anybody has read it.
    ``label_replace`` keeps the two metrics apart, which have the same labels.
    """
    tested, untested = (
        f"{function}({terms.of_model(f'inference_exporter_{name}_total')}{window})"
        for name in ("processed", "sampled_out")
    )
    return f'sum by (job, model) (label_replace({tested}, "tested", "yes", "", "") or {untested})'


def _standing(terms: Terms) -> str:
    """Select the observations a second of models whose worker brings none of them to an end."""
    window = terms.window(600)
    observed = terms.of_model("inference_exporter_observations_total")
    unread = terms.of_model("inference_exporter_dropped_total", f'reason=~"{"|".join(UNREAD_REASONS)}"')
    return (
        f"sum by (job, model) (rate({observed}[{window}])) > 0 "
        f"unless on (job, model) ({_recorded(terms, 'rate', f'[{window}]')} > 0) "
        f"unless on (job, model) (sum by (job, model) (rate({unread}[{window}])) > 0)"
    )


def threshold_steps(rules: tuple[Alert, ...], panel: tuple[str, str]) -> list[tuple[str, float | None]]:
    """Give a panel's colour steps, ascending, from the limits of the alerts that it shows.

    The first step has no lower end (None).
    """
    shown = sorted((alert for alert in rules if alert.panel == panel), key=lambda alert: alert.limit)
    colors = {"critical": "red", "warning": "orange"}
    if not shown:
        return [("green", None)]
    if shown[0].op == "<":
        return [(colors[shown[0].severity], None), ("green", shown[0].limit)]
    return [("green", None), *((colors[alert.severity], alert.limit) for alert in shown)]
