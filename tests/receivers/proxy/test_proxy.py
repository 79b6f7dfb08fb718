"""What the proxy does of its own accord: answers, limits, addresses, draining, probing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.http.http1.states import State
from exporter.receivers.proxy.address import Address
from exporter.receivers.proxy.limits import ProxyLimits
from exporter.receivers.proxy.pair import HOLD_BYTES, Pair
from exporter.receivers.proxy.proxy import Proxy
from tests.receivers.proxy.proxy_wire import TIMEOUT, connect, listening, observing, proxying, receive, reset

GET = b"GET /predict HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def limits(**changes: Any) -> ProxyLimits:
    return ProxyLimits(**{"probe_seconds": 0, "linger_seconds": 0.5, **changes})


def nobody() -> Address:
    """An address on which nobody listens."""
    with listening() as (_, address):
        return address


def read_to_end(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextlib.contextmanager
def accepting(server: socket.socket) -> Iterator[socket.socket]:
    accepted, _ = server.accept()
    accepted.settimeout(TIMEOUT)
    with accepted:
        yield accepted


# Answers of ours.


def test_a_refused_upstream_is_a_502() -> None:
    observed: list[Any] = []
    with observing(observed) as tap, proxying(nobody(), limits=limits(), tap=tap) as running:
        with connect(running.address) as client:
            client.sendall(GET)
            answer = read_to_end(client)
        assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert b"Connection: close\r\n" in answer
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"Content-Length: %d" % len(body) in head
        stats = running.proxy.stats
        assert (stats.responded_502, stats.responded_504, stats.upstream_failures["refused"]) == (1, 0, 1)
    assert [e.status for e in observed] == [502]


def test_a_502_reaches_a_client_that_is_still_uploading() -> None:
    with proxying(nobody(), limits=limits()) as running, connect(running.address) as client:
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n")
        with contextlib.suppress(OSError):
            client.sendall(b"x" * 1_000_000)
        assert receive(client, 12) == b"HTTP/1.1 502"


def test_a_silent_client_gets_no_502_and_is_served_when_the_upstream_is_back() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        address = Address(host="127.0.0.1", port=holder.getsockname()[1])
        with proxying(address, limits=limits()) as running, connect(running.address) as client:
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(1)
            assert running.proxy.stats.upstream_failures["refused"] == 0  # nobody was refused anything yet
            holder.listen()
            client.settimeout(TIMEOUT)
            client.sendall(GET)
            with accepting(holder) as upstream:
                assert receive(upstream, len(GET)) == GET
                upstream.sendall(OK)
                assert receive(client, len(OK)) == OK


@pytest.mark.parametrize("hello", [b"\x16\x03\x01\x00\x05hello", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
def test_who_does_not_speak_http1_is_reset_instead(hello: bytes) -> None:
    with proxying(nobody(), limits=limits()) as running, connect(running.address) as client:
        client.sendall(hello)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert running.proxy.stats.responded_502 == 0


def test_a_name_that_does_not_resolve_is_a_502() -> None:
    address = Address(host="nowhere.invalid", port=80)
    with proxying(address, limits=limits()) as running, connect(running.address) as client:
        client.sendall(GET)
        assert receive(client, 12) == b"HTTP/1.1 502"
        assert running.proxy.stats.upstream_failures["unresolved"] == 1


def test_an_upstream_that_does_not_take_the_connection_is_a_504() -> None:
    with socket.socket() as full:
        # A queue that is full answers no further SYN.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = Address(host="127.0.0.1", port=full.getsockname()[1])
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((address.host, address.port))
        time.sleep(0.05)
        with (
            proxying(address, limits=limits(connect_seconds=0.2)) as running,
            connect(running.address) as client,
        ):
            client.sendall(GET)
            assert receive(client, 12) == b"HTTP/1.1 504"
            assert running.proxy.stats.upstream_failures["connect_timeout"] == 1
        for filler in fillers:
            filler.close()


def test_an_upstream_that_stays_silent_is_a_504_and_is_left() -> None:
    with (
        listening() as (server, address),
        proxying(address, limits=limits(first_byte_seconds=0.1)) as running,
        connect(running.address) as client,
        accepting(server) as upstream,
    ):
        client.sendall(GET)
        assert read_to_end(client).startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
        assert receive(upstream, len(GET)) == GET
        with pytest.raises(ConnectionResetError):
            upstream.recv(1)
        assert (running.proxy.stats.responded_504, running.proxy.stats.upstream_failures["silent"]) == (1, 1)


def test_no_504_without_a_request_nor_after_the_first_byte_of_an_answer() -> None:
    with (
        listening() as (server, address),
        proxying(address, limits=limits(first_byte_seconds=0.05)) as running,
        connect(running.address) as client,
        accepting(server) as upstream,
    ):
        time.sleep(0.3)  # nothing asked yet
        client.sendall(GET)
        receive(upstream, len(GET))
        upstream.sendall(OK[:1])
        time.sleep(0.3)  # in the middle of the answer
        upstream.sendall(OK[1:])
        assert receive(client, len(OK)) == OK
        client.sendall(GET)
        receive(upstream, len(GET))
        time.sleep(0.3)  # a second request: as without a proxy, the client decides how long it waits
        upstream.sendall(OK)
        assert receive(client, len(OK)) == OK
        assert running.proxy.stats.responded_504 == 0


def test_no_504_while_a_slow_upload_moves() -> None:
    with (
        listening() as (server, address),
        proxying(address, limits=limits(first_byte_seconds=0.2)) as running,
        connect(running.address) as client,
        accepting(server) as upstream,
    ):
        for byte in GET[:20]:
            client.sendall(bytes([byte]))
            time.sleep(0.03)
        client.sendall(GET[20:])
        receive(upstream, len(GET))
        upstream.sendall(OK)
        assert receive(client, len(OK)) == OK
        assert running.proxy.stats.responded_504 == 0


# Limits.


def test_connections_beyond_the_limit_wait_their_turn() -> None:
    with listening() as (server, address), proxying(address, limits=limits(max_connections=2)) as running:
        first, second, third = (connect(running.address) for _ in range(3))
        with first, second, third:
            with accepting(server) as one, accepting(server):
                third.sendall(GET)
                server.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    server.accept()
                assert running.proxy.stats.open == 2
                server.settimeout(TIMEOUT)
                first.close()
                assert one.recv(1) == b""
            with accepting(server) as upstream:
                assert receive(upstream, len(GET)) == GET
        assert running.proxy.stats.accept_paused >= 1


SMALL = """
import asyncio, logging, resource, socket, sys
from exporter.receivers.proxy.address import Address
from exporter.receivers.proxy.limits import ProxyLimits
from exporter.receivers.proxy.proxy import Proxy

