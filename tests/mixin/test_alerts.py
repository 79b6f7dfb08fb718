"""The alert rules under promtool: every alert in every situation, and what a broken rule does to them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from exporter.config import Config
from exporter.errors import ConfigError
from exporter.mixin.alert import threshold_steps
from exporter.mixin.alerts import alerts
from exporter.mixin.rules import write_rules
from exporter.mixin.terms import Terms
from tests.mixin.cases import CASES, SITUATIONS
from tests.mixin.promtool import Case, suites

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
RULES = "prometheus/inference-exporter.rules.yml"


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)


def run_cases(folder: Path, cases: tuple[Case, ...]) -> subprocess.CompletedProcess[str]:
    paths = []
    # The cases begin at the epoch, when nothing can be 90 days old yet.
    text = (folder / RULES).read_text()
    assert "> 7776000" in text or not [case for case in cases if case.alert == "ReferenceOld"]
    (folder / RULES).write_text(text.replace("> 7776000", "> 3600"))
    for index, content in enumerate(suites(str(folder / RULES), cases)):
        paths.append(folder / f"tests-{index}.yml")
        paths[-1].write_text(yaml.safe_dump(content))
    return promtool("test", "rules", *paths)


def test_every_alert_has_every_situation() -> None:
    for alert in alerts(Terms.of(None)):
        assert {case.situation for case in CASES if case.alert == alert.name} >= SITUATIONS, alert.name


@needs_promtool
@pytest.mark.parametrize("alert", sorted({case.alert for case in CASES}))
def test_alerts_in_every_situation(tmp_path: Path, alert: str) -> None:
    write_rules(None, tmp_path)
    result = run_cases(tmp_path, tuple(case for case in CASES if case.alert == alert))
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
@pytest.mark.parametrize(
    ("alert", "good", "bad"),
    [
        ("ErrorResponses", "> 20", "> 200"),
        ("ErrorResponses", "rate(http_requests_total[1m])", "http_requests_total"),
        ("ErrorResponses", " and on (job) inference_exporter_build_info", ""),
        ("ServerErrors", "> 0.1", "> 1.1"),
        ("ServerErrors", '5.*"}[5m]', '.*"}[5m]'),
        ("LowPredictionConfidence", "(rate(prediction_confidence_count[5m])) > 0", "(rate(up[5m])) >= 0"),
        ("PredictionsStopped", "unless on (job, model, version)", "and on (job, model, version)"),
        ("PredictionsStopped", "inference_exporter_processed_total", "inference_exporter_observations_total"),
        ("PredictionsStopped", "increase(inference_exporter_sampled_out_total", "increase(up"),
        ("PredictionsStopped", 'reason=~"unreadable|', 'reason=~"'),
        ("ExporterStale", "rate(inference_exporter_sampled_out_total", "rate(up"),
        ("DriftActive", "(increase(drift_test_stat_count[1h])) > 0", "(drift_test_stat_count) > 0"),
        ("DriftLasts", "[1h]) > 108", "[1h]) > 10"),
        ("DriftLasts", "[15m]) > 27", "[15m]) > 270"),
        ("DetectorNotReady", "ready|provisional", "ready"),
        ("DetectorNotReady", "for: 1d", "for: 15m"),
        ("ReferenceOld", "(drift_reference_timestamp_seconds > 0)", "(drift_reference_timestamp_seconds)"),
        ("AtypicalInputs", ">= 15", ">= 1"),
        ("AtypicalInputs", "+ 1) ^ 2", "+ 1) ^ 3"),
        ("EmbeddingsRefused", 'field="embedding"', 'field=~".*"'),
        (
            "StateNotKept",
            "(increase(drift_checkpoint_failures_total[1h])) > 2",
            "(drift_checkpoint_failures_total) > 0",
        ),
        ("ConfigReloadFailed", "reload_success) < 1", "reload_success) < 2"),
        ("DriftCalibrationDoubtful", 'state=~"ready|provisional"}) == 1', 'state="ready"}) >= 0'),
        ("LowPredictionConfidence", "by (job, model, version)", "by (job, model)"),
        ("PredictedClassShift", " offset 1h) / 6", " offset 1h) / 600"),
        ("PredictedClassShift", "30 * sum_over_time", "sum_over_time"),
        (
            "DriftScoreRising",
            "unless on (job, model, version, detector)",
            "and on (job, model, version, detector)",
        ),
        ("UpstreamDown", "(inference_exporter_upstream_up) < 1", "(inference_exporter_upstream_up) > 1"),
    ],
)
def test_a_broken_rule_is_caught(tmp_path: Path, alert: str, good: str, bad: str) -> None:
    write_rules(None, tmp_path)
    path = tmp_path / RULES
    text = path.read_text()
    assert good in text
    path.write_text(_groups_of(alert, text.replace(good, bad)))
    result = run_cases(tmp_path, tuple(case for case in CASES if case.alert == alert))
    assert result.returncode != 0
    assert "FAILED" in result.stdout + result.stderr


def _groups_of(alert: str, text: str) -> str:
    """Leave out the alerts of other groups, which no case of this one expects."""
    first, *others = yaml.safe_load(text)["groups"]
    own = [group for group in others if alert in {rule["alert"] for rule in group["rules"]}]
    return yaml.safe_dump({"groups": [first, *own]})


@needs_promtool
@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"model": 'qu"ote\\d'},
        {"alerts": {"job": "food.*", "latency_sla": 1.0, "latency_objective": 0.5}},
        {"capture": {"paths": ["/v2/models/*", "/predict"]}},
    ],
)
def test_rules_of_a_configuration_are_valid(tmp_path: Path, overrides: dict[str, object]) -> None:
    write_rules(Config.model_validate(overrides), tmp_path, time_scale=1 / 60, min_window_seconds=2)
    result = promtool("check", "rules", tmp_path / RULES)
    assert result.returncode == 0, result.stderr


def test_rules_are_the_users_own(tmp_path: Path) -> None:
    config = Config.model_validate(
        {
            "model": "food11",
            "capture": {"paths": ["/predict", "/v2/*"]},
            "alerts": {
                "job": "food",
                "latency_sla": 1,
                "errors_per_second": 3,
                "runbook_url": "https://wiki/x/",
            },
        }
    )
    write_rules(config, tmp_path)
    text = (tmp_path / RULES).read_text()
    groups = yaml.safe_load(text)["groups"]
    rules = {rule.get("alert") or rule["record"]: rule for group in groups for rule in group["rules"]}
    assert rules["ErrorResponses"]["expr"].endswith("> 3")
    assert rules["ErrorResponses"]["annotations"]["runbook_url"] == "https://wiki/x/error-responses.md"
    assert 'le=~"1([.]0)?"' in rules["job:http_requests_over_sla:ratio_rate5m"]["expr"]
    assert 'handler=~"/predict|/v2/.*"' in rules["job:http_requests_over_sla:ratio_rate5m"]["expr"]
    assert all('model="food11"' in rule["expr"] for name, rule in rules.items() if "drift" in name.lower())
    assert all('job=~"food"' in rule["expr"] for rule in rules.values())


def test_a_latency_sla_between_buckets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"alerts.latency_sla: 0.3 s is not a bucket .* Give one of 0.005, "
    ):
        write_rules(Config.model_validate({"alerts": {"latency_sla": "300ms"}}), tmp_path)


def test_a_time_scale_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="time scale: received 0"):
        write_rules(None, tmp_path, time_scale=0)


def test_every_alert_says_what_a_person_needs() -> None:
    rules = alerts(Terms.of(None))
    assert len({alert.name for alert in rules}) == len(rules)
    for alert in rules:
        assert "$labels." in alert.summary, alert.name
        assert "$value" in alert.description, alert.name
        page = Path("docs/runbooks", f"{alert.page}.md")
        assert page.is_file(), page
        text = page.read_text()
        assert alert.title in text.splitlines()[0], page
        for heading in ("## What it means", "## What to look at", "## What to do"):
            assert heading in text, (page, heading)


def test_no_runbook_is_without_an_alert() -> None:
    pages = {f"{alert.page}.md" for alert in alerts(Terms.of(None))}
    assert {path.name for path in Path("docs/runbooks").glob("*.md")} == pages | {"README.md"}


def test_threshold_colours_follow_the_limits() -> None:
    rules = alerts(Terms.of(None))
    over = threshold_steps(rules, ("inference-service", "Requests over the SLA"))
    assert over == [("green", None), ("orange", 0.06), ("red", 0.144)]
    unsure = threshold_steps(rules, ("inference-predictions", "Average Prediction Confidence"))
    assert unsure == [("orange", None), ("green", 0.75)]
    assert threshold_steps(rules, ("inference-service", "Body size")) == [("green", None)]
