"""For every alert: it fires, does not fire, resolves, survives a counter reset, and is quiet when idle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.mixin.promtool import Case, Phases, counter, gauge

TARGET = 'job="digits", instance="a:10911"'
MODEL = TARGET + ', model="digits"'
DETECTOR = MODEL + ', detector="mmd"'
INFO = {f'inference_exporter_build_info{{{TARGET}, version="0.1.0"}}': "1x1600"}
QUIET: set[str] = set()
SITUATIONS = {"fires and resolves", "does not fire", "survives a counter reset", "idle"}


def errors(
    client: Phases, server: Phases, *, well: float = 30, restart_at: float | None = None
) -> dict[str, str]:
    """Responses a second by their status; ``well`` of them without an error, for half an hour."""

    def name(status: str) -> str:
        return f'http_requests_total{{{TARGET}, handler="/predict", method="POST", status="{status}"}}'

    return {
        **INFO,
        name("4xx"): counter(client, restart_at=restart_at),
        name("5xx"): counter(server, restart_at=restart_at),
        name("2xx"): counter([(well, 30)], restart_at=restart_at),
    }


def latency(
    phases: Sequence[tuple[float, float, float]], *, restart_at: float | None = None, step: int = 15
) -> dict[str, str]:
    """Each phase: requests a second, share of slow ones, minutes."""
    prefix = f'http_request_duration_seconds_{{}}{{{TARGET}, handler="/predict", method="POST"{{}}}}'
    prefix = prefix.replace("{" + TARGET, "{{" + TARGET).replace('"POST"{}}', '"POST"{}}}')
    every = [(rate, minutes) for rate, _, minutes in phases]
    fast = [(rate * (1 - slow), minutes) for rate, slow, minutes in phases]
    return {
        **INFO,
        prefix.format("bucket", ', le="0.5"'): counter(fast, restart_at=restart_at, step=step),
        prefix.format("count", ""): counter(every, restart_at=restart_at, step=step),
    }


def confidence(
    phases: list[tuple[float, float, float]], *, restart_at: float | None = None
) -> dict[str, str]:
    """Each phase: predictions a second, their mean confidence, minutes."""
    return {
        f"prediction_confidence_sum{{{MODEL}}}": counter(
            [(rate * mean, minutes) for rate, mean, minutes in phases], restart_at=restart_at
        ),
        f"prediction_confidence_count{{{MODEL}}}": counter(
            [(rate, minutes) for rate, _, minutes in phases], restart_at=restart_at
        ),
    }


def classes(*shares: Phases, restart_at: float | None = None) -> dict[str, str]:
    return {
        f'predicted_class_total{{{MODEL}, class_name="{index}"}}': counter(
            phases, restart_at=restart_at, step=60
        )
        for index, phases in enumerate(shares)
    }


def observed(phases: Phases, *, restart_at: float | None = None, step: int = 15) -> dict[str, str]:
    name = f'inference_exporter_observations_total{{{MODEL}, source="sidecar"}}'
    return {name: counter(phases, restart_at=restart_at, step=step)}


def processed(phases: Phases, *, restart_at: float | None = None, step: int = 15) -> dict[str, str]:
    name = f"inference_exporter_processed_total{{{MODEL}}}"
    return {name: counter(phases, restart_at=restart_at, step=step)}


def sampled_out(phases: Phases, *, step: int = 15) -> dict[str, str]:
    return {f"inference_exporter_sampled_out_total{{{MODEL}}}": counter(phases, step=step)}


def unread(phases: Phases, *, reason: str = "unreadable", step: int = 15) -> dict[str, str]:
    name = f'inference_exporter_dropped_total{{{MODEL}, reason="{reason}"}}'
    return {name: counter(phases, step=step)}


def handled(phases: Phases, *, restart_at: float | None = None, step: int = 15) -> dict[str, str]:
    both = observed(phases, restart_at=restart_at, step=step)
    return {**both, **processed(phases, restart_at=restart_at, step=step)}


def drift(ratio: Phases, active: Phases, tests: Phases, *, restart_at: float | None = None) -> dict[str, str]:
    return {
        f"drift_score_ratio{{{DETECTOR}}}": gauge(ratio, step=30),
        f"drift_active{{{DETECTOR}}}": gauge(active, step=30),
        f"drift_test_stat_count{{{DETECTOR}}}": counter(tests, restart_at=restart_at, step=30),
    }


def state(name: str, phases: Phases) -> dict[str, str]:
    return {f'drift_detector_state{{{DETECTOR}, state="{name}"}}': gauge(phases)}


def trusted(phases: Phases, *, tests: float = 5, restart_at: float | None = None) -> dict[str, str]:
    """A calibration that is good (1) or not (0), and tests a second for an hour."""
    return {
        f"drift_calibration_ok{{{DETECTOR}}}": gauge(phases),
        f"drift_test_stat_count{{{DETECTOR}}}": counter([(tests, 60)], restart_at=restart_at),
    }


def dropped(share: float, *, restart_at: float | None = None, rate: float = 10) -> dict[str, str]:
    name = f'inference_exporter_dropped_total{{{MODEL}, reason="queue_full"}}'
    return {
        **handled([(rate, 40)], restart_at=restart_at),
        name: counter([(0, 5), (rate * share, 15), (0, 20)], restart_at=restart_at),
    }


def _service() -> list[Case]:
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


def _predictions() -> list[Case]:
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


def _drift() -> list[Case]:
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


def _detectors() -> list[Case]:
    failed, calibrating = "DetectorFailed", "DetectorCalibratingTooLong"
    waits, doubtful = "DetectorNotReady", "DriftCalibrationDoubtful"
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


def _exporter() -> list[Case]:
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


CASES = (*_service(), *_predictions(), *_drift(), *_detectors(), *_exporter())
