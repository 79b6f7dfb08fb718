"""The dashboards: they agree with their source, name real metrics, and explain themselves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.build import FOLDER, build, disagreements
from exporter.config import Config
from exporter.metrics.contract import CONTRACT, DRIFT, HTTP, LEDGER, PREDICTIONS, SIDECAR
from exporter.mixin.alerts import alerts
from exporter.mixin.dashboards import panel_ids, panels, shipped, write_dashboards
from exporter.mixin.recording import recordings
from exporter.mixin.rules import write_rules
from exporter.mixin.terms import Terms

DASHBOARDS = shipped()
PANELS = [(board["title"], panel) for board in DASHBOARDS.values() for panel in panels(board)]
FOREIGN = {"up", "ALERTS"}  # Prometheus's own
WORDS = {
    *("sum", "max", "min", "avg", "count", "by", "and", "on", "or", "unless", "without", "ignoring", "bool"),
    *(
        "rate",
        "increase",
        "changes",
        "histogram_quantile",
        "label_replace",
        "max_over_time",
        "avg_over_time",
        "last_over_time",
        "sum_over_time",
    ),
    *("clamp_min", "vector", "time", "group_left", "offset", "sqrt", "abs", "le", "job", "model"),
}

# The source documents' panels, with the model's name taken out of the titles.
SOURCE_TITLES = {
    "Service Monitoring": {
        "$job average request duration (ms)",
        "$job request duration percentiles (ms)",
        "Requests per second",
        "Error responses",
    },
    "Prediction Monitoring": {
        "Average Prediction Confidence",
        "Prediction Confidence (Cumulative)",
        "Prediction Confidence (Over Selected Time Range)",
        "Predicted Class Totals (Over Selected Time Range)",
    },
    "Drift Monitoring": {"Drift Events (per second)", "Median Drift Score (test_stat)"},
    "High Level": {"Models with drift", "Requests"},
    "By Model": {"Drift", "Confidence"},
    "Containers": {"CPU usage", "Memory usage"},
}


def expressions(text_of: dict[str, Any]) -> list[str]:
    """Every query of a dashboard: panels, annotations, variables."""
    found = [target["expr"] for panel in panels(text_of) for target in panel["targets"]]
    found += [note["expr"] for note in text_of.get("annotations", {}).get("list", []) if note.get("expr")]
    for variable in text_of["templating"]["list"]:
        match = re.fullmatch(r"label_values\((.*), \w+\)", str(variable.get("query", "")))
        if match:
            found.append(match[1])
    return found


def metric_names(expr: str) -> set[str]:
    """Names of the series an expression selects."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expr)
    bare = re.sub(r"\boffset \d+[smhd]", " ", bare)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|on|ignoring|group_left|without)\s*\([^)]*\)", " ", bare)
    return set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", bare)) - WORDS


def known_names() -> set[str]:
    names = set(FOREIGN) | set(recordings(Terms.of(None)))
    for spec in CONTRACT:
        names.add(spec.name)
        if spec.type in ("histogram", "summary"):
            names |= {f"{spec.name}_count", f"{spec.name}_sum"}
        if spec.type == "histogram":
            names.add(f"{spec.name}_bucket")
    return names


def is_known(name: str) -> bool:
    return name in known_names() or name.startswith("container_")


def test_json_agrees_with_its_source() -> None:
    assert disagreements() == []


def test_a_dashboard_edited_by_hand_is_told_which_file_to_change(tmp_path: Path) -> None:
    for name, text in build().items():
        (tmp_path / name).write_text(text)
    assert disagreements(tmp_path) == []
    path = tmp_path / "by-model.json"
    path.write_text(path.read_text().replace('"ops"', '"reqps"', 1))
    (tmp_path / "service.json").unlink()
    (tmp_path / "mine.json").write_text("{}")
    told = "\n".join(disagreements(tmp_path))
    assert "by-model.json: differs from its source; change dashboards/overview.py" in told
    assert "service.json: missing; run python -m dashboards.build" in told
    assert "mine.json: has no source" in told


