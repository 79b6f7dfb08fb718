"""Cases: errors, latency and the upstream."""

from __future__ import annotations

from tests.mixin.cases.series import TARGET, errors, latency, observed
from tests.mixin.promtool import Case, counter, gauge

QUIET: set[str] = set()


def service() -> list[Case]:
    a, fast, slow = "ErrorResponses", "LatencyBudgetBurnsFast", "LatencyBudgetBurnsSlowly"
    failing = "ServerErrors"
    up = f"inference_exporter_upstream_up{{{TARGET}}}"
    steady = [(10, 0.4, 60)]
    return [
        Case(
            a,
            "fires and resolves",
            errors([(0, 5), (22, 5), (0, 10)], [(0, 5), (2, 5), (0, 10)]),
            {4: QUIET, 9: {a}, 14: QUIET},
        ),
        Case(a, "does not fire", errors([(16, 20)], [(2, 20)]), {5: QUIET, 15: QUIET}),
        Case(a, "a short burst", errors([(0, 5), (100, 0.25), (0, 10)], [(0, 15)]), {6: QUIET, 8: QUIET}),
        Case(
            a,
            "survives a counter reset",
            errors([(16, 20)], [(2, 20)], restart_at=10),
            {10: QUIET, 10.5: QUIET, 12: QUIET},
        ),
        Case(
            a,
            "survives a counter reset while it fires",
            errors([(30, 20)], [(0, 20)], restart_at=10),
            {9: {a}, 10: {a}, 11: {a}},
        ),
        Case(a, "idle", errors([(0, 20)], [(0, 20)]), {5: QUIET, 15: QUIET}),
        Case(
            a,
            "another service with the same metric names",
            {'http_requests_total{job="shop", handler="/", method="GET", status="5xx"}': counter([(99, 9)])},
            {8: QUIET},
        ),
        Case(
            failing,
            "fires and resolves",
            errors([(0, 30)], [(0, 5), (10, 8), (0, 17)]),
            {4: QUIET, 12: {failing}, 25: QUIET},
        ),
        Case(
            failing,
            "every one of ten requests a second fails",
            errors([(0, 30)], [(10, 30)], well=0),
            {10: {failing}, 29: {failing}},
        ),
        Case(failing, "does not fire", errors([(0, 30)], [(0.5, 30)]), {10: QUIET, 29: QUIET}),
        Case(failing, "a client sends what cannot be taken", errors([(15, 30)], [(0, 30)]), {29: QUIET}),
        Case(
            failing,
            "survives a counter reset",
            errors([(0, 30)], [(0.5, 30)], restart_at=15),
            {15: QUIET, 16: QUIET, 20: QUIET},
        ),
        Case(failing, "idle", errors([(0, 30)], [(0, 30)], well=0), {10: QUIET, 29: QUIET}),
        Case(failing, "one failed request an hour", errors([(0, 60)], [(1 / 600, 60)], well=0), {59: QUIET}),
        Case(
            fast,
            "fires and resolves",
            latency([(10, 0, 30), (10, 0.6, 16), (10, 0, 30)]),
            {29: QUIET, 45: {fast}, 54: {slow}},
        ),
        Case(fast, "does not fire", latency([(10, 0.04, 60)]), {30: QUIET, 59: QUIET}),
        Case(
            fast,
            "survives a counter reset",
            latency([(10, 0.04, 60)], restart_at=30),
            {30: QUIET, 31: QUIET, 40: QUIET},
        ),
        Case(
            fast,
            "survives a counter reset while it fires",
            latency(steady, restart_at=30),
            {10: {fast}, 29: {fast, slow}, 31: {fast, slow}},
        ),
        Case(fast, "idle", latency([(0, 0, 60)]), {30: QUIET, 59: QUIET}),
        Case(fast, "one slow request an hour", latency([(1 / 3600, 1, 60)]), {30: QUIET, 59: QUIET}),
        Case(
            slow,
            "fires and resolves",
            latency([(10, 0.08, 40), (10, 0, 60)], step=60),
            {10: QUIET, 35: {slow}, 85: QUIET},
            step=60,
        ),
        Case(slow, "does not fire", latency([(10, 0.04, 90)], step=60), {60: QUIET, 89: QUIET}, step=60),
        Case(
            slow,
            "survives a counter reset",
            latency([(10, 0.08, 90)], step=60, restart_at=50),
            {49: {slow}, 51: {slow}, 60: {slow}},
            step=60,
        ),
        Case(slow, "idle", latency([(0, 0, 90)], step=60), {60: QUIET, 89: QUIET}, step=60),
        Case(
            "UpstreamDown",
            "fires and resolves",
            {up: gauge([(1, 5), (0, 5), (1, 5)])},
            {4: QUIET, 5.5: QUIET, 8: {"UpstreamDown"}, 12: QUIET},
        ),
        Case("UpstreamDown", "does not fire", {up: gauge([(1, 15)])}, {5: QUIET, 12: QUIET}),
        Case(
            "UpstreamDown",
            "survives a counter reset",
            {up: gauge([(1, 5), (None, 2), (0, 0.5), (1, 8)])},
            {6: QUIET, 7.5: QUIET, 12: QUIET},
        ),
        Case("UpstreamDown", "idle", {up: gauge([(1, 15)]), **observed([(0, 15)])}, {12: QUIET}),
    ]
