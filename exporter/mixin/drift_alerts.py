"""Alerts on drift, and on the detectors that look for it."""

from __future__ import annotations

from exporter.mixin.alert import Alert
from exporter.mixin.terms import DETECTOR, MODEL, NAMED, Terms, duration, number

_WHO = f"Detector {{{{ $labels.detector }}}} of model {NAMED} ({{{{ $labels.job }}}})"
_BY = f"by ({DETECTOR})"
_ON = f"on ({DETECTOR})"
_RECORDED = "job_model_version_detector"
_MOST = 0.9  # of a period; a restart or a scrape that failed leaves gaps
_QUICKER = 4  # a large drift pages after so much less time

# Exact tail of the beta-binomial law at six standard deviations, if 15 or more are atypical: at most 6e-5 for
# references from 500 rows, 9e-5 from 200.
_ATYPICAL_SCORE = 6
_FEWEST_ATYPICAL = 15


def drift(terms: Terms) -> list[Alert]:
    """Every alert on drift and detectors."""
    return [*_drift(terms), *_detectors(terms)]


def _drift(terms: Terms) -> list[Alert]:
    peak = terms.of_model(f"{_RECORDED}:drift_score_ratio:max1h")
    smooth, long_run = (terms.of_model(f"{_RECORDED}:drift_score_ratio:avg{name}") for name in ("5m", "1h"))
    atypical = terms.of_model(f"{_RECORDED}:embedding_atypical:increase1h")
    goes_on = _goes_on(terms)
    after, large = terms.alerts.drift_page_after, number(terms.alerts.drift_page_ratio)
    return [
        Alert(
            name="DriftActive",
            title="Drift active",
            severity="warning",
            expr=f"{peak} and {goes_on} and {_tested(terms, 3600)}",
            limit=0,
            for_seconds=terms.seconds(60),
            summary=f"The inputs of model {NAMED} have drifted",
            description=(
                f"{_WHO} sees drift; its statistic reached {{{{ $value | humanize }}}} times the threshold "
                "in the last hour."
            ),
            panel=("inference-drift", "Drift state"),
        ),
        Alert(
            name="DriftLasts",
            title="Drift lasts",
            severity="critical",
            expr=(
                f"{peak} and {goes_on} and {_tested(terms, 3600)} and {_ON} ({_lasted(terms, after)} or "
                f"{_lasted(terms, after / _QUICKER)} and {_ON} ({peak} > {large}))"
            ),
            limit=0,
            for_seconds=terms.seconds(60),
            summary=f"The inputs of model {NAMED} have drifted, and stay so",
            description=(
                f"{_WHO} has seen drift for {duration(after)}, or for {duration(after / _QUICKER)} with a "
                f"statistic above {large} times its threshold; in the last hour it reached "
                "{{ $value | humanize }} times the threshold."
            ),
            panel=("inference-drift", "Statistic and threshold"),
        ),
        Alert(
            name="DriftScoreRising",
            title="Drift score rising",
            severity="warning",
            expr=f"({smooth} > 1.1 * {long_run}) unless {goes_on} and {_tested(terms, 300)}",
            limit=terms.alerts.rising_score_ratio,
            for_seconds=terms.seconds(600),
            summary=f"The drift score of model {NAMED} is rising towards its threshold",
            description=(
                f"The statistic of detector {{{{ $labels.detector }}}} of model {NAMED} "
                "({{ $labels.job }}) has risen to {{ $value | humanizePercentage }} of its threshold; "
                f"the limit is {terms.alerts.rising_score_ratio:.4g} of it."
            ),
            panel=("inference-drift", "Score ratio"),
        ),
        Alert(
            name="AtypicalInputs",
            title="Atypical inputs",
            severity="warning",
            expr=(
                f"{terms.of_model(f'{_RECORDED}:embedding_atypical:zscore1h')} "
                f"and {_ON} ({atypical} >= {_FEWEST_ATYPICAL})"
            ),
            limit=_ATYPICAL_SCORE,
            for_seconds=terms.seconds(900),
            summary=f"Model {NAMED} is asked things that its reference has nothing like",
            description=(
                f"{_WHO} found more inputs of the last hour unlike anything in its reference than chance "
                "gives, by {{ $value | humanize }} standard deviations; "
                f"the limit is {_ATYPICAL_SCORE}, which is less than one in ten thousand."
            ),
            panel=("inference-drift", "Atypical inputs"),
        ),
    ]


