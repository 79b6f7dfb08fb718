"""Service: rate, errors, latency against the SLA, and the sidecar's connections."""

from __future__ import annotations

from dashboards.panels import TERMS, Board, density, lines, number

HTTP = 'job=~"$job", handler=~"$handler"'
ALL = "http_requests_total{" + HTTP + "}"
ERRORS = "http_requests_total{" + HTTP + ', status=~"[45].*"}'
DURATION = "http_request_duration_seconds"
RATE = "[$__rate_interval]"
SLA = f"{1000 * TERMS.alerts.latency_sla:g} ms"
UP = {"1": ("Up", "green"), "0": ("Down", "red")}


def _quantile(share: float) -> str:
    buckets = f"sum by (le) (rate({DURATION}_bucket{{{HTTP}}}{RATE}))"
    return f"1000 * histogram_quantile({share}, {buckets})"


def service() -> Board:
    """Build the dashboard."""
    board = Board(
        "inference-service",
        "Service Monitoring",
        "How fast and how well the inference service answers. The same metrics from hook and sidecar.",
    )
    board.variable("job", "Job", "label_values(inference_exporter_build_info, job)", every=False)
    board.variable("handler", "Handler", 'label_values(http_requests_total{job=~"$job"}, handler)')
    _now(board)
    _latency(board)
    _traffic(board)
    _sidecar(board)
    return board


def _now(board: Board) -> None:
    board.row("Now")
    board.add(
        number((f"sum(rate({ALL}{RATE}))", "requests"), "reqps", decimals=1),
        "Request rate",
        "Requests a second, all handlers selected.",
        w=4,
        h=4,
    )
    share = f"(sum(rate({ERRORS}{RATE})) or vector(0)) / (sum(rate({ALL}{RATE})) > 0)"
    board.add(
        number((share, "errors"), "percentunit", steps=(("green", None), ("orange", 0.01), ("red", 0.05))),
        "Error share",
        "Share of responses with a status of 400 or above. Empty while there are no requests.",
        w=4,
        h=4,
    )
    board.add(
        number((_quantile(0.95), "p95"), "ms", decimals=0),
        "95th percentile",
        "95 of 100 requests take at most this long, right within one bucket of the histogram.",
        w=4,
        h=4,
    )
    within = '1 - job:http_requests_over_sla:ratio_rate1h{job=~"$job"}'
    board.add(
        number((within, "within"), "percentunit", steps=(("red", None), ("orange", 0.95), ("green", 0.99))),
        "Within the SLA",
        f"Share of the last hour's requests answered within {SLA}. Needs ten requests.",
        w=4,
        h=4,
    )
    board.add(
        number(('sum(inference_exporter_proxy_connections{job=~"$job"})', "open"), "none", decimals=0),
        "In progress",
        "Client connections open at the sidecar now.",
        w=4,
        h=4,
    )
    upstream = 'min by (job, instance) (inference_exporter_upstream_up{job=~"$job"})'
    board.add(
        number((upstream, "{{instance}}"), "none", names=UP),
        "Upstream",
        "Whether the service behind the sidecar accepted a connection at the last probe.",
        w=4,
        h=4,
    )


def _latency(board: Board) -> None:
    board.row("Latency")
    total, count = (f"sum(rate({DURATION}_{part}{{{HTTP}}}{RATE}))" for part in ("sum", "count"))
    mean = f"1000 * {total} / ({count} > 0)"
    board.add(
        lines([(mean, "Mean")], "ms", low=0),
        "$job average request duration (ms)",
        "Mean time from request to the end of the response.",
        w=12,
    )
    board.add(
        lines(
            [
                (_quantile(0.5), "Median"),
                (_quantile(0.95), "95th percentile"),
                (_quantile(0.99), "99th percentile"),
            ],
            "ms",
            low=0,
        ),
        "$job request duration percentiles (ms)",
        "Quantiles of the request duration, right within one bucket (14 buckets from 5 ms to 10 s).",
        w=12,
    )
    board.add(
        lines(
            [
                (f'job:http_requests_over_sla:ratio_rate{window}{{job=~"$job"}}', f"over {window}")
                for window in ("5m", "30m", "1h", "6h")
            ],
            "percentunit",
            low=0,
            limits=True,
        ),
        "Requests over the SLA",
        f"Share of requests slower than {SLA}, over four windows. Dashed: where the slow alert (6h and 30m "
        "above it) and the fast alert (1h and 5m above it) fire.",
        w=12,
    )
    board.add(
        density(f"sum by (le) (rate({DURATION}_bucket{{{HTTP}}}{RATE}))", "s"),
        "Request duration",
        "How the durations are distributed over time; each cell is one bucket, not a running total.",
        w=12,
    )


