"""Draw one panel's data into axes, one function for each kind of panel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from tools.pictures.queries import Period, Series

TEXT, FAINT = "#d8d9da", "#6e7280"
COLORS = {
    "green": "#73bf69", "red": "#f2495c", "orange": "#ff9830", "blue": "#5794f2", "purple": "#b877d9",
    "yellow": "#fade2a", "gray": "#8e8e8e", "semi-dark-green": "#56a64b",
}  # fmt: skip
LEGEND_ROWS = 2
CYCLE = (
    "#73bf69",
    "#f2cc0c",
    "#5794f2",
    "#ff9830",
    "#f2495c",
    "#8ab8ff",
    "#b877d9",
    "#56a64b",
    "#fa6400",
    "#c4162a",
)


def number(value: float, unit: str) -> str:
    """Write a value the way Grafana does: with its unit, and few digits."""
    if math.isnan(value):
        return "-"
    if unit == "percentunit":
        return f"{100 * value:.3g}%"
    if unit in ("bytes", "Bps"):
        for prefix in ("", "Ki", "Mi", "Gi"):
            if abs(value) < 1024 or prefix == "Gi":
                digits = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
                return f"{digits} {prefix}B{'/s' if unit == 'Bps' else ''}"
            value /= 1024
    if unit == "s" and 0 < abs(value) < 1:
        return f"{1000 * value:.3g} ms"
    if unit == "short" and abs(value) >= 1000:
        return f"{value / 1000:.3g} K" if abs(value) < 1e6 else f"{value / 1e6:.3g} Mil"
    suffix = {"reqps": " req/s", "ops": " ops/s", "cps": " c/s", "ms": " ms", "s": " s"}.get(unit, "")
    return f"{value:.3g}{suffix}" if abs(value) < 1000 else f"{value:.0f}{suffix}"


def colour_of(value: float, panel: dict[str, Any]) -> str:
    """Give the colour of the value's mapping, or of the threshold it has passed."""
    defaults = panel["fieldConfig"]["defaults"]
    for mapping in defaults.get("mappings", []):
        option = mapping["options"].get(f"{value:g}")
        if option:
            return COLORS[option["color"]]
    color = TEXT
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = COLORS[step["color"]]
    return color


def text_of(value: float, panel: dict[str, Any]) -> str:
    """Give the text of the value's mapping, or the value with its unit."""
    defaults = panel["fieldConfig"]["defaults"]
    for mapping in defaults.get("mappings", []):
        option = mapping["options"].get(f"{value:g}")
        if option:
            return str(option["text"])
    rounded = round(value) if defaults.get("decimals") == 0 and not math.isnan(value) else value
    return number(rounded, defaults.get("unit", "none"))


def _time_axis(axes: Axes, period: Period) -> None:
    axes.set_xlim(period.start / 86400,
                  period.end / 86400)  # fmt: skip
    axes.xaxis.set_major_locator(dates.AutoDateLocator(maxticks=6))
    axes.xaxis.set_major_formatter(
        dates.DateFormatter("%H:%M:%S" if period.end - period.start < 1200 else "%H:%M")
    )


