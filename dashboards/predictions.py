"""Predictions: how sure the model is, and what it answers."""

from __future__ import annotations

from itertools import pairwise

from dashboards.panels import Board, Query, bars, density, lines
from exporter.metrics.contract import CONFIDENCE_BUCKETS
from exporter.mixin.terms import bucket_matcher

MODEL = 'job=~"$job", model=~"$model", version=~"$version"'
BY = "by (model, version)"
NAME = "{{model}} {{version}}"
RATE = "[$__rate_interval]"


def confidence_bars(selector: str = MODEL) -> list[Query]:
    """Count the predictions inside each bucket over the selected range: a bucket less the one before."""
    counts = [
        f"sum(increase(prediction_confidence_bucket{{{selector}, {bucket_matcher(bound)}}}[$__range]))"
        for bound in CONFIDENCE_BUCKETS[1:]
    ]
    inside = [counts[0], *(f"clamp_min({upper} - {lower}, 0)" for lower, upper in pairwise(counts))]
    return [
        (query, f"{low:.1f} to {high:.1f}")
        for query, (low, high) in zip(inside, pairwise(CONFIDENCE_BUCKETS), strict=True)
    ]


def mean_confidence() -> str:
    """Average the confidence; empty while nothing is predicted."""
    total, count = (
        f"sum {BY} (rate(prediction_confidence_{part}{{{MODEL}}}{RATE}))" for part in ("sum", "count")
    )
    return f"{total} / ({count} > 0)"


def model_variables(board: Board, *, every: bool = True) -> Board:
    """Add the variables of everything that has a model."""
    board.variable("job", "Job", "label_values(inference_exporter_build_info, job)")
    query = 'label_values(inference_exporter_observations_total{job=~"$job"}, model)'
    board.variable("model", "Model", query, every=every)
    query = 'label_values(inference_exporter_observations_total{job=~"$job", model=~"$model"}, version)'
    return board.variable("version", "Version", query)


def predictions() -> Board:
    """Build the dashboard."""
    board = Board(
        "inference-predictions",
        "Prediction Monitoring",
        "What the models answer, and how sure they are.",
    )
    model_variables(board)
    _confidence(board)
    _classes(board)
    _values(board)
    _truth(board)
    return board


def _confidence(board: Board) -> None:
    board.row("Confidence")
    board.add(
        lines([(mean_confidence(), NAME)], "percentunit", low=0, high=1, limits=True),
        "Average Prediction Confidence",
        "Mean confidence of the predictions. Dashed: the alert's limit. Empty while nothing is predicted.",
        w=12,
    )
    cumulative = f'sum by (le) (rate(prediction_confidence_bucket{{{MODEL}, le!="+Inf"}}{RATE}))'
    board.add(
        lines([(cumulative, "≤ {{le}}")], "ops", low=0),
        "Prediction Confidence (Cumulative)",
        "Predictions a second with a confidence of at most each bound. The lines include each other, so they "
        "are not stacked.",
        w=12,
    )
    board.add(
        bars(confidence_bars(), "short"),
        "Prediction Confidence (Over Selected Time Range)",
        "Predictions inside each bucket, not running totals.",
        w=12,
        h=10,
    )
    board.add(
        density(f"sum by (le) (rate(prediction_confidence_bucket{{{MODEL}}}{RATE}))", "percentunit"),
        "Prediction confidence over time",
        "How the confidence is distributed over time.",
        w=12,
        h=10,
    )


def _classes(board: Board) -> None:
    board.row("Classes")
    totals = f"sum by (class_name) (increase(predicted_class_total{{{MODEL}}}[$__range]))"
    board.add(
        bars([(totals, "{{class_name}}")], "short"),
        "Predicted Class Totals (Over Selected Time Range)",
        "Predictions of each class in the selected time range.",
        w=12,
        h=10,
    )
    by_class = f"sum by (class_name) (rate(predicted_class_total{{{MODEL}}}{RATE}))"
    every = f"(sum(rate(predicted_class_total{{{MODEL}}}{RATE})) > 0)"
    board.add(
        lines(
            [(f"{by_class} / on () group_left () {every}", "{{class_name}}")],
            "percentunit",
            low=0,
            high=1,
            stack=True,
        ),
        "Predicted classes over time",
        "Share of each class among the predictions.",
        w=12,
        h=10,
    )
    board.add(
        lines(
            [(f"job_model_version:predicted_class_shift:distance1h{{{MODEL}}}", NAME)],
            "percentunit",
            limits=True,
        ),
        "Predicted class shift",
        "Share of the last hour's predictions that went to other classes than on the day before, beyond what "
        "chance explains (so it can be below 0). Needs 100 predictions in both. Dashed: the alert's limit.",
        w=12,
    )
    observed = f"sum {BY} (rate(inference_exporter_observations_total{{{MODEL}}}{RATE}))"
    board.add(
        lines([(observed, NAME)], "ops", low=0),
        "Predictions per second",
        "Observations captured, by model and version.",
        w=12,
    )


def _values(board: Board) -> None:
    board.row("Values")
    buckets = f"sum by (model, version, le) (rate(prediction_value_bucket{{{MODEL}}}{RATE}))"
    some = f"(sum {BY} (rate(prediction_value_count{{{MODEL}}}{RATE})) > 0)"
    quantiles = [
        (f"histogram_quantile({share}, {buckets}) and on (model, version) {some}", f"{NAME} {name}")
        for share, name in ((0.05, "p5"), (0.5, "median"), (0.95, "p95"))
    ]
    board.add(
        lines(quantiles, "none"),
        "Prediction values",
        "Quantiles of a regression model's outputs. Empty for a classifier.",
        w=12,
    )
    invalid = f"sum by (field, reason) (rate(inference_exporter_invalid_values_total{{{MODEL}}}{RATE}))"
    board.add(
        lines([(invalid, "{{field}}: {{reason}}")], "ops", low=0),
        "Invalid values",
        "Values found in an exchange but refused: not a number, not finite, out of range, of another shape.",
        w=12,
    )


def _truth(board: Board) -> None:
    board.row("Truth")

    def rate(*matchers: str) -> str:
        return f"sum {BY} (rate(prediction_labelled_total{{{', '.join((MODEL, *matchers))}}}{RATE}))"

    right = rate('agreement="right"')
    board.add(
        lines([(f"{right} / ({rate()} > 0)", NAME)], "percentunit", low=0, high=1),
        "Accuracy",
        "Share of the predictions whose true class came in that were right. Empty without late labels.",
        w=12,
    )
    board.add(
        lines([(rate(), f"{NAME} labelled")], "ops", low=0),
        "Labelled predictions",
        "Predictions a second whose true class came in: what the accuracy is a share of.",
        w=6,
    )
    labels = f"sum by (outcome) (rate(inference_exporter_labels_total{{{MODEL}}}{RATE}))"
    board.add(
        lines([(labels, "{{outcome}}")], "ops", low=0),
        "Late labels",
        "What became of the labels: joined to a prediction, waiting for one, sent twice, or contradicting.",
        w=6,
    )
