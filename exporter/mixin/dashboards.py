"""The shipped Grafana dashboards, and a copy of them for a user's own configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from exporter.config import Config
from exporter.errors import ConfigError
from exporter.mixin.alert import threshold_steps
from exporter.mixin.alerts import alerts
from exporter.mixin.terms import RUNBOOKS, Terms


def shipped() -> dict[str, dict[str, Any]]:
    """Load the dashboards that come with the package, by file name.

    An installed package holds them beside this module; a source checkout in ``dashboards/grafana``.
    """
    here = Path(__file__).parent / "grafana"
    folder = here if here.is_dir() else Path(__file__).parents[2] / "dashboards" / "grafana"
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def write_dashboards(config: Config | None, out: Path) -> list[Path]:
    """Write the dashboards for a configuration into a folder, or with None as shipped; give the files.

    The configuration's model is the one selected when a dashboard opens; its SLA and limits become the
    thresholds drawn; its ``runbook_url`` becomes the target of the links.

    Raises
    ------
    ConfigError
        If the latency SLA is not a bound of the duration histogram.
    """
    written = []
    out.mkdir(parents=True, exist_ok=True)
    for name, dashboard in shipped().items():
        path = out / name
        path.write_text(encode(personal(dashboard, config) if config else dashboard), encoding="utf-8")
        written.append(path)
    return written


def encode(dashboard: dict[str, Any]) -> str:
    """Write a dashboard's JSON the way the shipped files are written."""
    return json.dumps(dashboard, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def personal(dashboard: dict[str, Any], config: Config) -> dict[str, Any]:
    """Fill a configuration's values into a dashboard's variables and links."""
    terms = Terms.of(config)
    rules = alerts(terms)
    text = json.dumps(dashboard).replace(RUNBOOKS, terms.runbook("").removesuffix("/.md"))
    result: dict[str, Any] = json.loads(text)
    for panel in panels(result):
        place = (result["uid"], panel["title"])
        if any(alert.panel == place for alert in rules):
            steps = [{"color": color, "value": value} for color, value in threshold_steps(rules, place)]
            panel["fieldConfig"]["defaults"]["thresholds"]["steps"] = steps
    selected = {"model": config.only, "job": config.alerts.job}
    for variable in result.get("templating", {}).get("list", []):
        value = selected.get(variable["name"])
        if value is not None:
            variable["current"] = {"selected": True, "text": value, "value": value}
    return result


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """List a dashboard's panels, those inside collapsed rows included, rows themselves left out."""
    found: list[dict[str, Any]] = []
    for panel in dashboard.get("panels", []):
        found.extend(panels(panel) if panel["type"] == "row" else [panel])
    return found


def panel_ids() -> dict[tuple[str, str], int]:
    """Map (dashboard uid, panel title) to the panel's id."""
    ids = {
        (dashboard["uid"], panel["title"]): panel["id"]
        for dashboard in shipped().values()
        for panel in panels(dashboard)
    }
    if not ids:
        raise ConfigError(
            "dashboards: none are installed beside exporter/mixin; reinstall inference-exporter, or "
            "in a source checkout run python -m dashboards.build"
        )
    return ids
