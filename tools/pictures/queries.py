"""Ask a Prometheus what a dashboard's panels would show."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Result = list[dict[str, Any]]
QueryRange = Callable[[str, float, float, float], Result]
"""PromQL, start, end and step in seconds, to Prometheus's ``result``."""


@dataclass(frozen=True, slots=True)
class Period:
    """The time range that a dashboard shows, in seconds since the epoch."""

    start: float
    end: float
    step: float
    rate_window: float

    @property
    def variables(self) -> dict[str, str]:
        """Grafana's own variables for this range."""
        seconds = max(1, round(self.end - self.start))
        return {
            "__rate_interval": f"{round(self.rate_window)}s",
            "__range": f"{seconds}s",
            "__interval": f"{max(1, round(self.step))}s",
        }


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a panel: where it comes from, its legend, its labels and its points."""

    letter: str
    legend: str
    labels: dict[str, str]
    points: list[tuple[float, float]]

    @property
    def last(self) -> float:
        """The last value that is a number; NaN if none is."""
        return next((value for _, value in reversed(self.points) if not math.isnan(value)), math.nan)


def fill(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$name`` and ``${name}``; longer names first, so that none is cut short."""
    for name in sorted(variables, key=len, reverse=True):
        text = text.replace(f"${{{name}}}", variables[name]).replace(f"${name}", variables[name])
    return text


def panel_series(
    panel: dict[str, Any], period: Period, variables: Mapping[str, str], query_range: QueryRange
) -> list[Series]:
    """Run a panel's queries; those that ask for now only give the one point at the end."""
    everything = {**variables, **period.variables}
    found = []
    for target in panel["targets"]:
        expr = fill(target["expr"], everything)
        start = period.end if target.get("instant") else period.start
        for result in query_range(expr, start, period.end, period.step):
            labels = {key: value for key, value in result["metric"].items() if key != "__name__"}
            legend = _legend(fill(target.get("legendFormat", ""), variables), labels)
            points = [(float(at), float(value)) for at, value in result["values"]]
            found.append(Series(target["refId"], legend or "value", labels, points))
    return found


def _legend(template: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), template)
