"""Any byte stream, cut anywhere, arrives identical, whatever the parser thinks of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.receivers.proxy.proxy_wire import (
    TIMEOUT,
    Observing,
    RunningProxy,
    connect,
    listening,
    observing,
    proxying,
)

FRAGMENTS = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"\x16\x03\x01\x02\x00",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    b"\r\n",
    b"\x00" * 70_000,
]
pieces = st.lists(st.one_of(st.binary(min_size=1, max_size=300), st.sampled_from(FRAGMENTS)), max_size=8)


@pytest.fixture(scope="module")
def wire() -> Iterator[tuple[RunningProxy, socket.socket, Observing]]:
    observed: list[Any] = []
    with (
        listening() as (server, address),
        observing(
            observed, max_connection_bytes=20_000, max_bytes=90_000, max_kept_bytes=10_000, behind=30_000
        ) as tap,
        proxying(address, tap=tap) as running,
    ):
        yield running, server, tap


def send(sock: socket.socket, data: list[bytes]) -> None:
    for piece in data:
        sock.sendall(piece)
    sock.shutdown(socket.SHUT_WR)


def receive_all(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


@settings(max_examples=150, deadline=None)
@given(up=pieces, down=pieces)
def test_any_stream_arrives_identical(
    wire: tuple[RunningProxy, socket.socket, Observing], up: list[bytes], down: list[bytes]
) -> None:
    running, server, tap = wire
    with connect(running.address) as client:
        accepted, _ = server.accept()
        accepted.settimeout(TIMEOUT)
        with accepted:
            senders = [
                threading.Thread(target=send, args=(client, up)),
                threading.Thread(target=send, args=(accepted, down)),
            ]
            for sender in senders:
                sender.start()
            received: list[bytes] = []
            receiver = threading.Thread(target=lambda: received.append(receive_all(accepted)))
            receiver.start()
            assert receive_all(client) == b"".join(down)
            for thread in (*senders, receiver):
                thread.join(TIMEOUT)
            assert received == [b"".join(up)]
    assert tap.reader.failures == 0
    assert running.proxy.stats.tap_failures == 0
