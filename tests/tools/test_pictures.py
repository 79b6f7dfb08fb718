"""The pictures of dashboards: every colour that a panel names can be drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.pictures.drawing import COLORS

GRAFANA = Path(__file__).parent.parent.parent / "dashboards" / "grafana"


def named(value: Any) -> Iterator[str]:
    """The colours of mappings and thresholds, wherever they stand."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if key == "color" and isinstance(inner, str):
            yield inner
        elif isinstance(inner, dict | list):
            yield from named(inner)


def test_every_colour_of_a_dashboard_can_be_drawn() -> None:
    colours = {
        colour
        for file in GRAFANA.glob("*.json")
        for panel in json.loads(file.read_text())["panels"]
        for colour in named(panel.get("fieldConfig", {}).get("defaults", {}))
    }
    assert "red" in colours
    assert colours <= COLORS.keys()
