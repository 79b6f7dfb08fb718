"""Cases: what a model says."""

from __future__ import annotations

from tests.mixin.cases.series import (
    MODEL,
    classes,
    confidence,
    handled,
    observed,
    processed,
    sampled_out,
    unread,
)
from tests.mixin.promtool import Case

QUIET: set[str] = set()


def predictions() -> list[Case]:
    low, shift, silent = "LowPredictionConfidence", "PredictedClassShift", "PredictionsStopped"
    day = 180
    even = [(0.1, day), (0.1, 120)]
    return [
        Case(
            low,
            "fires and resolves",
            confidence([(5, 0.95, 10), (5, 0.5, 10), (5, 0.95, 10)]),
            {9: QUIET, 19: {low}, 29: QUIET},
        ),
        Case(low, "does not fire", confidence([(5, 0.8, 30)]), {10: QUIET, 29: QUIET}),
        Case(
            low,
            "survives a counter reset",
            confidence([(5, 0.8, 30)], restart_at=15),
            {15: QUIET, 16: QUIET, 20: QUIET},
        ),
        Case(low, "idle", confidence([(0, 0, 30)]), {10: QUIET, 29: QUIET}),
        Case(
            low,
            "a canary is unsure beside the stable version",
            {
                **confidence([(50, 0.95, 30)]),
                **{
                    name.replace(MODEL, f'{MODEL}, version="2"'): values
                    for name, values in confidence([(1, 0.5, 30)]).items()
                },
            },
            {29: {low}},
        ),
        Case(low, "unsure, then idle", confidence([(5, 0.5, 10), (0, 0, 20)]), {9: {low}, 29: QUIET}),
        Case(
            shift,
            "fires and resolves",
            classes([(0.1, day), (0.19, 90), (0.1, day)], [(0.1, day), (0.01, 90), (0.1, day)]),
            {day - 5: QUIET, day + 80: {shift}, day + 180: QUIET},
            step=60,
            every=60,
        ),
        Case(
            shift,
            "does not fire",
            classes(even, even),
            {60: QUIET, day: QUIET, day + 90: QUIET},
            step=60,
            every=60,
        ),
        Case(
            shift,
            "a new class",
            classes([(0.1, day), (0.05, 120)], [(None, day), (0.05, 120)]),
            {day - 5: QUIET, day + 90: {shift}},
            step=60,
            every=60,
        ),
        Case(
            shift,
            "survives a counter reset",
            classes(even, even, restart_at=day),
            {day: QUIET, day + 30: QUIET, day + 90: QUIET},
            step=60,
            every=60,
        ),
        Case(
            shift,
            "too few predictions to tell",
            classes([(0.005, day), (0.0, 120)], [(0.0, day), (0.005, 120)]),
            {day + 90: QUIET},
            step=60,
            every=60,
        ),
        Case(shift, "idle", classes([(0, day)], [(0, day)]), {60: QUIET, day - 5: QUIET}, step=60, every=60),
        Case(
            silent,
            "fires and resolves",
            handled([(2, 60), (0, 30), (2, 30)], step=60),
            {59: QUIET, 65: QUIET, 80: {silent}, 100: QUIET},
            step=60,
        ),
        Case(
            silent,
            "fires when the series is gone",
            handled([(2, 60), (None, 60)], step=60),
            {59: QUIET, 80: {silent}},
            step=60,
        ),
        Case(silent, "does not fire", handled([(0.1, 120)], step=60), {59: QUIET, 119: QUIET}, step=60),
        Case(
            silent,
            "survives a counter reset",
            handled([(2, 120)], step=60, restart_at=60),
            {60: QUIET, 61: QUIET, 75: QUIET},
            step=60,
        ),
        Case(silent, "idle", handled([(0, 120)], step=60), {59: QUIET, 119: QUIET}, step=60),
        *(
            Case(
                silent,
                f"the payload changed, and every response is {reason}",
                {
                    **observed([(2, 180)], step=60),
                    **processed([(2, 60), (0, 60), (2, 60)], step=60),
                    **unread([(0, 60), (2, 60), (0, 60)], reason=reason, step=60),
                },
                {59: QUIET, 80: {silent}, 110: {silent}, 140: QUIET},
                step=60,
            )
            for reason in ("unreadable", "no_prediction", "body_too_large")
        ),
        Case(
            silent,
            "every prediction is left out of the tests",
            {
                **observed([(2, 120)], step=60),
                **processed([(2, 60), (0, 60)], step=60),
                **sampled_out([(0, 60), (2, 60)], step=60),
            },
            {59: QUIET, 80: QUIET, 119: QUIET},
            step=60,
        ),
        Case(
            silent,
            "silent for hours",
            handled([(2, 60), (0, 120)], step=60),
            {80: {silent}, 170: QUIET},
            step=60,
        ),
    ]
