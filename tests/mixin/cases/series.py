"""Series of one service in one state after another, for the cases."""

from __future__ import annotations

from collections.abc import Sequence

from tests.mixin.promtool import Phases, counter, gauge

TARGET = 'job="digits", instance="a:10911"'
MODEL = TARGET + ', model="digits"'
DETECTOR = MODEL + ', detector="mmd"'
INFO = {f'inference_exporter_build_info{{{TARGET}, version="0.1.0"}}': "1x1600"}


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


def trusted(
    phases: Phases, *, tests: float = 5, restart_at: float | None = None, step: int = 15
) -> dict[str, str]:
    """A calibration that is good (1) or not (0), and tests a second meanwhile."""
    return {
        f"drift_calibration_ok{{{DETECTOR}}}": gauge(phases, step=step),
        f"drift_test_stat_count{{{DETECTOR}}}": counter(
            [(tests, sum(minutes for _, minutes in phases))], restart_at=restart_at, step=step
        ),
    }


def since(phases: Phases) -> dict[str, str]:
    """When the reference was complete, in seconds since the beginning."""
    return {f"drift_reference_timestamp_seconds{{{DETECTOR}}}": gauge(phases, step=60)}


def dropped(share: float, *, restart_at: float | None = None, rate: float = 10) -> dict[str, str]:
    name = f'inference_exporter_dropped_total{{{MODEL}, reason="queue_full"}}'
    return {
        **handled([(rate, 40)], restart_at=restart_at),
        name: counter([(0, 5), (rate * share, 15), (0, 20)], restart_at=restart_at),
    }


def atypical(phases: Phases, *, tests: float = 5, restart_at: float | None = None) -> dict[str, str]:
    """Each phase: which share of the tested observations is atypical, minutes."""
    found = [(share and share * tests, minutes) for share, minutes in phases]
    every = [(tests, minutes) for _, minutes in phases]
    return {
        f"embedding_atypical_total{{{DETECTOR}}}": counter(found, restart_at=restart_at, step=60),
        f"embedding_atypical_tested_total{{{DETECTOR}}}": counter(every, restart_at=restart_at, step=60),
        f"drift_reference_rows{{{DETECTOR}}}": gauge([(1000, minutes) for _, minutes in phases], step=60),
    }


def invalid(phases: Phases, *, field: str = "embedding", restart_at: float | None = None) -> dict[str, str]:
    labels = f'{MODEL}, field="{field}", reason="wrong_shape"'
    return {f"inference_exporter_invalid_values_total{{{labels}}}": counter(phases, restart_at=restart_at)}


def failures(phases: Phases, *, restart_at: float | None = None) -> dict[str, str]:
    return {f"drift_checkpoint_failures_total{{{DETECTOR}}}": counter(phases, restart_at=restart_at)}
