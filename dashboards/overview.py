"""High level: all models at a glance. By model: everything about one."""

from __future__ import annotations

from dashboards.drift import ACTIVE, LEGEND, last
from dashboards.panels import Board, bars, density, lines, number, rows, states
from dashboards.predictions import BY, MODEL, NAME, RATE, confidence_bars, mean_confidence, model_variables
from dashboards.service import UP

_OBSERVED = f"sum {BY} (rate(inference_exporter_observations_total{{{MODEL}}}{RATE}))"
_TOTAL = f"sum {BY} (increase(inference_exporter_observations_total{{{MODEL}}}[$__range]))"
_DRIFTING = f"max {BY} (drift_active{{{MODEL}}})"
_RATIO = f"max {BY} (drift_score_ratio{{{MODEL}}})"
_EPISODES = f"sum {BY} (increase(drift_episodes_total{{{MODEL}}}[$__range]))"
_FIRING = 'ALERTS{alertstate="firing", component="inference-exporter"}'
_RED = (("green", None), ("red", 1.0))


def high_level() -> Board:
    """Build the dashboard of all models."""
    board = Board(
        "inference-high-level", "High Level", "All models: who is drifting, who is asked, who is unsure."
    )
    model_variables(board)
    board.row("Now")
    count = f"count(count by (job, model, version) (inference_exporter_observations_total{{{MODEL}}}))"
    for query, title, description, steps in (
        (count, "Models", "Models that are watched.", (("blue", None),)),
        (
            f"sum(max by (job, model, version) (drift_active{{{MODEL}}}))",
            "Models with drift",
            "Models with a drift episode now.",
            _RED,
        ),
        (
            f"count({_FIRING}) or vector(0)",
            "Alerts firing",
            "Alerts of the Prometheus rules that fire now.",
            _RED,
        ),
    ):
        board.add(
            number((query, title), "none", steps=steps, decimals=0, spark=False), title, description, w=4, h=5
        )
    board.add(
        number((f"sum({_TOTAL})", "requests"), "short", spark=False),
        "Requests",
        "Predictions observed in the selected time range.",
        w=4,
        h=5,
    )
    up = 'min by (job, instance) (up{job=~"$job"} and on (job) inference_exporter_build_info)'
    board.add(
        number((up, "{{instance}}"), "none", names=UP),
        "Exporters up",
        "Whether Prometheus gets metrics from each exporter.",
        w=8,
        h=5,
    )
    board.row("Models")
    board.add(
        rows(
            [(query, "") for query in (_OBSERVED, mean_confidence(), _RATIO, _DRIFTING, _EPISODES)],
            {
                "A": ("Predictions/s", "ops"),
                "B": ("Confidence", "percentunit"),
                "C": ("Score ratio", "none"),
                "D": ("Drift", "none"),
                "E": ("Episodes", "none"),
            },
            key="model",
            link="/d/inference-by-model?var-model=${__value.raw}&${__url_time_range}",
            names={"D": ACTIVE},
        ),
        "All models",
        "One line for each model; its name leads to its own dashboard. Episodes are those that began in the "
        "selected time range.",
        w=24,
    )
    board.add(
        states([(_DRIFTING, NAME)], ACTIVE),
        "Who is drifting",
        "Drift episodes of each model.",
        w=12,
    )
    board.add(
        lines([(_RATIO, NAME)], "none", decimals=2),
        "Score ratio by model",
        "Highest statistic over threshold among a model's detectors: drift above 1.",
        w=12,
    )
    board.add(
        lines([(_OBSERVED, NAME)], "ops", low=0),
        "Requests by model",
        "Predictions a second.",
        w=12,
    )
    board.add(
        lines([(mean_confidence(), NAME)], "percentunit", low=0, high=1),
        "Confidence by model",
        "Mean confidence of the predictions.",
        w=12,
    )
    return board


def by_model() -> Board:
    """Build the dashboard of one model."""
    board = Board("inference-by-model", "By Model", "Everything about one model.")
    model_variables(board, every=False)
    board.annotation("Drift episodes", f"{_DRIFTING} == 1", "red")
    board.row("$model")
    for query, unit, title, description in (
        (_OBSERVED, "ops", "Predictions per second", "Observations captured."),
        (mean_confidence(), "percentunit", "Confidence", "Mean confidence of the predictions."),
        (_RATIO, "none", "Score ratio", "Highest statistic over threshold among the detectors."),
        (_TOTAL, "short", "Requests", "Predictions observed in the selected time range."),
    ):
        board.add(number((query, NAME), unit, decimals=2), title, description, w=5, h=5)
    board.add(
        number((_DRIFTING, NAME), "none", names=ACTIVE),
        "Drift",
        "Whether a drift episode lasts.",
        w=4,
        h=5,
    )
    board.row("Drift")
    board.add(
        lines(
            [
                (last("drift_test_stat_last", MODEL), "{{version}} {{detector}} statistic"),
                (last("drift_threshold", MODEL), "{{version}} {{detector}} threshold"),
            ],
            "none",
            decimals=4,
        ),
        "Statistic and threshold",
        "The last test statistic of each detector, and what it has to exceed.",
        w=12,
    )
    board.add(
        density(f"sum by (le) (rate(drift_test_stat_bucket{{{MODEL}}}{RATE}))", "none"),
        "Test statistic",
        "How the statistic is distributed over time.",
        w=12,
    )
    board.add(
        states([(last("drift_active", MODEL), LEGEND)], ACTIVE), "Drift state", "Drift episodes.", w=24, h=5
    )
    board.row("Predictions")
    board.add(
        bars(confidence_bars(), "short"),
        "Prediction confidence in the selected time range",
        "Predictions inside each bucket.",
        w=12,
        h=10,
    )
    classes = f"sum by (class_name) (increase(predicted_class_total{{{MODEL}}}[$__range]))"
    board.add(
        bars([(classes, "{{class_name}}")], "short"),
        "Predicted classes in the selected time range",
        "Predictions of each class.",
        w=12,
        h=10,
    )
    board.add(
        lines([(mean_confidence(), NAME)], "percentunit", low=0, high=1),
        "Confidence over time",
        "Mean confidence of the predictions.",
        w=12,
    )
    board.add(lines([(_OBSERVED, NAME)], "ops", low=0), "Requests over time", "Predictions a second.", w=12)
    return board