def lines(axes: Axes, panel: dict[str, Any], series: list[Series], period: Period) -> None:
    """Series over time, stacked or not, with dashed limits."""
    defaults = panel["fieldConfig"]["defaults"]
    custom, unit = defaults.get("custom", {}), defaults["unit"]
    axes.grid(visible=True, color="#2c2f36", linewidth=0.5)
    if custom.get("stacking", {}).get("mode") == "normal":
        times = sorted({at for line in series for at, _ in line.points})
        table = [[dict(line.points).get(at, 0.0) for at in times] for line in series]
        table = [[0.0 if math.isnan(value) else value for value in row] for row in table]
        axes.stackplot(
            [at / 86400 for at in times], table, colors=CYCLE, alpha=0.7, labels=[s.legend for s in series]
        )
    else:
        for index, line in enumerate(line for line in series if not math.isnan(line.last)):
            color = CYCLE[index % len(CYCLE)]
            days, values = [at / 86400 for at, _ in line.points], [value for _, value in line.points]
            axes.plot(
                days, values, color=color, linewidth=1.1, label=f"{line.legend}  {number(line.last, unit)}"
            )
    if custom.get("thresholdsStyle", {}).get("mode") == "dashed":
        for step in defaults["thresholds"]["steps"][1:]:
            color = COLORS["red"] if step["color"] == "green" else COLORS[step["color"]]
            axes.axhline(step["value"], color=color, linestyle="--", linewidth=0.9)
    low, high = defaults.get("min"), defaults.get("max")
    axes.set_ylim(bottom=low, top=high if high is None else high * 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: number(value, unit))
    axes.locator_params(axis="y", nbins=5)
    _time_axis(axes, period)
    handles, labels = axes.get_legend_handles_labels()
    inches = axes.get_window_extent().width / axes.figure.dpi
    columns = max(1, min(len(labels), int(inches * 11 / (6 + max(map(len, labels), default=1)))))
    fit = columns * LEGEND_ROWS
    if len(labels) > fit:
        labels[fit - 1] = f"and {len(labels) - fit + 1} more"
    axes.legend(
        handles[:fit],
        labels[:fit],
        loc="upper left",
        bbox_to_anchor=(-0.05, -0.12),
        ncol=columns,
        fontsize=6.2,
        frameon=False,
        labelcolor=TEXT,
        handlelength=1.0,
        columnspacing=1.0,
        borderpad=0.1,
    )


def stat(axes: Axes, panel: dict[str, Any], series: list[Series], _: Period) -> None:
    """The last value, large, or one row for each series."""
    axes.axis("off")
    room, dpi = axes.get_window_extent(), axes.figure.dpi
    rows = len(series)
    for index, line in enumerate(series):
        text, color = text_of(line.last, panel), colour_of(line.last, panel)
        y = 1 - (index + 0.5) / rows
        size = min(26, room.height / rows / dpi * 34, room.width / dpi * 92 / max(5, len(text)))
        if rows > 1:
            axes.text(
                0.03, y, line.legend, color=TEXT, fontsize=min(8, size), va="center", transform=axes.transAxes
            )
            axes.text(
                0.97,
                y,
                text,
                color=color,
                fontsize=min(12, size),
                va="center",
                ha="right",
                transform=axes.transAxes,
            )
        else:
            axes.text(
                0.5, y, text, color=color, fontsize=size, va="center", ha="center", transform=axes.transAxes
            )
    if rows == 1 and panel["options"].get("graphMode") == "area" and len(series[0].points) > 1:
        spark = axes.inset_axes((0, 0, 1, 0.3))
        spark.axis("off")
        values = [0.0 if math.isnan(value) else value for _, value in series[0].points]
        spark.fill_between(range(len(values)), values, color=colour_of(series[0].last, panel), alpha=0.25)
        spark.set_xlim(0, len(values) - 1)


