"""Alerts on the exporter itself."""

from __future__ import annotations

from exporter.mixin.alert import Alert
from exporter.mixin.terms import DETECTOR, NAMED, Terms


def exporter(terms: Terms) -> list[Alert]:
    """Every alert on the exporter itself."""
    return [*_processes(terms), *_ledger(terms), *_refusals(terms)]


def _processes(terms: Terms) -> list[Alert]:
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
            name="ConfigReloadFailed",
            title="Configuration not taken over",
            severity="warning",
            expr=f"min by (job, instance) ({terms.of_exporter('inference_exporter_config_reload_success')})",
            op="<",
            limit=1,
            for_seconds=terms.seconds(300),
            summary="{{ $labels.instance }} runs with an older configuration than its file holds",
            description=(
                "The last reload of {{ $labels.instance }} ({{ $labels.job }}) failed "
                "(inference_exporter_config_reload_success is {{ $value }}); what was taken over before "
                "stays in force, and a restart would not get further than the file."
            ),
            panel=("inference-service", "Configuration"),
        ),
    ]


def _ledger(terms: Terms) -> list[Alert]:
    window = terms.window(600)
    return [
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


def _refusals(terms: Terms) -> list[Alert]:
    failures = terms.of_model("drift_checkpoint_failures_total")
    return [
        Alert(
            name="EmbeddingsRefused",
            title="Embeddings refused",
            severity="warning",
            expr=terms.of_model("job_model_version:inference_exporter_embeddings_refused:ratio_rate5m"),
            limit=0.1,
            for_seconds=terms.seconds(900),
            summary=f"Many embeddings of model {NAMED} are refused, and not tested for drift",
            description=(
                f"{{{{ $value | humanizePercentage }}}} of the observations of model {NAMED} "
                "({{ $labels.job }}) carry an embedding that is none, is not finite, or has another length "
                "than the reference; the limit is 10%."
            ),
            panel=("inference-predictions", "Invalid values"),
        ),
        Alert(
            name="StateNotKept",
            title="State not kept",
            severity="warning",
            expr=f"sum by ({DETECTOR}) (increase({failures}[{terms.window(3600)}]))",
            limit=2,
            for_seconds=terms.seconds(300),
            summary=f"What the detectors of model {NAMED} learned would not outlive a restart",
            description=(
                f"Detector {{{{ $labels.detector }}}} of model {NAMED} ({{{{ $labels.job }}}}) could not be "
                "written or taken up {{ $value | humanize }} times in the last hour."
            ),
            panel=("inference-drift", "State not kept"),
        ),
    ]
