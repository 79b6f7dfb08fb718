"""The few kinds of panel that the dashboards are made of, on Grafana's own types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, heatmap, prometheus, stat, statetimeline, table
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import timeseries as series_builders
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from exporter.mixin.alert import threshold_steps
from exporter.mixin.alerts import alerts
from exporter.mixin.terms import Terms

TERMS = Terms.of(None)
ALERTS = alerts(TERMS)
SOURCE = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "inference-exporter"
Query = tuple[str, str]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Board:
    """One dashboard: panels get their ids, places, thresholds and runbook links as they are added.

    ``since`` is where the range begins on which it opens: by default so long ago that a step can be told
    from a ramp.
    """

    def __init__(self, uid: str, title: str, description: str, *, since: str = "now-6h") -> None:
        self.uid = uid
        self._next_id = 1
        self._runbooks = {alert.panel: alert for alert in ALERTS}
        self._builder = (
            builders.Dashboard(title)
            .uid(uid)
            .description(description)
            .tags([TAG])
            .timezone("browser")
            .refresh("30s")
            .time(since, "now")
            .tooltip(models.DashboardCursorSync.CROSSHAIR)
            .editable()
            .link(
                builders.DashboardLink("Dashboards")
                .type(models.DashboardLinkType.DASHBOARDS)
                .tags([TAG])
                .as_dropdown(True)
                .include_vars(True)
                .keep_time(True)
            )
            .link(
                builders.DashboardLink("Runbooks")
                .type(models.DashboardLinkType.LINK)
                .url(TERMS.runbook("README"))
                .icon("doc")
                .target_blank(True)
            )
            .with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        )

    def variable(self, name: str, label: str, query: str, *, every: bool = True) -> Board:
        """Add a variable filled from label values; ``every`` allows several, and all of them."""
        variable = (
            builders.QueryVariable(name)
            .label(label)
            .datasource(SOURCE)
            .query(query)
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
        )
        if every:
            variable = variable.include_all(True).multi(True).all_value(".*")
            variable = variable.current(models.VariableOption(selected=True, text="All", value="$__all"))
        self._builder.with_variable(variable)
        return self

    def annotation(self, name: str, expr: str, color: str) -> Board:
        """Mark the times at which ``expr`` gives a value."""
        self._builder.annotation(
            builders.AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(color).expr(expr)
        )
        return self

    def row(self, title: str) -> Board:
        """Start a new row."""
        self._builder.with_row(builders.Row(title).id(self._take_id()))
        return self

    def add(self, panel: Any, title: str, description: str, *, w: int, h: int = 8) -> Board:
        """Place a panel after the last one; a new line starts where 24 columns are full."""
        panel = panel.title(title).description(description).id(self._take_id()).span(w).height(h)
        panel = panel.datasource(SOURCE)
        alert = self._runbooks.get((self.uid, title))
        if alert is not None:
            panel = panel.links(
                [
                    builders.DashboardLink(f"Runbook: {alert.title}")
                    .type(models.DashboardLinkType.LINK)
                    .url(TERMS.runbook(alert.page))
                    .target_blank(True)
                ]
            )
        built = panel.build()
        fields = built.field_config
        if alert is not None or fields is None or fields.defaults.thresholds is None:
            panel = panel.thresholds(_thresholds(threshold_steps(ALERTS, (self.uid, title))))
        self._builder.with_panel(panel)
        return self

    def build(self) -> models.Dashboard:
        """Give the finished dashboard."""
        return self._builder.build()

    def _take_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1


def lines(
    queries: Sequence[Query],
    unit: str,
    *,
    low: float | None = None,
    high: float | None = None,
    stack: bool = False,
    limits: bool = False,
    decimals: float | None = None,
) -> Any:
    """Draw series over time; ``limits`` draws the thresholds as dashed lines."""
    panel = (
        series_builders.Panel()
        .targets([target(expr, legend, LETTERS[i]) for i, (expr, legend) in enumerate(queries)])
        .unit(unit)
        .line_width(1)
        .fill_opacity(60 if stack else 8)
        .show_points(common_models.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_models.LegendDisplayMode.LIST)
            .placement(common_models.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull"])
        )
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    )
    if low is not None:
        panel = panel.min(low)
    if high is not None:
        panel = panel.max(high)
    if decimals is not None:
        panel = panel.decimals(decimals)
    if stack:
        panel = panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if limits:
        style = common_models.GraphThresholdsStyleMode.DASHED
        panel = panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(style))
    return panel


def number(
    query: Query,
    unit: str,
    *,
    steps: Sequence[tuple[str, float | None]] = (("blue", None),),
    names: dict[str, tuple[str, str]] | None = None,
    decimals: float | None = None,
    spark: bool = True,
) -> Any:
    """Show the last value, large; ``names`` maps values to (text, colour)."""
    mode = common_models.BigValueGraphMode
    panel = (
        stat.Panel()
        .targets([target(*query, "A")])
        .unit(unit)
        .graph_mode(mode.AREA if spark and not names else mode.NONE)
        .color_mode(common_models.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
    )
    if decimals is not None:
        panel = panel.decimals(decimals)
    return panel.mappings(_mappings(names)) if names else panel


def bars(queries: Sequence[Query], unit: str) -> Any:
    """Show one horizontal bar a series, for the time range selected."""
    return (
        bargauge.Panel()
        .targets([target(expr, legend, LETTERS[i], now=True) for i, (expr, legend) in enumerate(queries)])
        .unit(unit)
        .min(0)
        .decimals(0)
        .orientation(common_models.VizOrientation.HORIZONTAL)
        .display_mode(common_models.BarGaugeDisplayMode.GRADIENT)
        .show_unfilled(True)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def density(expr: str, unit: str) -> Any:
    """Draw a histogram over time; in this format Grafana takes cumulative buckets apart."""
    query = target(expr, "{{le}}", "A").format(prometheus_models.PromQueryFormat.HEATMAP)
    return (
        heatmap.Panel()
        .targets([query])
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_models.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .exponent(0.5)
            .steps(64)
        )
        .cell_gap(1)
    )


def states(queries: Sequence[Query], names: dict[str, tuple[str, str]]) -> Any:
    """Draw which state held when; ``names`` maps values to (text, colour)."""
    return (
        statetimeline.Panel()
        .targets([target(expr, legend, LETTERS[i]) for i, (expr, legend) in enumerate(queries)])
        .unit("none")
        .mappings(_mappings(names))
        .show_value(common_models.VisibilityMode.NEVER)
        .row_height(0.8)
        .merge_values(True)
    )


def rows(
    queries: Sequence[Query],
    columns: dict[str, tuple[str, str]],
    *,
    key: str,
    link: str,
    names: dict[str, dict[str, tuple[str, str]]],
) -> Any:
    """Show a table with one line for each ``key``: ``columns`` maps a query's letter to (title, unit)."""
    panel = table.Panel().targets(
        [
            target(expr, legend, LETTERS[i], now=True).format(prometheus_models.PromQueryFormat.TABLE)
            for i, (expr, legend) in enumerate(queries)
        ]
    )
    panel = panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    renamed = {f"Value #{letter}": title for letter, (title, _) in columns.items()}
    organize = {"excludeByName": {"Time": True}, "renameByName": {**renamed, key: key.capitalize()}}
    panel = panel.with_transformation(models.DataTransformerConfig(id_val="organize", options=organize))
    for letter, (title, unit) in columns.items():
        properties = [models.DynamicConfigValue(id_val="unit", value=unit)]
        if letter in names:
            properties.append(models.DynamicConfigValue(id_val="mappings", value=_mappings(names[letter])))
            properties.append(
                models.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"})
            )
        panel = panel.override_by_name(title, properties)
    data_link = [{"title": "By model", "url": link}]
    return panel.override_by_name(
        key.capitalize(), [models.DynamicConfigValue(id_val="links", value=data_link)]
    )


def target(expr: str, legend: str, letter: str, *, now: bool = False) -> prometheus.Dataquery:
    """Ask Prometheus: over the time range, or with ``now`` once at its end."""
    query = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(letter).datasource(SOURCE)
    query = query.editor_mode(prometheus_models.QueryEditorMode.CODE)
    return query.instant() if now else query.range()


def _thresholds(steps: Sequence[tuple[str, float | None]]) -> builders.ThresholdsConfig:
    return (
        builders.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(color=color, value=value) for color, value in steps])
    )


def _mappings(names: dict[str, tuple[str, str]]) -> list[models.ValueMapping]:
    options = {
        value: models.ValueMappingResult(text=text, color=color, index=index)
        for index, (value, (text, color)) in enumerate(names.items())
    }
    return [models.ValueMap(options=options)]