def test_check_fails_as_a_command_when_a_file_disagrees(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    for part in ("dashboards", "exporter"):
        shutil.copytree(root / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "dashboards.build", "--check"]
    path = tmp_path / "dashboards" / "grafana" / "drift.json"
    path.write_text(path.read_text().replace("Drift Monitoring", "My drift"))
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "change dashboards/drift.py" in result.stderr


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboards_are_what_grafanas_types_allow(name: str) -> None:
    board = DASHBOARDS[name]
    again = json.loads(json.dumps(Dashboard.from_json(board), default=lambda value: value.to_json()))
    assert again["panels"] == board["panels"]
    assert again["templating"] == board["templating"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_metric_exists(name: str) -> None:
    used = set().union(*(metric_names(expr) for expr in expressions(DASHBOARDS[name])))
    assert used
    assert {metric for metric in used if not is_known(metric)} == set()


def test_every_metric_of_the_rules_exists() -> None:
    terms = Terms.of(None)
    used = set().union(
        *map(metric_names, (*recordings(terms).values(), *(alert.expr for alert in alerts(terms))))
    )
    assert {metric for metric in used if metric not in known_names()} == set()


def test_a_metric_that_does_not_exist_is_noticed() -> None:
    assert metric_names('sum by (job) (rate(nope_total{a="b c"}[5m])) > bool up') == {"nope_total", "up"}
    assert not is_known("nope_total")


def test_every_metric_of_the_live_path_is_shown_somewhere() -> None:
    used = set().union(*(metric_names(expr) for board in DASHBOARDS.values() for expr in expressions(board)))
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    rules = {name for expr in recordings(Terms.of(None)).values() for name in metric_names(expr)}
    shown |= {re.sub(r"_(bucket|sum|count)$", "", name) for name in rules}
    unseen = {spec.name for spec in (*PREDICTIONS, *DRIFT, *LEDGER, *SIDECAR, *HTTP)} - shown
    assert unseen <= {
        "http_request_duration_highr_seconds",  # the labelled histogram is shown
        "inference_exporter_config_reload_success",
        "drift_checkpoint_timestamp_seconds",
        "drift_checkpoint_failures_total",
    }


def test_every_panel_of_the_sources_exists_under_its_title() -> None:
    for board, titles in SOURCE_TITLES.items():
        assert titles <= {panel["title"] for name, panel in PANELS if name == board}, board


@pytest.mark.parametrize(
    ("board", "panel"), PANELS, ids=lambda item: item if isinstance(item, str) else item["title"]
)
def test_every_panel_explains_itself(board: str, panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 8, board
    assert panel["targets"], board
    defaults = panel["fieldConfig"]["defaults"]
    if panel["type"] == "heatmap":
        assert panel["options"]["yAxis"]["unit"]
    elif panel["type"] != "table":
        assert defaults["unit"]
    assert defaults["thresholds"]["steps"]
    assert panel["datasource"]["uid"] == "${datasource}"
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"
        if panel["type"] not in ("table", "stat"):
            assert target["legendFormat"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_have_places_of_their_own(name: str) -> None:
    board = DASHBOARDS[name]
    cells: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        cells |= own


def test_panels_of_alerts_link_to_the_runbook_and_draw_the_limit() -> None:
    ids = panel_ids()
    boards = {board["uid"]: board for board in DASHBOARDS.values()}
    for alert in alerts(Terms.of(None)):
        assert alert.panel in ids, alert.name
        panel = next(p for p in panels(boards[alert.panel[0]]) if p["title"] == alert.panel[1])
        assert panel["links"][0]["url"].startswith("https://")
        assert "/docs/runbooks/" in panel["links"][0]["url"]
        if alert.limit not in (0, 1) and alert.name not in ("QueueDropping",):
            assert alert.limit in [
                step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
            ]


def test_histograms_are_taken_apart() -> None:
    bars = [panel for _, panel in PANELS if panel["type"] == "bargauge" and "onfidence" in panel["title"]]
    assert len(bars) == 2
    for panel in bars:
        first, *others = panel["targets"]
        assert " - " not in first["expr"]
        assert len(others) == 9
        assert all(re.search(r'le="?~?.*\) - sum\(', target["expr"]) for target in others)
    heatmaps = [panel for _, panel in PANELS if panel["type"] == "heatmap"]
    assert heatmaps
    assert all(target["format"] == "heatmap" for panel in heatmaps for target in panel["targets"])
    for _, panel in PANELS:
        if panel["type"] == "timeseries" and "_bucket" in json.dumps(panel["targets"]):
            assert panel["fieldConfig"]["defaults"]["custom"].get("stacking", {}).get("mode") != "normal"


def test_model_can_be_chosen_everywhere_but_for_containers() -> None:
    for board in DASHBOARDS.values():
        names = [variable["name"] for variable in board["templating"]["list"]]
        assert names[0] == "datasource"
        if board["title"] != "Containers":
            assert {"job", "handler"} <= set(names) or {"job", "model", "version"} <= set(names)
        for name in names:
            assert name == "datasource" or f"${name}" in json.dumps(board["panels"]), board["title"]


def test_a_step_can_be_told_from_a_ramp_when_a_dashboard_opens() -> None:
    for board in DASHBOARDS.values():
        assert board["time"] == {
            "from": "now-1h" if board["title"] == "Containers" else "now-6h",
            "to": "now",
        }


def test_versions_of_a_model_are_lines_of_their_own() -> None:
    for board in DASHBOARDS.values():
        for expr in expressions(board):
            for grouping in re.findall(r"(?:by|on) \(([^)]*)\)", expr):
                labels = grouping.split(", ")
                assert "model" not in labels or "version" in labels, expr


def test_dashboards_of_a_configuration_hold_its_values(tmp_path: Path) -> None:
    config = Config.model_validate(
        {
            "model": "food11",
            "alerts": {"min_confidence": 0.6, "runbook_url": "https://wiki.example/runbooks", "job": "food"},
        }
    )
    written = write_dashboards(config, tmp_path / "new" / "folder")
    assert {path.name for path in written} == set(DASHBOARDS)
    predictions = json.loads((tmp_path / "new" / "folder" / "predictions.json").read_text())
    confidence = next(p for p in panels(predictions) if p["title"] == "Average Prediction Confidence")
    assert confidence["fieldConfig"]["defaults"]["thresholds"]["steps"][-1] == {
        "color": "green",
        "value": 0.6,
    }
    assert confidence["links"][0]["url"] == "https://wiki.example/runbooks/low-prediction-confidence.md"
    selected = {v["name"]: v["current"]["value"] for v in predictions["templating"]["list"] if "current" in v}
    assert selected["model"] == "food11"
    assert selected["job"] == "food"


def test_dashboards_without_a_configuration_are_the_shipped_ones(tmp_path: Path) -> None:
    for path in write_dashboards(None, tmp_path):
        assert path.read_text() == (FOLDER / path.name).read_text()


def test_grafana_rules_say_the_same_as_prometheus_rules(tmp_path: Path) -> None:
    import yaml
    from grafana_foundation_sdk.models.alerting import Rule

    write_rules(None, tmp_path)
    content = yaml.safe_load((tmp_path / "grafana/alerting/rules.yml").read_text())
    rules = {rule["title"]: rule for group in content["groups"] for rule in group["rules"]}
    boards = {board["uid"]: {p["id"]: p["title"] for p in panels(board)} for board in DASHBOARDS.values()}
    for alert in alerts(Terms.of(None)):
        rule = rules.pop(alert.title)
        assert rule["data"][0]["model"]["expr"] == alert.expr
        evaluator = rule["data"][1]["model"]["conditions"][0]["evaluator"]
        assert evaluator == {"type": {">": "gt", "<": "lt"}[alert.op], "params": [alert.limit]}
        assert rule["noDataState"] == "OK"
        assert rule["labels"]["severity"] == alert.severity
        assert boards[rule["dashboardUid"]][rule["panelId"]] == alert.panel[1]
        assert "$value " not in rule["annotations"]["description"]
        Rule.from_json(rule)
    assert rules == {}


def test_grafana_files_form_one_whole(tmp_path: Path) -> None:
    import yaml

    write_rules(None, tmp_path)
    folder = tmp_path / "grafana" / "alerting"
    points = yaml.safe_load((folder / "contact-points.yml").read_text())["contactPoints"]
    (policy,) = yaml.safe_load((folder / "policies.yml").read_text())["policies"]
    names = {point["name"] for point in points}
    assert {policy["receiver"], *(route["receiver"] for route in policy["routes"])} <= names
    assert points[0]["receivers"][0]["disableResolveMessage"] is False