def _traffic(board: Board) -> None:
    board.row("Traffic")
    board.add(
        lines([(f"sum by (handler, method) (rate({ALL}{RATE}))", "{{method}} {{handler}}")], "reqps", low=0),
        "Requests per second",
        "By method and handler.",
        w=8,
    )
    client, server = (
        f'sum(rate(http_requests_total{{{HTTP}, status=~"{digit}.*"}}{RATE})) or vector(0)' for digit in "45"
    )
    board.add(
        lines([(client, "4xx"), (server, "5xx")], "reqps", low=0, limits=True),
        "Error responses",
        "Responses a second with a client's (4xx) and a server's (5xx) error. Dashed: the alert's limit for "
        "their sum.",
        w=8,
    )
    board.add(
        lines(
            [('job:http_server_errors:ratio_rate5m{job=~"$job"}', "{{job}}")],
            "percentunit",
            low=0,
            limits=True,
        ),
        "Share of server errors",
        "Requests that failed with a status of 500 or above, over five minutes. Dashed: the alert's limit.",
        w=8,
    )
    board.add(
        lines([(f"sum by (status) (rate({ALL}{RATE}))", "{{status}}")], "reqps", low=0, stack=True),
        "Requests by status",
        "All responses, stacked.",
        w=8,
    )
    rate = 'sum(job_handler_status:http_requests:rate1m{job=~"$job", handler=~"$handler"})'
    board.add(
        lines([(rate, "Now"), (f"avg_over_time({rate}[6h:1m])", "Mean of the last 6 h")], "reqps", low=0),
        "Throughput trend",
        "Requests a second now against their mean over the last six hours.",
        w=8,
    )
    sizes = [
        (f"sum(rate({name}_sum{{{HTTP}}}{RATE})) / (sum(rate({name}_count{{{HTTP}}}{RATE})) > 0)", legend)
        for name, legend in (("http_request_size_bytes", "Request"), ("http_response_size_bytes", "Response"))
    ]
    board.add(lines(sizes, "bytes", low=0), "Body size", "Mean size of request and response bodies.", w=8)


def _sidecar(board: Board) -> None:
    board.row("Sidecar")
    accepted = f'sum(rate(inference_exporter_proxy_connections_total{{job=~"$job"}}{RATE}))'
    board.add(
        lines(
            [
                ('sum(inference_exporter_proxy_connections{job=~"$job"})', "Open"),
                (
                    accepted,
                    "New a second",
                ),
            ],
            "none",
            low=0,
        ),
        "Connections",
        "Client connections at the sidecar.",
        w=8,
    )
    for title, name, description in (
        (
            "Upstream failures",
            "inference_exporter_proxy_upstream_failures_total",
            "Connections that the service refused, left silent or broke off, by reason.",
        ),
        (
            "Unobserved connections",
            "inference_exporter_proxy_unobserved_total",
            "Connections forwarded but not followed (HTTP/2, upgrades, what is not HTTP), by reason.",
        ),
    ):
        query = f'sum by (reason) (rate({name}{{job=~"$job"}}{RATE}))'
        board.add(lines([(query, "{{reason}}")], "cps", low=0), title, description, w=8)
    reloaded = 'min by (job, instance) (inference_exporter_config_reload_success{job=~"$job"})'
    board.add(
        number(
            (reloaded, "{{instance}}"),
            "none",
            names={"1": ("as in its file", "green"), "0": ("older", "red")},
        ),
        "Configuration",
        "Whether the sidecar runs with what its configuration file held at the last reload.",
        w=8,
        h=4,
    )
