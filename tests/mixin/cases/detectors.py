"""Cases: the detectors themselves."""

from __future__ import annotations

from collections.abc import Iterator

from tests.mixin.cases.series import DETECTOR, drift, handled, observed, since, state, trusted
from tests.mixin.promtool import Case, Phases, gauge

QUIET: set[str] = set()


def detectors() -> list[Case]:
    failed, calibrating = "DetectorFailed", "DetectorCalibratingTooLong"
    waits, doubtful, old = "DetectorNotReady", "DriftCalibrationDoubtful", "ReferenceOld"
    return [
        Case(
            failed,
            "fires and resolves",
            state("failed", [(0, 5), (1, 5), (0, 5)]),
            {4: QUIET, 5.5: QUIET, 8: {failed}, 12: QUIET},
        ),
        Case(failed, "does not fire", state("failed", [(0, 15)]), {12: QUIET}),
        Case(
            failed,
            "survives a counter reset",
            state("failed", [(0, 5), (None, 1), (0, 9)]),
            {5.5: QUIET, 12: QUIET},
        ),
        Case(failed, "idle", {**state("failed", [(0, 15)]), **observed([(0, 15)])}, {12: QUIET}),
        Case(
            calibrating,
            "fires and resolves",
            state("calibrating", [(0, 5), (1, 25), (0, 10)]),
            {4: QUIET, 15: QUIET, 25: {calibrating}, 35: QUIET},
        ),
        Case(calibrating, "does not fire", state("calibrating", [(1, 10), (0, 30)]), {9: QUIET, 30: QUIET}),
        Case(
            calibrating,
            "survives a counter reset",
            state("calibrating", [(1, 10), (0, 5), (1, 10), (0, 15)]),
            {9: QUIET, 24: QUIET, 39: QUIET},
        ),
        Case(calibrating, "idle", state("calibrating", [(0, 40)]), {30: QUIET}),
        *_of_days(
            waits,
            ("fires and resolves", {"learning": [(1, 27), (0, 5)], "ready": [(0, 27), (1, 5)]}, 2),
            ("does not fire", {"learning": [(1, 20), (0, 12)], "ready": [(0, 20), (1, 12)]}, 2),
            ("a provisional reference is one", {"ready": [(0, 32)], "provisional": [(1, 32)]}, 2),
            ("failed is another alert", {"failed": [(1, 32)], "ready": [(0, 32)]}, 2),
            ("survives a counter reset", {"learning": [(1, 32)], "ready": [(0, 32)]}, 2),
            ("idle", {"learning": [(1, 32)], "ready": [(0, 32)]}, 0),
        ),
        Case(
            doubtful,
            "fires and resolves",
            {**trusted([(1, 10), (0, 30), (1, 20)]), **state("ready", [(1, 60)])},
            {9: QUIET, 20: QUIET, 35: {doubtful}, 50: QUIET},
        ),
        Case(doubtful, "does not fire", {**trusted([(1, 60)]), **state("ready", [(1, 60)])}, {50: QUIET}),
        Case(
            doubtful,
            "drift is another alert",
            {
                **trusted([(1, 10), (0, 50)], step=30),
                **state("ready", [(1, 60)]),
                **drift([(0.1, 10), (2, 40), (0.1, 10)], [(0, 10), (1, 48), (0, 2)], [(5, 60)]),
            },
            {9: QUIET, 35: {"DriftActive"}, 55: {"DriftActive"}},
            step=30,
        ),
        Case(
            doubtful,
            "nothing was calibrated yet",
            {**trusted([(0, 60)]), **state("ready", [(0, 60)])},
            {50: QUIET},
        ),
        Case(
            doubtful,
            "survives a counter reset",
            {**trusted([(0, 60)], restart_at=30), **state("ready", [(1, 60)])},
            {29: {doubtful}, 31: {doubtful}, 40: {doubtful}},
        ),
        _aged(old, "fires and resolves", [(1, 180), (180 * 60, 20)], {100: QUIET, 140: {old}, 190: QUIET}),
        _aged(old, "does not fire", [(1, 50), (50 * 60, 50), (100 * 60, 100)], {90: QUIET, 140: QUIET}),
        _aged(old, "the time is not known", [(0, 200)], {140: QUIET}),
        _aged(
            old,
            "survives a counter reset",
            [(1, 200)],
            {129: {old}, 131: {old}, 140: {old}},
            restart_at=130,
        ),
        _aged(old, "idle", [(1, 200)], {140: QUIET}, tests=0),
        Case(
            doubtful,
            "idle",
            {**trusted([(0, 60)], tests=0), **state("ready", [(1, 60)])},
            {50: QUIET},
        ),
    ]


def _of_days(alert: str, *situations: tuple[str, dict[str, Phases], float]) -> Iterator[Case]:
    """Cases in hours: the states of a detector, and predictions a second."""
    fires: dict[str, dict[float, set[str]]] = {
        "fires and resolves": {23: QUIET, 26: {alert}, 31: QUIET},
        "survives a counter reset": {23: QUIET, 26: {alert}, 31: {alert}},
        "failed is another alert": {23: {"DetectorFailed"}, 31: {"DetectorFailed"}},
    }
    for situation, states, rate in situations:
        series = handled([(rate, 32 * 60)], step=300, restart_at=25 * 60 if "reset" in situation else None)
        for name, phases in states.items():
            in_minutes = [(value, 60 * hours) for value, hours in phases]
            series[f'drift_detector_state{{{DETECTOR}, state="{name}"}}'] = gauge(in_minutes, step=300)
        expected = fires.get(situation, {23: QUIET, 26: QUIET, 31: QUIET})
        expected = {60 * hour: firing for hour, firing in expected.items()}
        yield Case(alert, situation, series, expected, step=300)


def _aged(
    alert: str,
    situation: str,
    complete: Phases,
    expect: dict[float, set[str]],
    *,
    tests: float = 5,
    restart_at: float | None = None,
) -> Case:
    """A reference that was complete at a time, in seconds since the beginning."""
    tested = trusted([(1, 200)], tests=tests, restart_at=restart_at, step=60)
    return Case(alert, situation, {**since(complete), **tested}, expect, step=60)
