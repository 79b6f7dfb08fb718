"""Cases: the exporter itself."""

from __future__ import annotations

from tests.mixin.cases.series import (
    INFO,
    TARGET,
    dropped,
    failures,
    handled,
    invalid,
    observed,
    processed,
    sampled_out,
    unread,
)
from tests.mixin.promtool import Case, gauge

QUIET: set[str] = set()


def exporter() -> list[Case]:
    down, stale, full = "ExporterDown", "ExporterStale", "QueueDropping"
    up = f"up{{{TARGET}}}"
    info = f'inference_exporter_build_info{{{TARGET}, version="0.1.0"}}'
    other = 'up{job="shop", instance="b:80"}'
    return [
        Case(
            down,
            "fires and resolves",
            {up: gauge([(1, 5), (0, 5), (1, 5)]), info: gauge([(1, 5), (None, 5), (1, 5)])},
            {4: QUIET, 6: QUIET, 9: {down}, 12: QUIET},
        ),
        Case(down, "does not fire", {up: gauge([(1, 15)]), other: gauge([(0, 15)]), **INFO}, {12: QUIET}),
        Case(
            down,
            "survives a counter reset",
            {up: gauge([(1, 5), (0, 1), (1, 9)]), **INFO},
            {5.5: QUIET, 7: QUIET, 12: QUIET},
        ),
        Case(down, "idle", {up: gauge([(1, 15)]), **INFO, **observed([(0, 15)])}, {12: QUIET}),
        Case(
            stale,
            "fires and resolves",
            {**observed([(2, 60)]), **processed([(2, 10), (0, 30), (2, 20)])},
            {9: QUIET, 18: QUIET, 30: {stale}, 50: QUIET},
        ),
        Case(
            stale,
            "does not fire",
            {**observed([(2, 60)]), **processed([(0.1, 60)])},
            {30: QUIET, 59: QUIET},
        ),
        Case(
            stale,
            "survives a counter reset",
            handled([(2, 60)], restart_at=30),
            {30: QUIET, 31: QUIET, 40: QUIET},
        ),
        Case(
            stale,
            "every prediction is left out of the tests",
            {**observed([(2, 60)]), **processed([(0, 60)]), **sampled_out([(2, 60)])},
            {30: QUIET, 59: QUIET},
        ),
        Case(
            stale,
            "the worker stands still, and the queue is full",
            {**observed([(2, 60)]), **processed([(2, 10), (0, 50)]), **unread([(0, 60)])},
            {9: QUIET, 30: {stale}},
        ),
        Case(stale, "idle", {**processed([(0, 60)]), **observed([(0, 60)])}, {59: QUIET}),
        Case(full, "fires and resolves", dropped(0.2), {4: QUIET, 15: {full}, 35: QUIET}),
        Case(full, "does not fire", dropped(0.005), {15: QUIET, 35: QUIET}),
        Case(
            full, "survives a counter reset", dropped(0.005, restart_at=10), {10: QUIET, 11: QUIET, 15: QUIET}
        ),
        Case(full, "idle", dropped(0.0, rate=0), {15: QUIET, 35: QUIET}),
    ]


def refusals() -> list[Case]:
    refused, kept, reload = "EmbeddingsRefused", "StateNotKept", "ConfigReloadFailed"
    reloaded = f"inference_exporter_config_reload_success{{{TARGET}}}"
    return [
        Case(
            refused,
            "fires and resolves",
            {**handled([(10, 70)]), **invalid([(0, 5), (3, 30), (0, 35)])},
            {4: QUIET, 15: QUIET, 30: {refused}, 60: QUIET},
        ),
        Case(refused, "does not fire", {**handled([(10, 40)]), **invalid([(0.5, 40)])}, {39: QUIET}),
        Case(
            refused,
            "another field",
            {**handled([(10, 40)]), **invalid([(5, 40)], field="confidence")},
            {39: QUIET},
        ),
        Case(
            refused,
            "survives a counter reset",
            {**handled([(10, 60)], restart_at=30), **invalid([(0.5, 60)], restart_at=30)},
            {30: QUIET, 31: QUIET, 50: QUIET},
        ),
        Case(refused, "idle", {**handled([(0, 40)]), **invalid([(0, 40)])}, {39: QUIET}),
        Case(
            kept,
            "fires and resolves",
            failures([(0, 10), (1 / 60, 20), (0, 90)]),
            {9: QUIET, 30: {kept}, 110: QUIET},
        ),
        Case(kept, "does not fire", failures([(0, 10), (1 / 60, 1), (0, 60)]), {20: QUIET, 60: QUIET}),
        Case(
            kept,
            "survives a counter reset",
            failures([(0, 10), (1 / 60, 1), (0, 60)], restart_at=40),
            {39: QUIET, 41: QUIET, 60: QUIET},
        ),
        Case(kept, "idle", failures([(0, 60)]), {59: QUIET}),
        Case(
            reload,
            "fires and resolves",
            {reloaded: gauge([(1, 5), (0, 10), (1, 5)])},
            {4: QUIET, 8: QUIET, 14: {reload}, 18: QUIET},
        ),
        Case(reload, "does not fire", {reloaded: gauge([(1, 20)])}, {19: QUIET}),
        Case(
            reload,
            "survives a counter reset",
            {reloaded: gauge([(1, 5), (None, 1), (1, 10)])},
            {5.5: QUIET, 15: QUIET},
        ),
        Case(reload, "idle", {reloaded: gauge([(1, 20)]), **observed([(0, 20)])}, {19: QUIET}),
    ]
