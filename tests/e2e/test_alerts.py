"""Real traffic, real Prometheus and Alertmanager: each trouble raises its own alerts, and only those."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.queries import panel_series
from dashboards.render import render
from examples.stack import TIME_SCALE, missing_programs
from exporter.monitoring.alerts import alerts
from exporter.monitoring.dashboards import panels, shipped
from exporter.monitoring.recording import recordings
from exporter.monitoring.terms import Terms
from tests.e2e.pictures import CHOICES, period_of
from tests.e2e.stage import ALSO, INHIBITED, SCENARIOS, SCRAPE_SECONDS, Stage, performed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(missing_programs()), reason="Prometheus or Alertmanager is not installed"),
]


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
    stage.wait_for_history()
    period = period_of(stage)
    missing = []
    for board in shipped().values():
        everything = {variable["name"]: ".*" for variable in board["templating"]["list"]}
        for panel in panels(board):
            found = panel_series(panel, period, everything, stage.stack.query_range)
            seen = {line.letter for line in found if not math.isnan(line.last)}
            missing += [
                (board["title"], panel["title"], target["expr"])
                for target in panel["targets"]
                if target["refId"] not in seen
            ]
    assert missing == []


def test_every_rule_has_data_of_its_own_state(stage: Stage) -> None:
    stage.wait_for_history()
    period = period_of(stage)
    terms = Terms.of(None, time_scale=TIME_SCALE, min_window_seconds=4 * SCRAPE_SECONDS)
    quiet = {"ExporterStale", "DriftScoreRising"}  # empty unless there is trouble of a kind not on this stage
    for name, expr in (
        *((rule.record, rule.expr) for rule in recordings(terms)),
        *((alert.name, alert.expr) for alert in alerts(terms) if alert.name not in quiet),
    ):
        assert stage.stack.query_range(expr, period.start, period.end, period.step), name


def test_the_dashboards_can_be_drawn(stage: Stage, tmp_path: Path) -> None:
    empty = render(tmp_path, period_of(stage), stage.stack.query_range, CHOICES)
    assert set(empty) == set(shipped())
    for name, titles in empty.items():
        assert (tmp_path / f"dashboard-{Path(name).stem}.png").stat().st_size > 10_000
        assert len(titles) <= 2, (name, titles)
