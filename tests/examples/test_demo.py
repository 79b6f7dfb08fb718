from __future__ import annotations

import math
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from examples.demo.performance import Performance
from examples.demo.picture import save_picture
from examples.demo.scrape import Snapshot, parse
from examples.demo.server import ServiceFailed, running_service
from examples.demo.story import complaints, outcome, plan
from examples.demo.view import plain_line, plot, screen
from examples.digits.service import WINDOW
from exporter import InferenceExporter

PHASES = plan(WINDOW)
START = Snapshot(
    at=0.0,
    phase=-1,
    tests=0,
    statistic=math.nan,
    threshold=0.05,
    expected_run_length=1e6,
    active=False,
    events=0,
    episodes=0,
    state="filling",
    observed=0,
    processed=0,
    lost=0,
    queued=0,
    confidence_sum=0.0,
    confidence_count=0,
)


def _later(before: Snapshot, phase: int, requests: int, statistic: float, **changes: object) -> Snapshot:
    """A scrape after some more requests; all tested once the window is full, with confidence 0.9."""
    total = before.observed + requests
    return replace(
        before,
        **{
            "at": before.at + 0.25,
            "phase": phase,
            "observed": total,
            "processed": total,
            "tests": max(0, total - WINDOW + 1),
            "statistic": statistic,
            "confidence_sum": 0.9 * total,
            "confidence_count": total,
            "answers": {"2xx": total},
            "classes": {"3": total},
            "state": "ready",
            **changes,
        },
    )


def _story() -> list[list[Snapshot]]:
    """The scrapes of a demonstration as it should go, phase by phase."""
    clean = [_later(START, 0, 60, 0.004)]
    clean += [_later(clean[0], 0, 40, -0.002)]
    drifted = [_later(clean[-1], 1, 12, 0.03)]
    drifted += [_later(drifted[0], 1, 18, 0.11, events=11, episodes=1, active=True)]
    drifted += [_later(drifted[1], 1, 30, 0.30, events=41)]
    flush = [_later(drifted[-1], 2, 50, 0.01, events=70)]
    again = [_later(flush[0], 3, 30, 0.002), _later(flush[0], 3, 90, 0.001, active=False)]
    return [clean, drifted, flush, again]


def _outcomes(story: list[list[Snapshot]]):
    before = START
    for phase, scrapes in zip(PHASES, story, strict=True):
        yield outcome(phase, before, scrapes)
        before = scrapes[-1]


def test_a_demonstration_as_it_should_go_has_no_complaints() -> None:
    story = _story()
    found = list(_outcomes(story))
    assert complaints(found, story[-1][-1]) == []
    assert [o.requests for o in found] == [100, 60, 50, 90]
    assert [o.events for o in found] == [0, 41, 29, 0]
    # 30 requests until the scrape that saw the alarm, 11 of them events: the 20th was the first.
    assert found[1].delay == 20
    assert found[1].max_statistic == 0.30
    assert found[1].median_statistic == 0.11
    assert found[0].mean_confidence == pytest.approx(0.9)


def test_missed_drift_is_a_complaint() -> None:
    story = _story()
    story[1] = [replace(s, events=0, episodes=0, active=False) for s in story[1]]
    story[2] = [replace(s, events=0, episodes=0, active=False) for s in story[2]]
    story[3] = [replace(s, events=0, episodes=0, active=False) for s in story[3]]
    found = list(_outcomes(story))
    assert complaints(found, story[-1][-1]) == ["drifted: drift was missed in 60 tests"]


@pytest.mark.parametrize("index", [0, 3])
def test_a_false_alarm_in_either_clean_phase_is_a_complaint(index: int) -> None:
    story = _story()
    for scrapes in story[index:]:
        scrapes[:] = [replace(s, events=s.events + 2) for s in scrapes]
    found = list(_outcomes(story))
    (complaint,) = complaints(found, story[-1][-1])
    assert complaint.startswith(f"{PHASES[index].name}: 2 false alarms")


