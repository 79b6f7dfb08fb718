"""Real traffic, real Prometheus and Alertmanager: each trouble raises its own alerts, and only those."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from examples.stack import TIME_SCALE, missing_programs
from exporter.mixin.alerts import alerts
from exporter.mixin.dashboards import panels, shipped
from exporter.mixin.recording import recordings
from exporter.mixin.terms import Terms
from tests.e2e.stage import ALSO, INHIBITED, SCENARIOS, SCRAPE_SECONDS, Stage, performed
from tools.pictures.__main__ import CHOICES, period_of
from tools.pictures.queries import Period, panel_series
from tools.pictures.render import render

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(missing_programs()), reason="Prometheus or Alertmanager is not installed"),
]

HISTORY_SECONDS = 100.0
"""By then the hour of the rules, in the stage's time, has a time before it that can be compared with."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with performed(Path(tmp_path_factory.mktemp("stage"))) as result:
        yield result


def test_clean_traffic_fires_nothing(stage: Stage) -> None:
    assert stage.fired_while_clean == set()


@pytest.mark.parametrize("job", SCENARIOS)
def test_each_trouble_fires_its_own_alerts(stage: Stage, job: str) -> None:
    fired = {alert for name, alert in stage.seen("firing") if name == job}
    assert fired - ALSO.get(job, set()) == SCENARIOS[job]


@pytest.mark.parametrize("job", [job for job, alerts in SCENARIOS.items() if alerts])
def test_alerts_go_pending_fire_reach_the_webhook_and_resolve(stage: Stage, job: str) -> None:
    for alert in SCENARIOS[job]:
        states = [change.state for change in stage.changes(job, alert)]
        assert "firing" in states, states
        assert "inactive" in states[states.index("firing") :], states
        if alert not in INHIBITED.get(job, set()):
            assert "delivered" in states, states
            assert "resolved" in states[states.index("delivered") :], states
        for change in stage.changes(job, alert):
            if change.state == "delivered":
                text = " ".join(change.annotations.values())
                assert "<no value>" not in text
                assert "<error" not in text
                assert change.annotations["runbook_url"].startswith("https://")


def test_every_rule_is_healthy(stage: Stage) -> None:
    assert {(rule["name"], rule["health"]) for rule in stage.stack.rules() if rule["health"] != "ok"} == set()


def test_every_panel_has_data_of_its_own_state(stage: Stage) -> None:
    def missing() -> list[tuple[str, str, str]]:
        period = period_of(stage)
        return [
            (board["title"], panel["title"], target["expr"])
            for board in shipped().values()
            for panel, target in _without_data(board, period, stage)
        ]

    _wait_until_empty(missing)


def _without_data(
    board: dict[str, Any], period: Period, stage: Stage
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    everything = {variable["name"]: ".*" for variable in board["templating"]["list"]}
    for panel in panels(board):
        found = panel_series(panel, period, everything, stage.stack.query_range)
        seen = {line.letter for line in found if not math.isnan(line.last)}
        yield from ((panel, target) for target in panel["targets"] if target["refId"] not in seen)


def test_every_rule_has_data_of_its_own_state(stage: Stage) -> None:
    terms = Terms.of(None, time_scale=TIME_SCALE, min_window_seconds=4 * SCRAPE_SECONDS)
    # Empty unless there is trouble of a kind that is not on this stage.
    quiet = {"ExporterStale", "DriftScoreRising", "DriftLasts"}
    rules = recordings(terms)
    rules |= {alert.name: alert.expr for alert in alerts(terms) if alert.name not in quiet}

    def missing() -> list[str]:
        period = period_of(stage)
        return [
            name
            for name, expr in rules.items()
            if not stage.stack.query_range(expr, period.start, period.end, period.step)
        ]

    _wait_until_empty(missing)


def _wait_until_empty(missing: Callable[[], Sequence[object]]) -> None:
    """Give rules that look at the time before the time they need, however slow the machine."""
    deadline = time.monotonic() + HISTORY_SECONDS
    while (left := missing()) and time.monotonic() < deadline:
        time.sleep(1)
    assert not left


def test_the_dashboards_can_be_drawn(stage: Stage, tmp_path: Path) -> None:
    stage.wait_for_history()
    empty = render(tmp_path, period_of(stage), stage.stack.query_range, CHOICES)
    assert set(empty) == set(shipped())
    for name, titles in empty.items():
        assert (tmp_path / f"dashboard-{Path(name).stem}.png").stat().st_size > 10_000
        assert len(titles) <= 2, (name, titles)
