"""What strangers can do to the admin listener: little, and never to the probes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.errors import ConfigError
from exporter.receivers.proxy.stats import ProxyStats
from exporter.sidecar import admin_listener
from exporter.sidecar.admin_listener import AdminListener
from exporter.sidecar.messages import Report
from exporter.sidecar.server import listening, private_listener
from tests.servers import get, request, wait_for
from tests.sidecar.inprocess import Running, running

TOKEN = "correct-horse"
BEARER = {"authorization": f"Bearer {TOKEN}"}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    text = "model: m\ningest: {enabled: true}\n"
    overrides = {"admin": {"listen": "127.0.0.1:0", "token": TOKEN}}
    with running(tmp_path_factory.mktemp("guarded"), text, overrides=overrides) as sidecar:
        yield sidecar


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("opened"), "model: m\ningest: {enabled: true}\n") as sidecar:
        yield sidecar


@pytest.mark.parametrize("path", ["/metrics", "/", "/api/v1/status", "/v1/openapi.json", "/nowhere"])
def test_the_token_guards_every_page(guarded: Running, path: str) -> None:
    assert get(guarded.admin, path)[0] == 401
    assert get(guarded.admin, path, {"authorization": "Bearer wrong-horse"})[0] == 401
    assert get(guarded.admin, path, {"authorization": f"Basic {TOKEN}"})[0] == 401
    assert get(guarded.admin, path, {"authorization": "Bearer \xff"})[0] == 401
    assert get(guarded.admin, path, BEARER)[0] in (200, 404)


@pytest.mark.parametrize("path", ["/v1/observations", "/v1/labels", "/metrics"])
def test_the_token_guards_what_others_post(guarded: Running, path: str) -> None:
    assert request(guarded.admin, "POST", path, b"[]", JSON)[0] == 401
    assert request(guarded.admin, "POST", path, b"[]", JSON | BEARER)[0] in (202, 422)


def test_probes_need_no_token(guarded: Running) -> None:
    assert get(guarded.admin, "/-/healthy")[0] == 200
    assert get(guarded.admin, "/-/ready")[0] == 200


def test_more_idle_connections_than_there_may_be_do_not_keep_a_probe_away(opened: Running) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("this system allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    try:
        with contextlib.ExitStack() as held:
            for n in range(1100):
                idle = held.enter_context(socket.create_connection(("127.0.0.1", opened.admin), timeout=10))
                if n % 2:
                    idle.send(b"GET /metr")
            assert get(opened.admin, "/-/healthy") == (200, "healthy\n")
            assert get(opened.admin, "/-/ready")[0] == 200
            assert get(opened.admin, "/metrics")[0] == 200
            assert len(opened.sidecar.admin._waiting.heard_at) <= admin_listener.MAX_WAITING
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_that_asked_and_stay_do_not_keep_others_away(opened: Running) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(admin_listener.MAX_FORWARDED + 20):
            stays = held.enter_context(socket.create_connection(("127.0.0.1", opened.admin), timeout=10))
            stays.sendall(
                b"POST /v1/labels HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
            )
        assert get(opened.admin, "/metrics")[0] == 200
        assert get(opened.admin, "/-/healthy")[0] == 200
        assert len(opened.sidecar.admin._forwarded.heard_at) <= admin_listener.MAX_FORWARDED


def test_a_connection_says_what_it_wants_in_time_and_in_few_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_listener, "HEAD_BYTES", 1000)
    monkeypatch.setattr(admin_listener, "HEAD_SECONDS", 2.0)

    async def ask() -> list[bytes]:
        path = tmp_path / "admin"
        listener = AdminListener(f"unix:{path}", lambda: Report(ProxyStats(), 0, False), lambda: None)
        await listener.start()
        answers = []
        for sent in (
            b"GET / HTTP/1.1\r\nX: " + b"y" * 3000,
            b"GET / HTTP/1.1\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
        ):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(sent)
            answers.append((await asyncio.wait_for(reader.read(), 60)).partition(b"\r\n")[0])
            writer.close()
        listener.stop()
        assert not path.exists()
        return answers

    assert asyncio.run(ask()) == [
        b"HTTP/1.1 431 Request Header Fields Too Large",
        b"",
        b"HTTP/1.1 503 Service Unavailable",
    ]


def test_a_unix_socket_that_is_served_stays_and_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "admin"
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(path))
        served.listen()
        with pytest.raises(ConfigError, match=r"admin.listen: .* cannot be listened on"):
            listening(f"unix:{path}", "admin.listen")
        assert path.is_socket()
    # Of a process that is gone.
    with listening(f"unix:{path}", "admin.listen") as sock, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        sock.accept()[0].close()


def test_what_the_analyzer_listens_on_leaves_no_file() -> None:
    with private_listener() as sock:
        name = sock.getsockname()
        assert isinstance(name, tuple) or name.startswith(b"\0")


async def test_an_analyzer_that_listens_on_a_port_is_reached_too(tmp_path: Path) -> None:
    """As it does where sockets need a name in the file system."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"seen: " + await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        analyzer = server.sockets[0].getsockname()
        path = tmp_path / "admin"
        listener = AdminListener(f"unix:{path}", lambda: Report(ProxyStats(), 0, False), lambda: analyzer)
        await listener.start()
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 60) == b"seen: GET /metrics HTTP/1.1\r\n\r\n"
        writer.close()
        listener.stop()


def test_a_response_that_breaks_off_before_it_began_says_so(tmp_path: Path) -> None:
    with running(tmp_path) as sidecar:
        pid = sidecar.analyzer or 0
        os.kill(pid, signal.SIGSTOP)
        with socket.create_connection(("127.0.0.1", sidecar.admin), timeout=20) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_for(lambda: sidecar.sidecar.admin._forwarded.heard_at, what="forwarding")
            os.kill(pid, signal.SIGKILL)
            assert connection.recv(100).startswith(b"HTTP/1.1 503 ")