def test_alarms_while_the_window_is_flushed_are_not_judged() -> None:
    story = _story()
    for scrapes in story[2:]:
        scrapes[:] = [replace(s, events=s.events + 20) for s in scrapes]
    assert complaints(list(_outcomes(story)), story[-1][-1]) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"active": True}, "the drift episode did not end"),
        ({"lost": 3}, "3 observations were lost"),
        ({"answers": {"2xx": 298, "5xx": 2}}, "requests were refused"),
        ({"tests": 161}, "nothing was tested"),
    ],
)
def test_other_faults_at_the_end_are_complaints(change: dict[str, object], complaint: str) -> None:
    story = _story()
    story[3] = [replace(s, **change) for s in story[3]]
    (text,) = complaints(list(_outcomes(story)), story[-1][-1])
    assert complaint in text


def test_the_flush_is_as_long_as_the_window() -> None:
    assert [phase.requests for phase in PHASES] == [None, None, WINDOW, None]
    assert [phase.expect_drift for phase in PHASES] == [False, True, None, False]


def test_a_fresh_exporter_is_read_as_such() -> None:
    exporter = InferenceExporter(model="digits", drift=[{"reference": {"learn": 200}}])
    _, body = exporter.runtime.render("")
    now = parse(body.decode())
    assert now.state == "learning"
    assert now.settled
    assert (now.tests, now.events, now.observed, now.active) == (0, 0, 0, False)
    assert math.isnan(now.statistic)


def test_an_observation_under_way_is_not_settled() -> None:
    assert not replace(START, observed=5, processed=4).settled
    assert not replace(START, queued=1).settled
    assert replace(START, observed=5, processed=4, lost=1).settled


def _rendered(width: int) -> str:
    history = [s for scrapes in _story() for s in scrapes]
    console = Console(width=width, record=True, force_terminal=False)
    with console.capture() as capture:
        console.print(screen(history, PHASES, 3.0, {1: 20}, width))
    return capture.get()


@pytest.mark.parametrize("width", [60, 80, 110])
def test_the_view_fits_its_terminal(width: int) -> None:
    lines = _rendered(width).splitlines()
    assert len(lines) <= 23  # a terminal of 24 lines must hold it, or it flickers
    assert max(map(len, lines)) <= width


def test_the_view_shows_what_matters() -> None:
    text = _rendered(100)
    for part in ("4/4 clean again", "3 s left", "0.050", "drift_active 0", "ready", "episodes", "0.900"):
        assert part in text, part


def test_bars_are_red_exactly_above_the_threshold() -> None:
    history = [s for scrapes in _story() for s in scrapes]
    text = plot(history, PHASES, 80)
    red = sum(len(text.plain[span.start : span.end]) for span in text.spans if span.style == "red")
    assert red > 0
    calm = [replace(s, statistic=min(s.statistic, s.threshold)) for s in history]
    assert not [span for span in plot(calm, PHASES, 80).spans if span.style == "red"]


def test_before_the_first_test_the_view_says_so() -> None:
    assert "waiting" in plot([START], PHASES, 80).plain


def test_a_plain_line_for_logs() -> None:
    story = _story()
    line = plain_line(story[1][1], story[1][0], PHASES, 0.0)
    assert "drifted" in line
    assert "drift_active 1" in line


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    story = _story()
    path = tmp_path / "new" / "drift.png"
    save_picture([s for scrapes in story for s in scrapes], list(_outcomes(story)), path)
    assert path.read_bytes().startswith(b"\x89PNG")


async def test_a_service_that_ends_at_once_is_reported_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.demo.server.sys.executable", "/bin/false")
    with pytest.raises(ServiceFailed, match="ended with status 1"):
        async with running_service(tmp_path, tmp_path / "service.log"):
            pytest.fail("it did not start")


async def test_a_summary_fits_80_columns_and_decides_the_exit_code(tmp_path: Path) -> None:
    story = _story()
    console = Console(width=80, force_terminal=False)
    run = Performance(console, seconds=1.0, port=0, output=tmp_path, live=False, keep=False)
    run.history = [s for scrapes in story for s in scrapes]
    with console.capture() as capture:
        assert await run._sum_up(list(_outcomes(story))) == 0
    table = capture.get()
    assert "…" not in table
    assert "Drift was found where it was, and nowhere else." in table
    story[1] = [replace(s, events=0, episodes=0) for s in story[1]]
    with console.capture() as capture:
        assert await run._sum_up(list(_outcomes(story))) == 1
    assert "failed: drifted: drift was missed" in " ".join(capture.get().split())


async def test_a_taken_port_is_an_error_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            async with running_service(tmp_path, tmp_path / "log", port):
                pytest.fail("it did not start")
