"""Drift: the statistic against its threshold, the detectors' states, and what became of every observation."""

from __future__ import annotations

from dashboards.panels import Board, density, lines, number, states
from dashboards.predictions import BY, MODEL, NAME, model_variables
from exporter.metrics.contract import DETECTOR_STATES

DETECTOR = MODEL + ', detector=~"$detector"'
RATE = "[$__rate_interval]"
ACTIVE = {"0": ("no drift", "green"), "1": ("drift", "red")}
LEGEND = "{{model}} {{version}} {{detector}}"
_PER = "by (model, version, detector)"
_COLORS = {
    "learning": "blue",
    "calibrating": "purple",
    "filling": "yellow",
    "provisional": "semi-dark-green",
    "ready": "green",
    "failed": "red",
}
_STATES = {str(code): (name, _COLORS[name]) for code, name in enumerate(DETECTOR_STATES)}


def last(metric: str, labels: str = DETECTOR, how: str = "max") -> str:
    """Take a gauge over all instances."""
    return f"{how} {_PER} ({metric}{{{labels}}})"


def state_code(labels: str = DETECTOR) -> str:
    """Turn the one-of-several state gauges into the number of the state that is 1."""
    return " + ".join(
        f'{code} * max {_PER} (drift_detector_state{{{labels}, state="{name}"}})'
        for code, name in enumerate(DETECTOR_STATES)
    )


def drift() -> Board:
    """Build the dashboard."""
    board = Board(
        "inference-drift",
        "Drift Monitoring",
        "Whether what the models are asked still looks like what they were trained on.",
    )
    model_variables(board)
    board.variable("detector", "Detector", f"label_values(drift_threshold{{{MODEL}}}, detector)")
    board.annotation("Drift episodes", f"{last('drift_active')} == 1", "red")
    _scores(board)
    _detectors(board)
    _ledger(board)
    _exporter(board)
    return board


def _scores(board: Board) -> None:
    board.row("Drift")
    board.add(
        number(
            (f"sum(rate(drift_events_total{{{DETECTOR}}}{RATE}))", "events"),
            "ops",
            steps=(("green", None), ("red", 1)),
            decimals=2,
        ),
        "Drift Events (per second)",
        "Tested observations a second whose statistic exceeded the threshold.",
        w=12,
    )
    buckets = f"sum by (model, version, detector, le) (rate(drift_test_stat_bucket{{{DETECTOR}}}{RATE}))"
    board.add(
        lines([(f"histogram_quantile(0.5, {buckets})", f"median test_stat {LEGEND}")], "none", decimals=4),
        "Median Drift Score (test_stat)",
        "Median of the statistic. An unbiased statistic is below 0 about half the time without drift.",
        w=12,
    )
    board.add(
        lines(
            [
                (last("drift_test_stat_last"), f"{LEGEND} statistic"),
                (last("drift_threshold"), f"{LEGEND} threshold"),
            ],
            "none",
            decimals=4,
        ),
        "Statistic and threshold",
        "The last test statistic, and what it has to exceed.",
        w=12,
    )
    board.add(
        lines([(last("drift_score_ratio"), LEGEND)], "none", limits=True, decimals=2),
        "Score ratio",
        "Statistic over threshold: drift above 1. Dashed: where the early warning starts.",
        w=12,
    )
    board.add(
        states([(last("drift_active"), LEGEND)], ACTIVE),
        "Drift state",
        "From the first exceedance of an episode to its end: two windows of tests below half the threshold.",
        w=12,
        h=6,
    )
    episodes = f"sum {_PER} (increase(drift_episodes_total{{{DETECTOR}}}[$__range]))"
    board.add(
        number((episodes, LEGEND), "none", steps=(("green", None), ("red", 1)), decimals=0, spark=False),
        "Episodes",
        "Drift episodes that began in the selected time range.",
        w=6,
        h=6,
    )
    age = f"time() - max {_PER} (drift_last_test_timestamp_seconds{{{DETECTOR}}} > 0)"
    board.add(
        number((age, LEGEND), "s", decimals=0, spark=False),
        "Time since the last test",
        "Empty before a detector's first test.",
        w=6,
        h=6,
    )


