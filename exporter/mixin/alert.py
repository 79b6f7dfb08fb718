"""What an alert is, and what a panel shows of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["critical", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert: fires while ``expr op limit`` holds for ``for_seconds``.

    ``expr`` is empty, not zero, where there is nothing to judge; then nothing fires.
    ``panel`` names the dashboard (its uid) and the panel (its title) that show the same thing.
    """

    name: str
    title: str
    severity: Severity
    expr: str
    op: Literal[">", "<"] = ">"
    limit: float
    for_seconds: float
    summary: str
    description: str
    panel: tuple[str, str]

    @property
    def page(self) -> str:
        """File name of the runbook page, without its ending."""
        return "".join(f"-{c.lower()}" if c.isupper() else c for c in self.name).lstrip("-")


def threshold_steps(rules: tuple[Alert, ...], panel: tuple[str, str]) -> list[tuple[str, float | None]]:
    """Give a panel's colour steps, ascending, from the limits of the alerts that it shows.

    The first step has no lower end (None).
    """
    shown = sorted((alert for alert in rules if alert.panel == panel), key=lambda alert: alert.limit)
    colors = {"critical": "red", "warning": "orange"}
    if not shown:
        return [("green", None)]
    if shown[0].op == "<":
        return [(colors[shown[0].severity], None), ("green", shown[0].limit)]
    return [("green", None), *((colors[alert.severity], alert.limit) for alert in shown)]
