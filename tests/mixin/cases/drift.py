"""Cases: drift, and inputs that the reference has nothing like."""

from __future__ import annotations

from tests.mixin.cases.series import atypical, drift
from tests.mixin.promtool import Case

QUIET: set[str] = set()


def drifts() -> list[Case]:
    active, rising = "DriftActive", "DriftScoreRising"
    lasts = "DriftLasts"
    calm = [(0.05, 120)]
    return [
        Case(
            active,
            "fires and resolves",
            drift([(0.1, 10), (3, 10), (0.1, 20)], [(0, 10), (1, 12), (0, 18)], [(5, 40)]),
            {9: QUIET, 15: {active}, 30: QUIET},
            step=30,
        ),
        Case(active, "does not fire", drift(calm, [(0, 120)], [(5, 120)]), {30: QUIET, 119: QUIET}, step=30),
        Case(
            active,
            "survives a counter reset",
            drift([(0.1, 40)], [(0, 40)], [(5, 40)], restart_at=20),
            {20: QUIET, 21: QUIET, 30: QUIET},
            step=30,
        ),
        Case(
            active,
            "survives a counter reset while it fires",
            drift([(3, 40)], [(1, 40)], [(5, 40)], restart_at=20),
            {19: {active}, 20: {active}, 21: {active}},
            step=30,
        ),
        Case(active, "idle", drift([(0, 120)], [(0, 120)], [(0, 120)]), {30: QUIET, 119: QUIET}, step=30),
        Case(
            active,
            "drift, then idle",
            drift([(3, 120)], [(1, 120)], [(5, 20), (0, 100)]),
            {10: {active}, 30: {active}, 90: QUIET},
            step=30,
        ),
        Case(
            rising,
            "fires and resolves",
            drift(
                [(0.05, 60), *((0.05 + 0.03 * i, 1) for i in range(32)), (0.05, 30)],
                [(0, 120)],
                [(5, 120)],
            ),
            {59: QUIET, 91: {rising}, 110: QUIET},
            step=30,
        ),
        Case(
            rising,
            "does not fire",
            drift([(0.45, 120)], [(0, 120)], [(5, 120)]),
            {60: QUIET, 119: QUIET},
            step=30,
        ),
        Case(
            rising,
            "a short excursion",
            drift([(0.05, 60), (0.9, 4), (0.05, 56)], [(0, 120)], [(5, 120)]),
            {62: QUIET, 66: QUIET, 75: QUIET},
            step=30,
        ),
        Case(
            rising,
            "drift itself is another alert",
            drift([(0.05, 30), (4, 30), (0.05, 60)], [(0, 30), (1, 31), (0, 59)], [(5, 120)]),
            {50: {active, lasts}, 65: QUIET, 80: QUIET},
            step=30,
            every=30,
        ),
        Case(
            rising,
            "survives a counter reset",
            drift(calm, [(0, 120)], [(5, 120)], restart_at=60),
            {60: QUIET, 61: QUIET, 75: QUIET},
            step=30,
        ),
        Case(
            rising,
            "idle",
            drift([(0.05, 60), (0.8, 60)], [(0, 120)], [(5, 61), (0, 59)]),
            {75: QUIET, 119: QUIET},
            step=30,
        ),
        Case(
            lasts,
            "fires and resolves",
            drift([(0.1, 10), (1.5, 80), (0.1, 30)], [(0, 10), (1, 80), (0, 30)], [(5, 120)]),
            {9: QUIET, 50: {active}, 80: {active, lasts}, 100: QUIET},
            step=30,
            every=30,
        ),
        Case(
            lasts,
            "a large drift pages sooner",
            drift([(0.1, 10), (4, 30)], [(0, 10), (1, 30)], [(5, 40)]),
            {9: QUIET, 15: {active}, 30: {active, lasts}},
            step=30,
            every=30,
        ),
        Case(
            lasts,
            "does not fire",
            drift([(1.5, 40), (0.1, 80)], [(1, 40), (0, 80)], [(5, 120)]),
            {30: {active}, 39: {active}, 80: QUIET},
            step=30,
            every=30,
        ),
        Case(
            lasts,
            "a chance exceedance, however large",
            drift([(0.1, 10), (9, 5), (0.1, 60)], [(0, 10), (1, 8), (0, 57)], [(5, 75)]),
            {14: {active}, 17: {active}, 30: QUIET},
            step=30,
            every=30,
        ),
        Case(
            lasts,
            "survives a counter reset",
            drift([(1.5, 120)], [(1, 120)], [(5, 120)], restart_at=90),
            {89: {active, lasts}, 91: {active, lasts}, 100: {active, lasts}},
            step=30,
            every=30,
        ),
        Case(
            lasts,
            "idle",
            drift([(1.5, 180)], [(1, 180)], [(5, 20), (0, 160)]),
            {30: {active}, 90: QUIET, 170: QUIET},
            step=30,
            every=30,
        ),
    ]


def rare() -> list[Case]:
    rare = "AtypicalInputs"
    usual = 5 / 1001  # of a reference of 1,000 rows
    return [
        Case(
            rare,
            "fires and resolves",
            atypical([(usual, 60), (0.03, 60), (usual, 120)]),
            {59: QUIET, 118: {rare}, 235: QUIET},
            step=60,
        ),
        Case(
            rare, "does not fire", atypical([(usual, 60), (2 * usual, 60)]), {59: QUIET, 119: QUIET}, step=60
        ),
        Case(
            rare,
            "a reference that is unlucky by what one in a hundred is",
            atypical([(2.3 * usual, 120)]),
            {60: QUIET, 119: QUIET},
            step=60,
        ),
        Case(rare, "a few, of hardly any", atypical([(0.05, 120)], tests=0.05), {119: QUIET}, step=60),
        Case(
            rare,
            "survives a counter reset",
            atypical([(2 * usual, 120)], restart_at=60),
            {60: QUIET, 61: QUIET, 119: QUIET},
            step=60,
        ),
        Case(rare, "idle", atypical([(0, 120)], tests=0), {119: QUIET}, step=60),
    ]