def _detectors(board: Board) -> None:
    board.row("Detectors")
    board.add(
        states([(state_code(), LEGEND)], _STATES),
        "Detector state",
        "Learning its reference, calibrating its threshold, filling its window, ready, or failed.",
        w=12,
        h=6,
    )
    board.add(
        number((last("drift_expected_run_length", how="min"), LEGEND), "short", spark=False),
        "Expected run length",
        "Mean number of tests between false alarms that the threshold is calibrated for.",
        w=6,
        h=6,
    )
    board.add(
        number(
            (last("drift_calibration_ok", how="min"), LEGEND),
            "none",
            names={"0": ("not checked or doubtful", "orange"), "1": ("good", "green")},
        ),
        "Calibration",
        "Whether the quality checks of the threshold's calibration passed.",
        w=6,
        h=6,
    )
    board.add(
        density(f"sum by (le) (rate(drift_test_stat_bucket{{{DETECTOR}}}{RATE}))", "none"),
        "Test statistic",
        "How the statistic is distributed over time.",
        w=12,
    )
    seconds = f"sum by (le) (rate(inference_exporter_detect_seconds_bucket{{{DETECTOR}}}{RATE}))"
    board.add(
        lines(
            [(f"histogram_quantile({q}, {seconds})", name) for q, name in ((0.5, "Median"), (0.99, "p99"))],
            "s",
            low=0,
        ),
        "Detector time",
        "Time a detector took for one batch.",
        w=12,
    )


def _ledger(board: Board) -> None:
    board.row("Sampling and ledger")

    def rate(name: str) -> str:
        return f"sum(rate(inference_exporter_{name}_total{{{MODEL}}}{RATE}))"

    board.add(
        lines(
            [
                (rate("observations"), "Observed"),
                (rate("processed"), "Processed"),
                (rate("dropped"), "Dropped"),
                (rate("sampled_out"), "Not tested (sampling)"),
            ],
            "ops",
            low=0,
        ),
        "Ledger",
        "What became of the observations. Those left out by the sampling rate are recorded, not tested.",
        w=12,
    )
    board.add(
        lines(
            [
                (
                    f"sum by (reason) (rate(inference_exporter_dropped_total{{{MODEL}}}{RATE}))",
                    "{{reason}}",
                )
            ],
            "ops",
            low=0,
        ),
        "Dropped by reason",
        "Observations given up. The alert counts those for which the queue had no room.",
        w=12,
    )
    board.add(
        lines([(f"sum {BY} (inference_exporter_queued{{{MODEL}}})", NAME)], "none", low=0),
        "Queued",
        "Observations waiting or being handled.",
        w=8,
    )
    board.add(
        lines([(f"sum {BY} (inference_exporter_queue_bytes{{{MODEL}}})", NAME)], "bytes", low=0),
        "Queue size",
        "Bytes that the waiting observations hold.",
        w=8,
    )
    lag = f"sum by (model, version, le) (rate(inference_exporter_lag_seconds_bucket{{{MODEL}}}{RATE}))"
    board.add(
        lines([(f"histogram_quantile(0.95, {lag})", NAME)], "s", low=0),
        "Lag (95th percentile)",
        "Age of an observation when it was handled.",
        w=8,
    )


def _exporter(board: Board) -> None:
    board.row("Exporter")
    errors = f'sum by (stage) (rate(inference_exporter_errors_total{{job=~"$job"}}{RATE}))'
    board.add(
        lines([(errors, "{{stage}}")], "ops", low=0),
        "Errors by stage",
        "Failures of the exporter's own stages; none of them reaches a client.",
        w=12,
    )
    orphans = f'sum(rate(inference_exporter_orphan_observes_total{{job=~"$job"}}{RATE}))'
    board.add(
        lines([(orphans, "observe() outside a request")], "ops", low=0),
        "Orphan calls",
        "Calls of observe() outside any captured request; their values are lost.",
        w=6,
    )
    board.add(
        number(
            ('count by (version) (inference_exporter_build_info{job=~"$job"})', "{{version}}"),
            "none",
            spark=False,
        ),
        "Versions",
        "Exporters running, by version.",
        w=6,
    )
