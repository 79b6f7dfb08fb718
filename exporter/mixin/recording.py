"""Recording rules: the expressions that alerts and dashboards share, evaluated once.

No expression reads more than an hour of a metric as it was scraped: a day of 200 classes from 43 replicas is
more than Prometheus loads for one query. What looks back further, or often, reads what was recorded.
"""

from __future__ import annotations

from exporter.mixin.terms import DETECTOR, MODEL, SEEN, Terms, bucket_matcher, number

_BURN_WINDOWS = {"5m": 300, "30m": 1800, "1h": 3600}
_MIN_REQUESTS = 10  # a share of fewer requests in a window says nothing
_MIN_PREDICTIONS = 100  # likewise for shares of classes
_ATYPICAL_RANK = 5  # of a reference's N rows; those less typical than the fifth-least typical are atypical
_HOUR, _DAY, _STEP = 3600.0, 86_400.0, 600.0


def recordings(terms: Terms) -> dict[str, str]:
    """The expressions by their names (``level:metric:operations``), in the order in which they build up."""
    return _exporters(terms) | _service(terms) | _predictions(terms) | _drift(terms) | _ledger(terms)


def _exporters(terms: Terms) -> dict[str, str]:
    return {SEEN: f"max by (job) ({terms.of_exporter('inference_exporter_build_info')})"}


def _service(terms: Terms) -> dict[str, str]:
    requests = terms.http_rate("http_requests_total", terms.window(60))
    rules = {"job_handler_status:http_requests:rate1m": f"sum by (job, handler, status) ({requests})"}
    for name, seconds in _BURN_WINDOWS.items():
        fast, every = _timed_requests(terms, terms.window(seconds))
        floor = number(_MIN_REQUESTS / terms.window_seconds(seconds))
        rules[f"job:http_requests_over_sla:ratio_rate{name}"] = f"1 - {fast} / ({every} > {floor})"
    within, timed = "job:http_requests_within_sla:rate5m", "job:http_requests_timed:rate5m"
    rules[within], rules[timed] = _timed_requests(terms, terms.window(300))
    rules["job:http_requests_over_sla:ratio_rate6h"] = (
        f"1 - {terms.total(terms.of_exporter(within), 6 * _HOUR)} "
        f"/ ({terms.total(terms.of_exporter(timed), 6 * _HOUR)} > {_MIN_REQUESTS})"
    )
    window = terms.window(300)
    failed = terms.http_rate("http_requests_total", window, terms.handlers, 'status=~"5.*"')
    every = terms.http_rate("http_requests_total", window, terms.handlers)
    floor = number(_MIN_REQUESTS / terms.window_seconds(300))
    rules["job:http_server_errors:ratio_rate5m"] = (
        # Where nothing ever failed there is no series to say so.
        f"(sum by (job) ({failed}) or 0 * sum by (job) ({every})) / (sum by (job) ({every}) > {floor})"
    )
    return rules


def _timed_requests(terms: Terms, window: str) -> tuple[str, str]:
    """Give the rates of requests within the SLA, and of all."""
    within = bucket_matcher(terms.alerts.latency_sla)
    fast = terms.http_rate("http_request_duration_seconds_bucket", window, terms.handlers, within)
    every = terms.http_rate("http_request_duration_seconds_count", window, terms.handlers)
    return f"sum by (job) ({fast})", f"sum by (job) ({every})"


def _predictions(terms: Terms) -> dict[str, str]:
    window = terms.window(300)
    level = f"sum by ({MODEL})"
    total, count = (
        f"{level} (rate({terms.of_model(f'prediction_confidence_{part}')}[{window}]))"
        for part in ("sum", "count")
    )
    classes = terms.of_model("predicted_class_total")
    prefix = "job_model_version_class_name:predicted_class"
    rate, hour = terms.of_model(f"{prefix}:rate5m"), terms.of_model(f"{prefix}:increase1h")
    day, step, before = terms.window(_DAY), terms.window(_STEP), terms.window(_HOUR)
    overlap = number(terms.window_seconds(_HOUR) / terms.window_seconds(_STEP))
    rules = {
        "job_model_version:prediction_confidence:avg5m": f"{total} / ({count} > 0)",
        f"{prefix}:rate5m": f"sum by ({MODEL}, class_name) (rate({classes}[{window}]))",
        f"{prefix}:increase1h": terms.total(rate, _HOUR),
        # Hours that begin every ten minutes, each of which therefore counts six times.
        f"{prefix}:increase1d_before": f"sum_over_time({hour}[{day}:{step}] offset {before}) / {overlap}",
    }
    for span in ("1h", "1d_before"):
        counted = terms.of_model(f"{prefix}:increase{span}")
        rules[f"{prefix}:share{span}"] = (
            f"{counted} / on ({MODEL}) group_left () ({level} ({counted}) >= {_MIN_PREDICTIONS})"
        )
    rules["job_model_version:predicted_class_shift:distance1h"] = _class_shift(terms, prefix, level)
    return rules


