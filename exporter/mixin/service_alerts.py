"""Alerts on the inference service: errors, latency against its objective, the upstream."""

from __future__ import annotations

from exporter.mixin.alert import Alert
from exporter.mixin.terms import Terms, number

# The usual pair: two hours at this pace use up a tenth of a month's budget, or six hours do half of that.
_FAST_BURN = 14.4
_SLOW_BURN = 6.0
_MAX_RATIO = 0.9  # a low objective must not put the limit out of reach


def service(terms: Terms) -> list[Alert]:
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
