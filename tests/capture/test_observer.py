"""From logged bytes to delivered exchanges, within bounds."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import pytest

from exporter.capture.observer import LogObserver

GET = b"GET /predict HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def collecting(**settings: Any) -> tuple[LogObserver, list[Any], list[Any]]:
    wanted: list[Any] = []
    passed: list[Any] = []

    def deliver(exchanges: list[Any], others: list[Any]) -> None:
        wanted.extend(exchanges)
        passed.extend(others)

    return LogObserver(lambda _method, path: path == "/predict", deliver, **settings), wanted, passed


def read_all(observer: LogObserver) -> None:
    while observer.ready:
        observer.read_for(1.0)


def test_wanted_and_other_exchanges_are_delivered_apart() -> None:
    observer, wanted, passed = collecting(clock=iter(range(100)).__next__)
    log = observer.connection_opened()
    for request in (GET, b"GET /health HTTP/1.1\r\n\r\n"):
        log.from_client(request)
        log.from_upstream(OK)
    log.closed()
    read_all(observer)
    assert [(e.path, e.started, e.ended) for e in wanted] == [("/predict", 0, 1)]
    assert [(e.path, e.started, e.ended) for e in passed] == [("/health", 2, 3)]
    assert observer.logged == observer.read


def test_the_thread_reads_by_itself_and_stop_delivers_the_rest() -> None:
    observer, wanted, _ = collecting()
    observer.start()
    logs = [observer.connection_opened() for _ in range(50)]
    for log in logs:
        log.from_client(GET)
        log.from_upstream(OK)
    observer.stop()
    assert len(wanted) == 50
    assert not any(thread.name == "inference-exporter-observer" for thread in threading.enumerate())


def test_nothing_is_lost_between_two_threads() -> None:
    observer, wanted, _ = collecting(interval_seconds=0.0001, slice_seconds=0.0001, max_bytes=1 << 30)
    observer.start()
    logs = [observer.connection_opened() for _ in range(4)]
    for i in range(20_000):
        logs[i % 4].from_client(GET)
        logs[i % 4].from_upstream(OK)
    observer.stop(30.0)
    lost = observer.unfollowed["overrun"]
    assert (len(wanted), lost) == (20_000, 0)
    assert observer.logged == observer.read


def test_kinds_are_counted_once_for_each_connection() -> None:
    observer, wanted, _ = collecting()
    for first in (b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\n", b"\x00\x00", b"\x00\x01"):
        log = observer.connection_opened()
        log.from_client(first)
        read_all(observer)
        log.from_client(first)
        log.from_upstream(first)
        log.closed()
        read_all(observer)
        assert log.phase() == "unfollowed"
        assert not log.entries
    assert observer.unfollowed == {
        "tls": 1,
        "http2": 1,
        "malformed": 2,
        "upgrade": 0,
        "overrun": 0,
        "failed": 0,
    }
    assert wanted == []


def test_a_long_body_beyond_the_bound_of_the_log_is_still_followed() -> None:
    observer, wanted, _ = collecting(max_connection_bytes=10_000, max_body_bytes=1 << 20)
    log = observer.connection_opened()
    log.from_client(b"POST /predict HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
    read_all(observer)
    for _ in range(99):
        log.from_client(b"x" * 10_000)
    assert observer.logged - observer.read < 25_000
    read_all(observer)
    for _ in range(4):
        log.from_client(b"x" * 2_500)
    log.from_upstream(OK)
    read_all(observer)
    (exchange,) = wanted
    assert exchange.request_truncated
    assert exchange.request_size == 1_000_000


def test_heads_lost_to_the_bound_end_the_following() -> None:
    observer, wanted, _ = collecting(max_connection_bytes=2_000)
    log = observer.connection_opened()
    for _ in range(100):
        log.from_client(GET)
        log.from_upstream(OK)
    read_all(observer)
    assert observer.unfollowed["overrun"] == 1
    assert len(wanted) < 20
    assert log.phase() == "unfollowed"


def test_an_observer_that_is_never_read_stays_within_its_bounds() -> None:
    observer, _, _ = collecting(max_bytes=100_000, max_connection_bytes=20_000)
    logs = [observer.connection_opened() for _ in range(20)]
    for _ in range(2_000):
        for log in logs:
            log.from_client(b"x" * 1_000)
    held = sum(len(data) if isinstance(data, bytes) else 0 for log in logs for _, data, _ in log.entries)
    assert held <= 100_000
    assert max(len(log.entries) for log in logs) <= (20_000 + observer.max_gap_bytes) // 128 + 1
    read_all(observer)
    assert observer.unfollowed["malformed"] + observer.unfollowed["overrun"] == 20


def test_a_delivery_that_fails_is_counted_and_the_next_one_works(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def deliver(exchanges: list[Any], _passed: list[Any]) -> None:
        calls.append(len(exchanges))
        if len(calls) == 1:
            raise ZeroDivisionError

    observer = LogObserver(lambda _m, _p: True, deliver)
    log = observer.connection_opened()
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            log.from_client(GET)
            log.from_upstream(OK)
            read_all(observer)
    assert calls == [1, 1]
    assert observer.failures == 1
    assert "could not be delivered" in caplog.text


def test_a_selection_that_fails_leaves_that_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    def select(_method: str, path: str) -> bool:
        return 1 // len(path.strip("/")) > 0

    seen: list[Any] = []
    observer = LogObserver(select, lambda exchanges, passed: seen.extend([*exchanges, *passed]))
    bad, good = observer.connection_opened(), observer.connection_opened()
    with caplog.at_level(logging.ERROR):
        bad.from_client(b"GET / HTTP/1.1\r\n\r\n")
        good.from_client(b"GET /a HTTP/1.1\r\n\r\n")
        good.from_upstream(OK)
        read_all(observer)
    assert [e.path for e in seen] == ["/a"]
    assert observer.failures == 1
    assert bad.phase() == "unfollowed"
    assert observer.logged == observer.read


def test_phase_is_unknown_until_all_is_read() -> None:
    observer, _, _ = collecting()
    log = observer.connection_opened()
    assert log.phase() == "idle"
    log.from_client(GET)
    assert log.phase() == "unknown"
    read_all(observer)
    assert log.phase() == "answering"


def test_reading_stops_after_its_slice() -> None:
    observer, _, _ = collecting()
    for _ in range(200):
        observer.connection_opened().from_client(GET * 50)
    began = time.perf_counter()
    observer.read_for(0.0)
    assert len(observer.ready) == 199
    assert time.perf_counter() - began < 5.0