def _detectors(terms: Terms) -> list[Alert]:
    failed, calibrating, ready = (
        f"max {_BY} ({terms.of_model('drift_detector_state', matcher)})"
        for matcher in ('state="failed"', 'state="calibrating"', 'state=~"ready|provisional"')
    )
    read = terms.recorded("rate", f"[{terms.window(3600)}]")
    return [
        Alert(
            name="DetectorFailed",
            title="Detector failed",
            severity="critical",
            expr=failed,
            limit=0,
            for_seconds=terms.seconds(60),
            summary=f"Model {NAMED} is not watched for drift",
            description=(
                f"{_WHO} has failed (failed = {{{{ $value }}}}); predictions are still recorded, drift is "
                "not tested."
            ),
            panel=("inference-drift", "Detector state"),
        ),
        Alert(
            name="DetectorCalibratingTooLong",
            title="Detector calibrating too long",
            severity="warning",
            expr=calibrating,
            limit=0,
            for_seconds=terms.seconds(900),
            summary=f"A detector of model {NAMED} does not finish its calibration",
            description=(
                f"{_WHO} has been calibrating for 15 minutes (calibrating = {{{{ $value }}}}); it usually "
                "takes seconds."
            ),
            panel=("inference-drift", "Detector state"),
        ),
        Alert(
            name="DetectorNotReady",
            title="Detector not ready",
            severity="warning",
            expr=f"{ready} and on ({MODEL}) ({read} > 0) unless {_ON} ({failed} > 0)",
            op="<",
            limit=1,
            for_seconds=terms.seconds(86_400),
            summary=f"Model {NAMED} has not been tested for drift for a day",
            description=(
                f"{_WHO} has had nothing to test with for a day, though predictions are read "
                "(ready = {{ $value }} in every replica)."
            ),
            panel=("inference-drift", "Detector state"),
        ),
        Alert(
            name="DriftCalibrationDoubtful",
            title="Drift calibration doubtful",
            severity="warning",
            expr=(
                f"min {_BY} ({terms.of_model('drift_calibration_ok')}) and {_ON} ({ready} == 1) "
                f"and {_tested(terms, 3600)} unless {_goes_on(terms)}"
            ),
            op="<",
            limit=1,
            for_seconds=terms.seconds(900),
            summary=f"The drift threshold of model {NAMED} may not hold what it states",
            description=(
                f"{_WHO} tests with a threshold whose false-alarm rate cannot be vouched for "
                "(drift_calibration_ok = {{ $value }})."
            ),
            panel=("inference-drift", "Calibration"),
        ),
        Alert(
            name="ReferenceOld",
            title="Reference old",
            severity="warning",
            expr=(
                f"time() - max {_BY} ({terms.of_model('drift_reference_timestamp_seconds')} > 0) "
                f"and {_tested(terms, 3600)}"
            ),
            limit=terms.alerts.reference_max_age,
            for_seconds=terms.seconds(3600),
            summary=f"What counts as normal for model {NAMED} is old",
            description=(
                f"{_WHO} compares with a reference that was complete {{{{ $value | humanizeDuration }}}} "
                f"ago; the limit is {duration(terms.alerts.reference_max_age)}."
            ),
            panel=("inference-drift", "Reference age"),
        ),
    ]


def _goes_on(terms: Terms) -> str:
    """Match the detectors in an episode of drift."""
    return f"{_ON} ({terms.of_model(f'{_RECORDED}:drift_active:max')} == 1)"


def _tested(terms: Terms, seconds: float) -> str:
    """Match the detectors that made a test in the last ``seconds``."""
    tests = terms.of_model("drift_test_stat_count")
    return f"{_ON} (sum {_BY} (increase({tests}[{terms.window(seconds)}])) > 0)"


def _lasted(terms: Terms, seconds: float) -> str:
    """Match the detectors that have seen drift for ``seconds``, but for gaps."""
    recorded = terms.of_model(f"{_RECORDED}:drift_active:max")
    evaluations = _MOST * terms.window_seconds(seconds) / terms.interval_seconds()
    return f"sum_over_time({recorded}[{terms.window(seconds)}]) > {number(evaluations)}"