logging.basicConfig(level="INFO", stream=sys.stdout)
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 64))

async def main():
    proxy = Proxy(Address(host="127.0.0.1", port=int(sys.argv[1])), Address(host="127.0.0.1"),
                  limits=ProxyLimits(probe_seconds=0))
    await proxy.start()
    print("PORT", proxy.address.port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    stats = proxy.stats
    print("STATS", stats.opened, stats.responded_502, stats.accept_paused > 0, flush=True)
    await proxy.drain(0.0)

asyncio.run(main())
"""


def test_who_cannot_be_served_for_lack_of_files_waits_and_gets_no_502() -> None:
    def serve() -> None:
        for _ in range(40):
            with accepting(server) as upstream:
                receive(upstream, len(GET))
                upstream.sendall(OK)

    with listening() as (server, address):
        child = subprocess.Popen(
            [sys.executable, "-c", SMALL, str(address.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with child:
            assert child.stdin is not None
            assert child.stdout is not None
            said = [child.stdout.readline() for _ in range(2)]
            assert "connections at a time instead of 10000, since only 64 open files are allowed" in said[0]
            front = Address(host="127.0.0.1", port=int(said[1].removeprefix("PORT ")))
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(connect(front)) for _ in range(40)]
                for client in clients:
                    client.sendall(GET)
                serving = threading.Thread(target=serve)
                serving.start()
                for client in clients:
                    assert receive(client, len(OK)) == OK
                    client.close()
                serving.join(TIMEOUT)
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "STATS 40 0 True\n"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_502_for_lack_of_files_does_not_blame_the_upstream(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_files(*_: Any) -> Any:
        raise OSError(number, "too many open files")

    monkeypatch.setattr("exporter.receivers.proxy.proxy.connect", no_files)
    with proxying(nobody(), limits=limits()) as running, connect(running.address) as client:
        client.sendall(GET)
        answer = read_to_end(client)
        assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert b"no open files are left to this proxy" in answer
        failures = running.proxy.stats.upstream_failures
        assert (failures["open_files"], failures["unreachable"]) == (1, 0)


def test_what_is_held_while_connecting_takes_no_more_than_its_bytes() -> None:
    async def hold() -> tuple[int, int]:
        proxy = Proxy(nobody(), Address())
        proxy.loop = asyncio.get_running_loop()
        pair = Pair(proxy, None)
        pieces = 0
        tracemalloc.start()
        try:
            while not pair.client.pauses:
                pair.hold(b"%d" % (pieces % 10))
                pieces += 1
            return pieces, tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    pieces, n_bytes = asyncio.run(hold())
    assert pieces == HOLD_BYTES
    assert n_bytes < 2 * HOLD_BYTES


def test_an_idle_connection_is_closed_in_order() -> None:
    with (
        listening() as (server, address),
        proxying(address, limits=limits(idle_seconds=0.1)) as running,
        connect(running.address) as client,
        accepting(server) as upstream,
    ):
        assert client.recv(1) == b""
        assert upstream.recv(1) == b""
        client.close()
        eventually(lambda: running.proxy.stats.open == 0)
        assert running.proxy.stats.closed_idle == 1


def test_a_slow_reader_is_not_idle() -> None:
    size = 8_000_000
    with (
        listening() as (server, address),
        proxying(address, limits=limits(idle_seconds=0.3)) as running,
        connect(running.address) as client,
        accepting(server) as upstream,
    ):
        sender = threading.Thread(
            target=lambda: (upstream.sendall(b"x" * size), upstream.shutdown(socket.SHUT_WR))
        )
        sender.start()
        got = 0
        for _ in range(20):
            got += len(receive(client, size // 40))
            time.sleep(0.05)
        while piece := client.recv(1 << 20):
            got += len(piece)
        sender.join(TIMEOUT)
        assert got == size
        assert running.proxy.stats.closed_idle == 0


def test_a_connection_whose_upstream_has_ended_is_not_kept_for_long() -> None:
    with (
        listening() as (server, address),
        proxying(address, limits=limits(half_closed_seconds=0.1)) as running,
        connect(running.address) as client,
    ):
        with accepting(server):
            pass
        assert client.recv(1) == b""
        eventually(lambda: running.proxy.stats.open == 0)


def test_a_sender_feels_the_back_pressure() -> None:
    with (
        listening() as (server, address),
        proxying(address, limits=limits()) as running,
        connect(running.address) as client,
        accepting(server) as upstream,
    ):
        for fast, slow in ((client, upstream), (upstream, client)):
            fast.settimeout(0.5)
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 100_000_000:
                    sent += fast.send(b"x" * 65536)
            assert sent < 50_000_000
            assert len(receive(slow, sent)) == sent  # and goes on when the reader reads


# Addresses.


def test_unix_sockets_on_both_sides(tmp_path: Path) -> None:
    listen = Address(path=str(tmp_path / "in.sock"))
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(listen.path)  # the file of a process that is gone
    stale.close()
    with (
        listening(tmp_path / "up.sock") as (server, address),
        proxying(address, listen=listen, limits=limits()) as running,
        connect(running.address) as client,
        accepting(server) as upstream,
    ):
        client.sendall(GET)
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(upstream) == GET
        upstream.sendall(OK)
        upstream.close()
        assert read_to_end(client) == OK
    assert not Path(listen.path).exists()


def test_a_unix_socket_that_is_served_is_not_taken_over(tmp_path: Path) -> None:
    with listening(tmp_path / "in.sock") as (_, taken):
        with pytest.raises(OSError, match="in use"), proxying(nobody(), listen=taken):
            pass
        assert Path(taken.path).exists()


def test_a_missing_unix_socket_is_a_502(tmp_path: Path) -> None:
    upstream = Address(path=str(tmp_path / "nobody.sock"))
    with proxying(upstream, limits=limits()) as running, connect(running.address) as client:
        client.sendall(GET)
        assert receive(client, 12) == b"HTTP/1.1 502"


def test_a_name_is_resolved_for_each_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port)) for place in ("127.0.0.9", "127.0.0.1")
        ]

    with (
        listening() as (server, address),
        proxying(Address(host="model", port=address.port), limits=limits()) as running,
    ):

        class Loop:
            getaddrinfo = staticmethod(resolve)

            def __getattr__(self, name: str) -> Any:
                return getattr(running.loop, name)

        monkeypatch.setattr(running.proxy, "loop", Loop())
        for _ in range(2):
            with connect(running.address), accepting(server):  # nobody listens on the first address
                pass
        monkeypatch.undo()
    assert asked == ["model", "model"]


def test_a_port_in_use_is_an_error_at_the_start() -> None:
    with listening() as (_, taken), pytest.raises(OSError, match="in use"), proxying(nobody(), listen=taken):
        pass


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:80", Address(host="127.0.0.1", port=80)),
        ("http://model:8000", Address(host="model", port=8000)),
        ("http://model/", Address(host="model", port=80)),
        ("https://model", Address(host="model", port=443)),
        ("[::1]:8000", Address(host="::1", port=8000)),
        ("unix:/run/x.sock", Address(path="/run/x.sock")),
        ("unix:///run/x.sock", Address(path="/run/x.sock")),
    ],
)
def test_addresses_are_read(text: str, expected: Address) -> None:
    assert Address.parse(text) == expected
    assert Address.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "model", "model:x", "model:99999", "http://model/path", "unix:", ":80"),
        *("http://127.0.0.1:80000", "http://127.0.0.1:8O00", "http://model:", "model:", "http://model:-1"),
        *("ftp://model:80", "http://user@model:80", "http://model:80?a", "http://model:80#a"),
        *("http://model:\N{FULLWIDTH DIGIT EIGHT}0", "::1:8000"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        Address.parse(text)


# The observer.


class Failing:
    """An observer that raises from its ``n``-th call on."""

    def __init__(self) -> None:
        self.calls = 0

    def connection_opened(self) -> Failing:
        return self

    def from_client(self, _data: bytes, /) -> None:
        self.calls += 1
        raise ZeroDivisionError

    from_upstream = from_client

    def closed(self, *, client_left: bool) -> None:
        raise ZeroDivisionError

    def state(self) -> State:
        raise ZeroDivisionError


def test_an_observer_that_raises_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    tap = Failing()
    with (
        listening() as (server, address),
        proxying(address, limits=limits(), tap=tap) as running,
        connect(running.address) as client,
        accepting(server) as upstream,
    ):
        for _ in range(3):
            client.sendall(GET)
            assert receive(upstream, len(GET)) == GET
            upstream.sendall(OK)
            assert receive(client, len(OK)) == OK
        assert tap.calls == 1
        assert running.proxy.stats.tap_failures == 1
    assert "goes on unobserved" in caplog.text


# Draining.


def test_draining_closes_idle_connections_and_lets_an_answer_finish() -> None:
    observed: list[Any] = []
    with (
        listening() as (server, address),
        observing(observed) as tap,
        proxying(address, limits=limits(), tap=tap, grace=TIMEOUT) as running,
        connect(running.address) as idle,
        accepting(server) as idle_upstream,
        connect(running.address) as busy,
        accepting(server) as upstream,
    ):
        idle.sendall(GET)
        receive(idle_upstream, len(GET))
        idle_upstream.sendall(OK)
        receive(idle, len(OK))
        busy.sendall(GET)
        receive(upstream, len(GET))
        upstream.sendall(OK[:10])
        receive(busy, 10)
        drained = threading.Thread(target=lambda: running.call(running.proxy.drain(TIMEOUT), TIMEOUT * 2))
        drained.start()
        assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(running.address)
        busy.sendall(GET)  # comes too late to be passed on
        time.sleep(0.2)
        upstream.sendall(OK[10:])
        assert read_to_end(busy) == OK[10:]
        assert read_to_end(upstream) == b""
        busy.close()
        drained.join(TIMEOUT)
        assert running.proxy.stats.open == 0
        assert running.proxy.stats.closed_drained == 0
    assert [e.status for e in observed] == [200, 200]


def test_draining_takes_the_rest_of_a_request_that_has_begun() -> None:
    with (
        listening() as (server, address),
        observing([]) as tap,
        proxying(address, limits=limits(), tap=tap) as running,
        connect(running.address) as client,
        accepting(server) as upstream,
    ):
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nx")
        upstream.recv(1000)
        drained = threading.Thread(target=lambda: running.call(running.proxy.drain(TIMEOUT), TIMEOUT * 2))
        drained.start()
        for _ in range(9):
            time.sleep(0.03)
            client.sendall(b"x")
        assert receive(upstream, 9) == b"x" * 9
        upstream.sendall(OK)
        assert read_to_end(client) == OK
        client.close()
        drained.join(TIMEOUT)
        assert running.proxy.stats.closed_drained == 0


def test_what_outlasts_the_grace_is_broken_off() -> None:
    with (
        listening() as (server, address),
        observing([]) as tap,
        proxying(address, limits=limits(), tap=tap) as running,
        connect(running.address) as client,
        accepting(server) as upstream,
    ):
        client.sendall(GET)
        receive(upstream, len(GET))
        upstream.sendall(b"HTTP/1.1 200 OK\r\n\r\nstream")
        receive(client, 25)
        running.call(running.proxy.drain(0.1))
        for sock in (client, upstream):
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        assert running.proxy.stats.closed_drained == 1


def test_draining_without_an_observer_waits_for_quiet() -> None:
    with (
        listening() as (server, address),
        proxying(address, limits=limits(drain_quiet_seconds=0.3)) as running,
        connect(running.address) as client,
        accepting(server) as upstream,
    ):
        client.sendall(GET)
        receive(upstream, len(GET))
        upstream.sendall(OK)
        receive(client, len(OK))
        threading.Thread(target=lambda: client.recv(1) == b"" and client.close()).start()
        running.call(running.proxy.drain(TIMEOUT), TIMEOUT * 2)
        assert running.proxy.stats.closed_drained == 0


# Probing and counting.


def test_the_probe_tells_whether_the_upstream_takes_connections() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = Address(host="127.0.0.1", port=server.getsockname()[1])
        with proxying(address, limits=limits(probe_seconds=0.02)) as running:
            stats = running.proxy.stats
            eventually(lambda: "refused" in stats.upstream_error)
            assert not stats.upstream_up
            server.listen()
            eventually(lambda: stats.upstream_up)
            assert stats.upstream_error == ""
            server.close()
            eventually(lambda: not stats.upstream_up)


def test_bytes_connections_and_resets_are_counted() -> None:
    with listening() as (server, address), proxying(address, limits=limits()) as running:
        with connect(running.address) as client, accepting(server) as upstream:
            client.sendall(GET)
            receive(upstream, len(GET))
            upstream.sendall(OK)
            receive(client, len(OK))
        with connect(running.address) as client, accepting(server) as upstream:
            client.sendall(b"x")
            receive(upstream, 1)
            reset(client)
        with connect(running.address) as client, accepting(server) as upstream:
            client.sendall(b"x")
            receive(upstream, 1)
            reset(upstream)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        eventually(lambda: running.proxy.stats.open == 0)
        stats = running.proxy.stats
        assert (stats.opened, stats.bytes_from_client, stats.bytes_from_upstream) == (
            3,
            len(GET) + 2,
            len(OK),
        )
        assert (stats.client_resets, stats.upstream_failures["reset"]) == (1, 1)


def test_a_response_that_is_cut_off_is_no_success_and_counted_by_who_did_it() -> None:
    observed: list[Any] = []
    with (
        listening() as (server, address),
        observing(observed) as tap,
        proxying(address, limits=limits(), tap=tap) as running,
    ):
        summaries = tap.summaries
        with connect(running.address) as client, accepting(server) as upstream:
            client.sendall(GET)
            receive(upstream, len(GET))
            upstream.sendall(OK[:-1])
            upstream.close()  # killed, with nothing unread: an orderly end of the connection
            assert read_to_end(client) == OK[:-1]
        with connect(running.address) as client, accepting(server) as upstream:
            client.sendall(GET)
            receive(upstream, len(GET))
            upstream.sendall(OK[:-1])
            receive(client, len(OK) - 1)
            reset(upstream)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        with connect(running.address) as client, accepting(server) as upstream:
            client.sendall(GET)
            receive(upstream, len(GET))
            upstream.sendall(OK[:-1])
            receive(client, len(OK) - 1)
            reset(client)
            with pytest.raises(ConnectionResetError):
                upstream.recv(1)
        eventually(lambda: running.proxy.stats.open == 0)
        eventually(lambda: len(summaries) == 3)
        assert [summary[2] for summary in summaries] == [502, 502, 499]
        assert observed == []
        assert (tap.reader.observer.cut_off, running.proxy.stats.upstream_failures["reset"]) == (1, 1)


def test_a_restarted_upstream_is_used_again() -> None:
    with socket.socket() as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(("127.0.0.1", 0))
        first.listen()
        address = Address(host="127.0.0.1", port=first.getsockname()[1])
        with proxying(address, limits=limits()) as running:
            with connect(running.address) as client, accepting(first) as upstream:
                client.sendall(GET)
                receive(upstream, len(GET))
                reset(upstream)  # killed
                first.close()
                with pytest.raises(ConnectionResetError):
                    client.recv(1)
            with connect(running.address) as client:
                client.sendall(GET)
                assert receive(client, 12) == b"HTTP/1.1 502"
            with socket.create_server(("127.0.0.1", address.port)) as again:
                again.settimeout(TIMEOUT)
                with connect(running.address) as client, accepting(again) as upstream:
                    client.sendall(GET)
                    receive(upstream, len(GET))
                    upstream.sendall(OK)
                    assert receive(client, len(OK)) == OK
