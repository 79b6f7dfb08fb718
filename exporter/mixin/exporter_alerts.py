"""Alerts on the exporter itself."""

from __future__ import annotations

from exporter.mixin.alert import Alert
from exporter.mixin.terms import NAMED, Terms


def exporter(terms: Terms) -> list[Alert]:
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
            summary=f"Observations of model {NAMED} are taken but not processed",
            description=(
                f"{{{{ $value | humanize }}}} observations a second of model {NAMED} "
                f"({{{{ $labels.job }}}}) came in over {window}, and none came to an end."
            ),
            panel=("inference-drift", "Ledger"),
        ),
        Alert(
            name="QueueDropping",
            title="Queue dropping",
            severity="warning",
            expr=terms.of_model("job_model_version:inference_exporter_dropped:ratio_rate5m"),
            limit=0.01,
            for_seconds=terms.seconds(300),
            summary=f"Observations of model {NAMED} are dropped",
            description=(
                f"{{{{ $value | humanizePercentage }}}} of the observations of model {NAMED} "
                "({{ $labels.job }}) are dropped because the queue is full; the limit is 1%."
            ),
            panel=("inference-drift", "Dropped by reason"),
        ),
    ]