def bars(axes: Axes, panel: dict[str, Any], series: list[Series], _: Period) -> None:
    """One horizontal bar a series."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    values = [max(0.0, line.last) for line in series]
    places = range(len(series))
    axes.barh(places, [max(values) or 1] * len(series), color="#22252b", height=0.7)
    axes.barh(places, values, color=CYCLE[0], height=0.7)
    axes.set_yticks(places, [line.legend for line in series], color=TEXT, fontsize=7)
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.set_xlim(0, max(values) or 1)
    for place, value in zip(places, values, strict=True):
        axes.text(1.02, place, number(round(value), unit), color=CYCLE[0], fontsize=8, va="center",
                  transform=axes.get_yaxis_transform())  # fmt: skip


def density(axes: Axes, panel: dict[str, Any], series: list[Series], period: Period) -> None:
    """Take the cumulative buckets apart, as Grafana does for this format, and draw the cells that matter."""
    ordered = sorted(series, key=lambda line: float(line.labels["le"]))
    times = sorted({at for line in ordered for at, _ in line.points})
    rows, below = [], [0.0] * len(times)
    for line in ordered:
        at = dict(line.points)
        total = [0.0 if math.isnan(at.get(moment, math.nan)) else at[moment] for moment in times]
        rows.append([max(0.0, high - low) for high, low in zip(total, below, strict=True)])
        below = total
    used = [index for index, row in enumerate(rows) if max(row) > 1e-9]
    first, last = (max(0, used[0] - 1), min(len(rows) - 1, used[-1] + 1)) if used else (0, len(rows) - 1)
    shown = rows[first : last + 1]
    cells = [[value if value > 1e-9 else math.nan for value in row] for row in shown]
    extent = (times[0] / 86400, times[-1] / 86400, -0.5, len(shown) - 0.5)
    peak = max(max(row) for row in shown) or 1.0
    axes.imshow(cells, aspect="auto", origin="lower", extent=extent, cmap="Oranges_r",
                norm=LogNorm(peak / 200, peak), interpolation="nearest")  # fmt: skip
    unit = panel["options"]["yAxis"]["unit"]
    names = [line.labels["le"] for line in ordered[first : last + 1]]
    every = max(1, len(names) // 8)
    axes.set_yticks(
        range(0, len(names), every),
        ["+Inf" if math.isinf(float(le)) else number(float(le), unit) for le in names[::every]],
    )
    _time_axis(axes, period)


def states(axes: Axes, panel: dict[str, Any], series: list[Series], period: Period) -> None:
    """Coloured stretches of time."""
    for row, line in enumerate(series):
        for at, value in line.points:
            axes.barh(
                row, period.step / 86400 * 1.02, left=at / 86400, height=0.75, color=colour_of(value, panel)
            )
    axes.set_yticks(range(len(series)), [line.legend for line in series], color=TEXT, fontsize=7)
    axes.set_ylim(len(series) - 0.4, -0.6)
    _time_axis(axes, period)


def table(axes: Axes, panel: dict[str, Any], series: list[Series], _: Period) -> None:
    """One line for each key, one column for each query."""
    axes.axis("off")
    organize = next(t["options"] for t in panel["transformations"] if t["id"] == "organize")
    renamed = organize["renameByName"]
    key = next(name for name in renamed if not name.startswith("Value #"))
    letters = {name.removeprefix("Value #"): title for name, title in renamed.items() if name != key}
    overrides = {
        o["matcher"]["options"]: {p["id"]: p["value"] for p in o["properties"]}
        for o in panel["fieldConfig"]["overrides"]
    }
    models = sorted({line.labels.get(key, "") for line in series})
    columns = [renamed[key], *letters.values()]
    places = [index / len(columns) for index in range(len(columns))]
    height = 1 / (max(len(models), 6) + 1)
    for place, title in zip(places, columns, strict=True):
        axes.text(
            place,
            1 - height / 2,
            title,
            color=COLORS["blue"],
            fontsize=7.5,
            va="center",
            transform=axes.transAxes,
        )
    for row, model in enumerate(models, 1):
        y = 1 - (row + 0.5) * height
        axes.axhline(1 - row * height, color="#2c2f36", linewidth=0.5)
        axes.text(0, y, model, color=TEXT, fontsize=7.5, va="center", transform=axes.transAxes)
        for place, (letter, title) in zip(places[1:], letters.items(), strict=True):
            found = [line.last for line in series if line.letter == letter and line.labels.get(key) == model]
            if not found:
                continue
            properties = overrides[title]
            option = next((m["options"].get(f"{found[0]:g}") for m in properties.get("mappings", [])), None)
            text = option["text"] if option else number(found[0], properties["unit"])
            color = COLORS[option["color"]] if option else TEXT
            axes.text(place, y, text, color=color, fontsize=7.5, va="center", transform=axes.transAxes)


DRAWERS: dict[str, Callable[[Axes, dict[str, Any], list[Series], Period], None]] = {
    "timeseries": lines,
    "stat": stat,
    "bargauge": bars,
    "heatmap": density,
    "state-timeline": states,
    "table": table,
}
