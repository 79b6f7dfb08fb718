"""The words rules are written in: selectors and windows for one configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from exporter.config import AlertsConfig, Config
from exporter.errors import ConfigError
from exporter.metrics.contract import HTTP_DURATION_BUCKETS

RUNBOOKS = "https://github.com/inference-exporter/inference-exporter/blob/main/docs/runbooks"
# An exchange given up for one of these was looked at: the worker is alive.
_UNREAD_REASONS = ("unreadable", "no_prediction", "body_too_large")
_ALL_HANDLERS = 'handler!="/metrics"'
_BUILD_INFO = "inference_exporter_build_info"
SEEN = "job:inference_exporter_build_info:max"
"""Recorded, so that a job that is gone is known for a day without reading a day of its series."""
EVALUATION_SECONDS = 30.0
"""How often every group of rules is evaluated; sums over what is recorded count on it."""
MODEL = "job, model, version"
"""What tells one model from another; without ``version`` a canary is judged with what it stands beside."""
DETECTOR = f"{MODEL}, detector"
NAMED = "{{ $labels.model }}{{ with $labels.version }} (version {{ . }}){{ end }}"
"""A model in an alert's words."""


def duration(seconds: float) -> str:
    """Write ``seconds`` as a PromQL duration: ``5m``, ``1h``, ``90s``, ``1500ms``."""
    milliseconds = round(seconds * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds >= size and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{max(1, milliseconds)}ms"


def number(value: float) -> str:
    """Write a number without a needless ``.0``."""
    return str(int(value)) if float(value).is_integer() else f"{value:.6g}"


def quoted(value: str) -> str:
    """Write a label value as a PromQL string."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def bucket_matcher(bound: float) -> str:
    """Match a histogram's bucket however its bound is written: ``1`` and ``1.0`` are the same."""
    text = number(bound)
    return f'le=~"{text}([.]0)?"' if float(bound).is_integer() else f'le="{text}"'


@dataclass(frozen=True, slots=True)
class Terms:
    """What the rules of one configuration have in common.

    Attributes
    ----------
    alerts
        Thresholds.
    model
        Only this model's series, or every model's if None.
    handlers
        A matcher for the handlers whose latency counts.
    time_scale
        Every window and pending period is multiplied by it, so that rules of hours can be tried in
        minutes. 1 for production.
    min_window_seconds
        No window gets shorter than this; a rate needs two scrapes or more.
    """

    alerts: AlertsConfig
    model: str | None = None
    handlers: str = _ALL_HANDLERS
    time_scale: float = 1.0
    min_window_seconds: float = 0.0

    @classmethod
    def of(cls, config: Config | None, *, time_scale: float = 1.0, min_window_seconds: float = 0.0) -> Terms:
        """Take the terms from a configuration; None gives rules for every model with the defaults.

        Raises
        ------
        ConfigError
            If ``alerts.latency_sla`` is not a bound of the duration histogram.
        """
        settings = config or Config()
        sla = settings.alerts.latency_sla
        if sla not in HTTP_DURATION_BUCKETS:
            bounds = ", ".join(number(bound) for bound in HTTP_DURATION_BUCKETS)
            raise ConfigError(
                f"alerts.latency_sla: {number(sla)} s is not a bucket of http_request_duration_seconds; "
                f"requests within it cannot be counted. Give one of {bounds} (seconds)"
            )
        if not time_scale > 0:
            raise ConfigError(f"time scale: received {time_scale}; it must be above 0 (1 for production)")
        terms = cls(settings.alerts, time_scale=time_scale, min_window_seconds=min_window_seconds)
        if config is None:
            return terms
        return replace(terms, model=config.only, handlers=_handlers(config.capture.paths))

    def seconds(self, seconds: float) -> float:
        """Scale a period."""
        return seconds * self.time_scale

    def window(self, seconds: float) -> str:
        """Scale a range selector's window, and write it."""
        return duration(self.window_seconds(seconds))

    def window_seconds(self, seconds: float) -> float:
        """Scale a range selector's window."""
        return max(self.seconds(seconds), self.min_window_seconds)

    def interval_seconds(self) -> float:
        """Seconds between two evaluations, scaled."""
        return self.seconds(EVALUATION_SECONDS)

    def total(self, recorded: str, seconds: float) -> str:
        """Integrate a recorded metric over the last ``seconds`` (not scaled yet).

        A sum and not an average: what began within the window was 0 before, and has no series to say so.
        """
        return f"{number(self.interval_seconds())} * sum_over_time({recorded}[{self.window(seconds)}])"

    def of_model(self, metric: str, *matchers: str) -> str:
        """Select a metric that has a ``model`` label."""
        own = (f"model={quoted(self.model)}",) if self.model is not None else ()
        return _select(metric, (*own, *self._job(), *matchers))

    def of_exporter(self, metric: str, *matchers: str) -> str:
        """Select a metric that only the exporter has, whatever the model."""
        return _select(metric, (*self._job(), *matchers))

    def http_rate(self, metric: str, window: str, *matchers: str) -> str:
        """Take the rate of an HTTP metric of our targets.

        The names are shared with other services. Without ``alerts.job`` the jobs that show our
        build information are the ones meant.
        """
        rate = f"rate({_select(metric, (*self._job(), *matchers))}[{window}])"
        return rate if self.alerts.job is not None else f"({rate} and on (job) {_BUILD_INFO})"

    def recorded(self, function: str, window: str) -> str:
        """Sum over the predictions that were read and recorded, tested for drift or not.

        What was observed is no measure of them: an exchange counts as observed before anybody has read
        it. ``label_replace`` keeps the two metrics apart, which have the same labels.
        """
        tested, untested = (
            f"{function}({self.of_model(f'inference_exporter_{name}_total')}{window})"
            for name in ("processed", "sampled_out")
        )
        return f'sum by ({MODEL}) (label_replace({tested}, "tested", "yes", "", "") or {untested})'

    def standing(self) -> str:
        """Select the observations a second of models whose worker brings none of them to an end."""
        window = self.window(600)
        observed = self.of_model("inference_exporter_observations_total")
        unread = self.of_model("inference_exporter_dropped_total", f'reason=~"{"|".join(_UNREAD_REASONS)}"')
        return (
            f"sum by ({MODEL}) (rate({observed}[{window}])) > 0 "
            f"unless on ({MODEL}) ({self.recorded('rate', f'[{window}]')} > 0) "
            f"unless on ({MODEL}) (sum by ({MODEL}) (rate({unread}[{window}])) > 0)"
        )

    def up(self) -> str:
        """Select ``up`` of our targets, and of those that were ours within the last day."""
        if self.alerts.job is not None:
            return _select("up", self._job())
        return f"(up and on (job) last_over_time({SEEN}[{self.window(86_400)}]))"

    def runbook(self, page: str) -> str:
        """Say where the page for an alert is."""
        return f"{(self.alerts.runbook_url or RUNBOOKS).rstrip('/')}/{page}.md"

    def _job(self) -> tuple[str, ...]:
        return (f"job=~{quoted(self.alerts.job)}",) if self.alerts.job is not None else ()


def _select(metric: str, matchers: tuple[str, ...]) -> str:
    return f"{metric}{{{', '.join(matchers)}}}" if matchers else metric


def _handlers(paths: tuple[str, ...]) -> str:
    """Match the handlers of the captured paths; a pattern of the user's own cannot be translated."""
    if any(path.startswith("regex:") for path in paths):
        return _ALL_HANDLERS
    patterns = []
    for path in paths:
        stem, ending = (path[:-1], ".*") if path.endswith("/*") else (path, "")
        patterns.append(re.escape(stem).replace("\\-", "-") + ending)
    return f"handler=~{quoted('|'.join(patterns))}"
