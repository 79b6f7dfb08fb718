"""Real traffic, real Prometheus and Alertmanager: each trouble raises its own alerts, and only those."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.stack import missing_programs
from tests.e2e.stage import ALSO, INHIBITED, SCENARIOS, Stage, performed

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
