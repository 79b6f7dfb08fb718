"""From segments of the capture log to delivered exchanges."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from exporter.receivers.proxy.capture_log import CLIENT, CLOSED, RESTART, STATE, UPSTREAM
from exporter.receivers.proxy.capture_log_reader import CaptureLogReader

GET = b"GET /predict HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def reading(**settings: Any) -> tuple[CaptureLogReader, list[Any], list[Any]]:
    wanted: list[Any] = []
    summaries: list[Any] = []

    def deliver(exchanges: list[Any], others: list[Any]) -> None:
        wanted.extend(exchanges)
        summaries.extend(others)

    return CaptureLogReader(lambda _method, path: path == "/predict", deliver, **settings), wanted, summaries


def test_wanted_and_other_exchanges_are_delivered_apart() -> None:
    reader, wanted, summaries = reading()
    reader.read(
        [
            (0, CLIENT, GET, 0.0),
            (1, CLIENT, b"GET /health HTTP/1.1\r\n\r\n", 1.0),
            (1, UPSTREAM, OK, 2.0),
            (0, UPSTREAM, OK, 3.0),
            (0, CLOSED, b"", 4.0),
        ]
    )
    assert [(e.path, e.started, e.ended) for e in wanted] == [("/predict", 0, 3)]
    assert summaries == [("GET", "/health", 200, 1.0, 2.0, 0, 2)]


def test_an_exchange_may_be_cut_by_the_end_of_a_segment() -> None:
    reader, wanted, _ = reading()
    reader.read([(0, CLIENT, GET[:9], 0.0)])
    reader.read([(0, CLIENT, GET[9:], 0.0), (0, UPSTREAM, OK[:30], 1.0)])
    assert wanted == []
    reader.read([(0, UPSTREAM, OK[30:], 2.0)])
    assert [exchange.response_body for exchange in wanted] == [b"ok"]


def test_reasons_are_counted_once_for_each_connection_and_told_once() -> None:
    reader, wanted, _ = reading()
    for number, first in enumerate((b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\n", b"\x00\x00", b"\x00\x01")):
        assert reader.read([(number, CLIENT, first, 0.0)]) == [(number, 1, "ERROR")]
        assert reader.read([(number, CLIENT, first, 0.0), (number, UPSTREAM, first, 0.0)]) == []
        reader.read([(number, CLOSED, b"", 0.0)])
    assert reader.unobserved == {
        "tls": 1,
        "http2": 1,
        "malformed": 2,
        "upgrade": 0,
        "overrun": 0,
        "failed": 0,
    }
    assert wanted == []
    assert reader._seen == {}


def test_a_gap_inside_a_long_body_is_followed() -> None:
    reader, wanted, _ = reading()
    head = b"POST /predict HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n"
    reader.read([(0, CLIENT, head, 0.0), (0, CLIENT, (990_000, b"x"), 0.0), (0, CLIENT, b"x" * 10_000, 0.0)])
    reader.read([(0, UPSTREAM, OK, 1.0)])
    (exchange,) = wanted
    assert exchange.request_truncated
    assert exchange.request_size == 1_000_000


def test_a_gap_inside_a_chunked_answer_is_followed_by_its_last_bytes() -> None:
    reader, wanted, _ = reading()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    reader.read([(0, CLIENT, GET, 0.0), (0, UPSTREAM, head, 1.0)])
    reader.read([(0, UPSTREAM, (1 << 30, b"\r\n0\r\n\r\n"), 2.0)])
    reader.read([(0, CLIENT, GET, 3.0), (0, UPSTREAM, OK, 4.0)])
    assert [(e.response_truncated, e.ended) for e in wanted] == [(True, 2.0), (False, 4.0)]
    assert reader.unobserved["overrun"] == 0


def test_heads_that_were_not_kept_end_the_following() -> None:
    reader, wanted, _ = reading()
    standings = reader.read([(0, CLIENT, (500, b"?"), 0.0), (0, CLIENT, GET, 0.0)])
    assert standings == [(0, 1, "ERROR")]
    assert reader.unobserved["overrun"] == 1
    reader.read([(0, UPSTREAM, OK, 0.0)])
    assert wanted == []


def test_after_a_restart_earlier_connections_are_forgotten_and_others_followed() -> None:
    reader, wanted, _ = reading()
    upload = b"POST /predict HTTP/1.1\r\nContent-Length: 90000\r\n\r\n" + b"x" * 50_000
    reader.read([(0, CLIENT, upload, 0.0), (1, CLIENT, GET[:9], 0.0)])
    assert reader.observer.account.n_bytes > 50_000
    later = [(0, CLOSED, 0, 1.0), (2, CLIENT, GET, 1.0), (2, UPSTREAM, OK, 1.0)]
    assert reader.read([(-1, RESTART, 5, 1.0), *later]) == []
    assert (reader.observer.account.n_bytes, len(wanted), list(reader._seen)) == (0, 1, [2])
    assert reader.unobserved["overrun"] == 5


def test_who_ended_a_connection_decides_what_is_counted() -> None:
    reader, wanted, summaries = reading()
    reader.read(
        [
            *((0, CLIENT, GET, 0.0), (0, UPSTREAM, OK[:-1], 1.0), (0, UPSTREAM, b"", 2.0)),
            *((1, CLIENT, GET, 0.0), (1, UPSTREAM, OK[:-1], 1.0), (1, CLOSED, 1, 2.0)),
            *((2, CLIENT, GET, 0.0), (2, UPSTREAM, OK[:-1], 1.0), (2, CLOSED, 0, 2.0)),
        ]
    )
    assert wanted == []
    assert [status for _, _, status, *_ in summaries] == [502, 499, 502]
    assert reader.observer.cut_off == 1  # a reset is counted where it is seen


def test_a_connection_that_ends_before_its_first_byte_leaves_nothing() -> None:
    reader, _, _ = reading()
    assert reader.read([(5, CLOSED, b"", 0.0)]) == []
    assert reader._seen == {}


def test_states_are_told_when_asked_for() -> None:
    reader, _, _ = reading()
    assert reader.read([(0, STATE, 0, 0.0), (0, CLIENT, GET[:5], 0.0), (0, STATE, 1, 0.0)]) == [
        (0, 0, "IDLE"),
        (0, 1, "SEND_BODY"),
    ]
    assert reader.read([(0, CLIENT, GET[5:], 0.0), (0, STATE, 2, 0.0)]) == [(0, 2, "DONE")]
    assert reader.read([(0, UPSTREAM, OK, 0.0), (0, STATE, 3, 0.0)]) == [(0, 3, "IDLE")]


def test_a_delivery_that_fails_is_counted_and_the_next_one_works(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def deliver(exchanges: list[Any], _summaries: list[Any]) -> None:
        calls.append(len(exchanges))
        if len(calls) == 1:
            raise ZeroDivisionError

    reader = CaptureLogReader(lambda _m, _p: True, deliver)
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            reader.read([(0, CLIENT, GET, 0.0), (0, UPSTREAM, OK, 0.0)])
    assert calls == [1, 1]
    assert reader.failures == 1
    assert "could not be delivered" in caplog.text


def test_a_selection_that_fails_leaves_that_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    def select(_method: str, path: str) -> bool:
        return 1 // len(path.strip("/")) > 0

    seen: list[Any] = []
    reader = CaptureLogReader(select, lambda exchanges, summaries: seen.extend([*exchanges, *summaries]))
    with caplog.at_level(logging.ERROR):
        standings = reader.read(
            [
                (0, CLIENT, b"GET / HTTP/1.1\r\n\r\n", 0.0),
                (1, CLIENT, b"GET /a HTTP/1.1\r\n\r\n", 0.0),
                (1, UPSTREAM, OK, 0.0),
            ]
        )
    assert [exchange.path for exchange in seen] == ["/a"]
    assert reader.failures == 1
    assert reader.unobserved["failed"] == 1
    assert standings == [(0, 1, "ERROR")]


def test_what_was_wanted_before_is_asked_anew() -> None:
    paths = ["/predict"]
    wanted: list[Any] = []
    reader = CaptureLogReader(lambda _m, path: path in paths, lambda exchanges, _: wanted.extend(exchanges))
    both = [(0, CLIENT, GET, 0.0), (0, UPSTREAM, OK, 0.0)]
    for _ in range(3):
        reader.read(both)
    paths.clear()
    reader.forget_heads()
    reader.read(both)
    assert len(wanted) == 3
