"""Draw the dashboards as pictures, with a Prometheus's real data in Grafana's layout.

    python -m tools.pictures.render --prometheus http://localhost:9090 --out pictures --minutes 15

It shows the panels' data and layout, and mistakes in either, where no Grafana is at hand. What Grafana
draws looks different in details.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from exporter.mixin.dashboards import shipped
from tools.pictures.drawing import DRAWERS, FAINT, TEXT
from tools.pictures.queries import Period, QueryRange, Series, fill, panel_series

WIDTH_INCHES = 13.0
UNIT_INCHES = 0.36  # one step of Grafana's grid
DPI = 80
PAGE, CARD = "#111217", "#181b1f"
ALL = ".*"


def draw(
    board: dict[str, Any],
    period: Period,
    variables: Mapping[str, str],
    query_range: QueryRange,
    path: Path,
) -> list[str]:
    """Draw one dashboard into a PNG file; gives the titles of the panels that have no data."""
    empty = []
    every = [(panel, panel["gridPos"]) for panel in board["panels"]]
    height = max(place["y"] + place["h"] for _, place in every)
    figure = plt.figure(figsize=(WIDTH_INCHES, (height + 1) * UNIT_INCHES), dpi=DPI, facecolor=PAGE)
    figure.text(
        0.01, 1 - 0.5 / (height + 1), board["title"], color=TEXT, fontsize=13, va="center", weight="bold"
    )
    for panel, place in every:
        title = fill(
            panel["title"], {key: "All" if value == ALL else value for key, value in variables.items()}
        )
        top = 1 - (place["y"] + 1) / (height + 1)
        if panel["type"] == "row":
            figure.text(0.01, top - 0.5 / (height + 1), f"▾ {title}", color=TEXT, fontsize=9, va="center")
            continue
        box = (place["x"] / 24, top - place["h"] / (height + 1), place["w"] / 24, place["h"] / (height + 1))
        series = panel_series(panel, period, variables, query_range)
        if not any(not math.isnan(line.last) for line in series):
            empty.append(title)
            series = []
        _card(figure, panel, title, box, series, period)
    figure.savefig(path, facecolor=PAGE)
    plt.close(figure)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(96, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    return empty


def _card(
    figure: Figure,
    panel: dict[str, Any],
    title: str,
    box: tuple[float, float, float, float],
    series: list[Series],
    period: Period,
) -> None:
    left, bottom, width, height = box
    gap = 0.003
    card = figure.add_axes((left + gap, bottom + gap, width - 2 * gap, height - 2 * gap), facecolor=CARD)
    card.set(xticks=[], yticks=[])
    for spine in card.spines.values():
        spine.set_color("#2c2f36")
    inches = (width * WIDTH_INCHES, height * figure.get_figheight())
    bar = 0.24 / inches[1]
    room = int(inches[0] * 11)
    card.text(0.08 / inches[0], 1 - bar / 2, title if len(title) < room else title[: room - 1] + "…",
              color=TEXT, fontsize=8, va="center", transform=card.transAxes)  # fmt: skip
    if not series:
        card.text(0.5, 0.45, "No data", color=FAINT, fontsize=9, ha="center", transform=card.transAxes)
        return
    margins = {
        "timeseries": (0.62, 0.62, 0.12), "heatmap": (0.62, 0.34, 0.12), "state-timeline": (1.1, 0.34, 0.12),
        "stat": (0.05, 0.08, 0.05), "bargauge": (1.0, 0.12, 0.7), "table": (0.1, 0.1, 0.1),
    }  # fmt: skip
    pad_left, pad_bottom, pad_right = margins[panel["type"]]
    axes = figure.add_axes(
        (
            left + pad_left / WIDTH_INCHES,
            bottom + pad_bottom / figure.get_figheight(),
            width - (pad_left + pad_right) / WIDTH_INCHES,
            height - (pad_bottom + 0.36) / figure.get_figheight(),
        ),
        facecolor=CARD,
    )
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(colors=FAINT, labelsize=6.5, length=0)
    DRAWERS[panel["type"]](axes, panel, series, period)


def prometheus(address: str) -> QueryRange:
    """Ask a Prometheus over HTTP."""

    def query_range(expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        parameters = urllib.parse.urlencode({"query": expr, "start": start, "end": end, "step": step})
        with urllib.request.urlopen(f"{address}/api/v1/query_range?{parameters}", timeout=30) as response:  # noqa: S310
            result: list[dict[str, Any]] = json.load(response)["data"]["result"]
        return result

    return query_range


def render(
    out: Path, period: Period, query_range: QueryRange, variables: Mapping[str, Mapping[str, str]]
) -> dict[str, list[str]]:
    """Draw every dashboard; ``variables`` maps a file's name to values, all series where none is given.

    Returns
    -------
    dict
        For each dashboard's file the titles of the panels that have no data.
    """
    out.mkdir(parents=True, exist_ok=True)
    empty = {}
    for name, board in shipped().items():
        values = {variable["name"]: ALL for variable in board["templating"]["list"]}
        values |= variables.get(name, {})
        empty[name] = draw(board, period, values, query_range, out / f"dashboard-{Path(name).stem}.png")
    return empty


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Draw the dashboards with a Prometheus's data.")
    parser.add_argument(
        "--prometheus", default="http://127.0.0.1:9090", help="address (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="folder (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=15.0, help="time range (default: %(default)s)")
    parser.add_argument("--model", default=ALL, help="regular expression (default: all)")
    parser.add_argument("--job", default=ALL, help="regular expression (default: all)")
    given = parser.parse_args(arguments)
    end = time.time()
    seconds = 60 * given.minutes
    period = Period(end - seconds, end, max(1.0, seconds / 120), max(60.0, seconds / 30))
    chosen = {name: {"model": given.model, "job": given.job} for name in shipped()}
    for name, titles in render(given.out, period, prometheus(given.prometheus), chosen).items():
        print(f"{given.out / name}: no data in {', '.join(titles) or 'no panel'}")


if __name__ == "__main__":
    main()
