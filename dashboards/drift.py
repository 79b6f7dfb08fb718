"""Drift: the statistic against its threshold, the detectors' states, and what became of every observation."""

from __future__ import annotations

from dashboards.panels import Board, density, lines, number, states
from dashboards.predictions import BY, MODEL, NAME, model_variables
from exporter.metrics.contract import DETECTOR_STATES, REFERENCE_SOURCES

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

_SOURCES = {
    str(code): (name, color)
    for code, (name, color) in enumerate(
        zip(REFERENCE_SOURCES, ("gray", "green", "yellow", "green", "blue"), strict=True)
    )
}


def last(metric: str, labels: str = DETECTOR, how: str = "max") -> str:
    """Take a gauge over all instances."""
    return f"{how} {_PER} ({metric}{{{labels}}})"


def state_code(labels: str = DETECTOR) -> str:
    """Turn the one-of-several state gauges into the number of the state that is 1."""
    return " + ".join(
        f'{code} * max {_PER} (drift_detector_state{{{labels}, state="{name}"}})'
        for code, name in enumerate(DETECTOR_STATES)
    )


def source_code(labels: str = DETECTOR) -> str:
    """Turn the gauges of where the reference came from into the number of the one that is 1."""
    return " + ".join(
        f'{code} * max {_PER} (drift_reference_info{{{labels}, source="{name}"}})'
        for code, name in enumerate(REFERENCE_SOURCES)
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
    _rare(board)
    _detectors(board)
    _dependence(board)
    _references(board)
    _state(board)
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


def _rare(board: Board) -> None:
    score = f"job_model_version_detector:embedding_atypical:zscore1h{{{DETECTOR}}}"
    board.add(
        lines([(score, LEGEND)], "none", limits=True, decimals=1),
        "Atypical inputs",
        "By how many standard deviations more inputs of the last hour are unlike anything in the reference "
        "than chance gives: a new, rare kind of input, which no mean sees. Dashed: the alert's limit.",
        w=12,
    )
    atypical, tested = (
        f"sum {_PER} (rate(embedding_{name}_total{{{DETECTOR}}}{RATE}))"
        for name in ("atypical", "atypical_tested")
    )
    board.add(
        lines([(f"{atypical} / ({tested} > 0)", LEGEND)], "percentunit", low=0),
        "Share of atypical inputs",
        "Those less typical than the fifth-least typical row of the reference. Without drift it is about "
        "five in as many as the reference has rows.",
        w=12,
    )


def _dependence(board: Board) -> None:
    board.add(
        lines([(last("drift_effective_sample_ratio", how="min"), LEGEND)], "percentunit", low=0, high=1),
        "Effective sample ratio",
        "How many independent inputs one of the stream is worth: 1 where they have nothing to do with each "
        "other, less the more neighbours are alike. The statistic is corrected for it.",
        w=12,
    )
    repeats = f"sum {_PER} (rate(inference_exporter_repeats_total{{{DETECTOR}}}{RATE}))"
    board.add(
        lines([(repeats, LEGEND)], "ops", low=0),
        "Repeats",
        "Embeddings a second that repeat one of the 250 before, and are left out of the test.",
        w=12,
    )


def _detectors(board: Board) -> None:
    board.row("Detectors")
    board.add(
        states([(state_code(), LEGEND)], _STATES),
        "Detector state",
        "Learning its reference, calibrating its threshold, filling its window, testing with a provisional "
        "reference, ready, or failed.",
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


def _references(board: Board) -> None:
    board.row("References")
    board.add(
        states([(source_code(), LEGEND)], _SOURCES),
        "Reference source",
        "Where what counts as normal came from: a file, for the time being the first embeddings, stretches "
        "of the stream over a period, or what an earlier process had learned.",
        w=12,
        h=6,
    )
    age = f"time() - max {_PER} (drift_reference_timestamp_seconds{{{DETECTOR}}} > 0)"
    board.add(
        number((age, LEGEND), "s", decimals=0, spark=False),
        "Reference age",
        "Time since the reference was complete. Empty where that is not known.",
        w=6,
        h=6,
    )
    board.add(
        number((last("drift_reference_rows", how="min"), LEGEND), "short", decimals=0, spark=False),
        "Reference rows",
        "Observations that the reference is made of; the fewest of any replica.",
        w=6,
        h=6,
    )
    board.add(
        lines([(last("drift_learning_ratio", how="min"), LEGEND)], "percentunit", low=0, high=1),
        "Reference learned",
        "Share of the reference that has been learned from the stream; the least of any replica.",
        w=12,
    )
    board.add(
        lines([(last("drift_reference_drifting_ratio"), LEGEND)], "percentunit", low=0, high=1),
        "Reference learned while drifting",
        "Share of the learned reference that came while an episode of drift lasted: above a few hundredths "
        "the drift has become part of what counts as normal.",
        w=12,
    )


def _state(board: Board) -> None:
    kept = f"time() - max {_PER} (drift_checkpoint_timestamp_seconds{{{DETECTOR}}} > 0)"
    board.add(
        number((kept, LEGEND), "s", decimals=0, spark=False),
        "State kept",
        "Time since the detector was last written to its checkpoint or state. Empty without either.",
        w=12,
        h=6,
    )
    failures = f"sum {_PER} (increase(drift_checkpoint_failures_total{{{DETECTOR}}}[1h]))"
    board.add(
        lines([(failures, LEGEND)], "none", low=0, limits=True),
        "State not kept",
        "Checkpoints and states in an hour that could not be written or taken up. Dashed: the alert's limit.",
        w=12,
        h=6,
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
