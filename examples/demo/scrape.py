"""What the demonstration knows: numbers read from ``/metrics``, as Prometheus would read them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One scrape.

    ``at`` is in seconds on the monotonic clock; ``phase`` is the index of the phase under way, -1
    before the first. All others are metrics: counts since the start of the service, and for
    ``statistic`` and ``threshold`` their last values (NaN where there is none yet).
    """

    at: float
    phase: int
    tests: int
    statistic: float
    threshold: float
    expected_run_length: float
    active: bool
    events: int
    episodes: int
    state: str
    observed: int
    processed: int
    lost: int
    queued: int
    confidence_sum: float
    confidence_count: int
    classes: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)

    @property
    def settled(self) -> bool:
        """Whether every observation made so far has been dealt with."""
        return self.queued == 0 and self.observed == self.processed + self.lost


def parse(text: str, phase: int = -1) -> Snapshot:
    """Read the exposition text of a service with one model and one detector."""
    values: dict[str, float] = {}
    classes: dict[str, int] = {}
    answers: dict[str, int] = {}
    state = ""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == "predicted_class_total":
                classes[labels["class_name"]] = int(sample.value)
            elif sample.name == "http_requests_total":
                if labels["handler"] == "/predict":
                    answers[labels["status"]] = answers.get(labels["status"], 0) + int(sample.value)
            elif sample.name == "drift_detector_state":
                state = labels["state"] if sample.value else state
            elif "le" not in labels:
                values[sample.name] = values.get(sample.name, 0.0) + sample.value

    def count(name: str) -> int:
        return int(values.get(name, 0.0))

    nan = float("nan")
    tests = count("drift_test_stat_count")
    return Snapshot(
        at=time.monotonic(),
        phase=phase,
        tests=tests,
        statistic=values.get("drift_test_stat_last", nan) if tests else nan,
        threshold=values.get("drift_threshold", nan) or nan,
        expected_run_length=values.get("drift_expected_run_length", nan),
        active=bool(values.get("drift_active")),
        events=count("drift_events_total"),
        episodes=count("drift_episodes_total"),
        state=state,
        observed=count("inference_exporter_observations_total"),
        processed=count("inference_exporter_processed_total"),
        lost=count("inference_exporter_dropped_total") + count("inference_exporter_sampled_out_total"),
        queued=count("inference_exporter_queued"),
        confidence_sum=values.get("prediction_confidence_sum", 0.0),
        confidence_count=count("prediction_confidence_count"),
        classes=classes,
        answers=answers,
    )


async def scrape(client: httpx.AsyncClient, phase: int = -1) -> Snapshot:
    """GET ``/metrics`` and read it."""
    answer = await client.get("/metrics")
    answer.raise_for_status()
    return parse(answer.text, phase)