def _class_shift(terms: Terms, prefix: str, level: str) -> str:
    """Write the total variation distance between two sets of class shares, less its mean by chance.

    The distance is the sum of the gains, since gains and losses are equal: a class that went away
    needs no series. Two samples of sizes n and m from the same shares p differ in one class by
    ``sqrt(2/pi * p (1-p) (1/n + 1/m))`` on average, so half the sum of that is what chance alone gives.
    """
    now, before, hour_count, day_count = (
        terms.of_model(f"{prefix}:{name}")
        for name in ("share1h", "share1d_before", "increase1h", "increase1d_before")
    )
    gains = f"{level} (clamp_min({now} - ({before} or {now} * 0), 0))"
    spread = f"{level} (sqrt({before} * (1 - {before})))"
    samples = f"1 / {level} ({hour_count}) + 1 / {level} ({day_count})"
    return f"{gains} - 0.4 * {spread} * sqrt({samples})"


def _drift(terms: Terms) -> dict[str, str]:
    ratio = terms.of_model("drift_score_ratio")
    level = f"max by ({DETECTOR})"
    prefix = "job_model_version_detector"
    return _atypical(terms, prefix) | {
        f"{prefix}:drift_active:max": f"{level} ({terms.of_model('drift_active')})",
        f"{prefix}:drift_score_ratio:max1h": f"{level} (max_over_time({ratio}[{terms.window(_HOUR)}]))",
        **{
            f"{prefix}:drift_score_ratio:avg{name}": (
                f"{level} (avg_over_time({ratio}[{terms.window(seconds)}]))"
            )
            for name, seconds in (("5m", 300), ("1h", _HOUR))
        },
    }


def _atypical(terms: Terms, prefix: str) -> dict[str, str]:
    """Write how many standard deviations more observations are atypical than without drift.

    Of n then as many as a beta-binomial variable with n, r = 5 and N + 1 - r says, N being the reference's
    rows: its mean is n r / (N + 1), its variance n r (N + 1 - r) (N + 1 + n) / ((N + 1)^2 (N + 2)). Of
    replicas with references of their own the sum varies less than that.
    """
    hour = terms.window(_HOUR)
    increases = {
        f"{prefix}:embedding_{name}:increase1h": (
            f"sum by ({DETECTOR}) (increase({terms.of_model(f'embedding_{name}_total')}[{hour}]))"
        )
        for name in ("atypical", "atypical_tested")
    }
    atypical, tested = (terms.of_model(name) for name in increases)
    least = f"{prefix}:drift_reference_rows:min"
    rows, rank = terms.of_model(least), _ATYPICAL_RANK
    variance = (
        f"{tested} * {rank} * ({rows} - {rank - 1}) * ({rows} + 1 + {tested}) "
        f"/ (({rows} + 1) ^ 2 * ({rows} + 2))"
    )
    return {
        **increases,
        least: f"min by ({DETECTOR}) ({terms.of_model('drift_reference_rows')} > {rank})",
        f"{prefix}:embedding_atypical:zscore1h": (
            f"({atypical} - {rank} * {tested} / ({rows} + 1)) / sqrt({variance} > 0)"
        ),
    }


def _ledger(terms: Terms) -> dict[str, str]:
    window = terms.window(300)
    observed = terms.of_model("inference_exporter_observations_total")
    full = terms.of_model("inference_exporter_dropped_total", 'reason=~"queue_full|queue_bytes"')
    rate = "job_model_version:inference_exporter_observations:rate5m"
    refused = terms.of_model("inference_exporter_invalid_values_total", 'field="embedding"')
    return {
        rate: f"sum by ({MODEL}) (rate({observed}[{window}]))",
        "job_model_version:inference_exporter_dropped:ratio_rate5m": (
            f"sum by ({MODEL}) (rate({full}[{window}])) / ({terms.of_model(rate)} > 0)"
        ),
        "job_model_version:inference_exporter_embeddings_refused:ratio_rate5m": (
            f"sum by ({MODEL}) (rate({refused}[{window}])) / ({terms.of_model(rate)} > 0)"
        ),
    }
