"""What may be posted, how much at once, and for how long."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from exporter.config import IngestConfig
from exporter.errors import IngestError
from exporter.receivers.ingest.app import IngestApp
from exporter.receivers.ingest.bodies import Bodies
from exporter.sidecar.server import ServerThread, listening
from tests.receivers.ingest.test_app import JSON, TOKEN, Client, Sink

BODY = {"value": 1}


@pytest.mark.parametrize(
    "kind",
    [
        b"text/plain",
        b"text/plain; charset=application/json",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"application/jsonp",
        b"",
    ],
)
def test_what_a_web_page_may_post_anywhere_is_refused(kind):
    client = Client()
    status, said, _ = client.post("/v1/observations", BODY, ((b"content-type", kind),))
    assert (status, said["field"]) == (415, "content-type")
    assert client.sink.observations == []


@pytest.mark.parametrize(
    "kind", [b"application/json; charset=utf-8", b"Application/JSON", b"application/a+json"]
)
def test_json_is_taken_under_any_of_its_names(kind):
    assert Client().post("/v1/observations", BODY, ((b"content-type", kind),))[0] == 202


def test_a_page_of_this_host_may_not_post_without_a_token():
    origin = (b"origin", b"http://here.example:9109")
    status, said, _ = Client().post("/v1/observations", BODY, (origin,))
    assert (status, said["field"]) == (403, "origin")
    bearer = (b"authorization", f"Bearer {TOKEN}".encode())
    assert Client(token=TOKEN).post("/v1/observations", BODY, (origin, bearer))[0] == 202


def test_the_token_is_looked_at_before_anything_else():
    client = Client(token=TOKEN, config=IngestConfig(enabled=True, max_body_bytes=10))
    headers = ((b"content-type", b"text/plain"), (b"content-length", b"1000"))
    assert client.post("/v1/observations", b"x" * 1000, headers)[0] == 401


def receiving(pieces, released: asyncio.Event) -> Request:
    """A request whose last piece is not sent before ``released``."""
    waiting = list(pieces)

    async def receive():
        if waiting:
            return {"type": "http.request", "body": waiting.pop(0), "more_body": True}
        await released.wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": [JSON]}, receive)


async def test_all_bodies_together_are_bounded_whether_they_come_or_are_worked_on():
    bodies = Bodies(max_bytes=100, timeout_seconds=10.0)
    coming, worked_on = asyncio.Event(), asyncio.Event()
    held = []

    async def handle(released: asyncio.Event) -> int:
        try:
            async with bodies.received(receiving([b"x" * 50, b"x" * 50], released)) as body:
                held.append(body)
                await worked_on.wait()
        except IngestError as error:
            return error.status
        return 200

    at_once = [asyncio.create_task(handle(coming)) for _ in range(4)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await handle(coming) == 429
    coming.set()
    while len(held) < 4:
        await asyncio.sleep(0)
    assert await handle(coming) == 429
    worked_on.set()
    assert await asyncio.gather(*at_once) == [200] * 4
    assert await handle(coming) == 200
    assert held == [b"x" * 100] * 5


async def test_a_body_that_does_not_come_is_given_up_and_let_go():
    bodies = Bodies(max_bytes=100, timeout_seconds=0.05)
    for _ in range(10):  # more than fit at once
        with pytest.raises(IngestError, match="took longer") as caught:
            async with bodies.received(receiving([b"x" * 100], asyncio.Event())):
                pass
        assert caught.value.status == 408


def test_who_does_not_send_the_rest_of_a_body_is_told_and_hung_up_on():
    app = IngestApp(IngestConfig(enabled=True), model="m", sink=Sink(), body_seconds=0.2)
    server = ServerThread(Starlette(routes=app.routes), listening("127.0.0.1:0", "admin.listen"))
    server.start()
    try:
        port = int(server.address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sender:
            sender.sendall(
                b"POST /v1/observations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                b'content-length: 100\r\n\r\n{"value": '
            )
            said = b""
            while data := sender.recv(65_536):
                said += data
    finally:
        server.stop()
    assert said.startswith(b"HTTP/1.1 408 ")


async def test_a_body_in_small_pieces_costs_its_own_size():
    bodies = Bodies(max_bytes=1 << 20, timeout_seconds=60.0)
    n = 500_000

    async def receive():
        nonlocal n
        n -= 1
        return {"type": "http.request", "body": b"%02d" % (n % 100), "more_body": n > 0}

    tracemalloc.start()
    async with bodies.received(
        Request({"type": "http", "method": "POST", "headers": [JSON]}, receive)
    ) as body:
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(body) == 1_000_000
    assert peak < 4_000_000


def test_too_many_bodies_at_once_are_asked_to_come_again(monkeypatch):
    client = Client(config=IngestConfig(enabled=True, max_body_bytes=100, retry_after=2.0))
    monkeypatch.setattr(client.ingest._bodies, "_held", 399)
    status, said, headers = client.post("/v1/observations", BODY)
    assert (status, headers[b"retry-after"]) == (429, b"2")
    assert "again" in said["error"]


@pytest.mark.parametrize(
    "document",
    [
        {f"a{index}": 0 for index in range(300_000)},
        {"features": {f"a{index}": [] for index in range(300_000)}},
        [{"features": {f"a{index}": [] for index in range(4096)}}] * 50,
        [{"embedding": ["x"] * 60_000}] * 10,
        [{"value": "x"}] * 10_000,
        [[]] * 400_000,
        {"observations": [[]] * 400_000},
    ],
    ids=["fields", "features", "wrong features", "numbers", "observations", "lists", "wrapped lists"],
)
def test_a_million_mistakes_make_one_message(document):
    client = Client()
    body = orjson.dumps(document)
    tracemalloc.start()
    orjson.loads(body)
    parsed = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    status, said, _ = client.post("/v1/observations", body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert status == 422
    assert len(said["error"]) < 400
    assert peak < parsed + 4 * len(body) + 16_000_000


@pytest.mark.parametrize("item", [b"[],", b"{},"])
def test_millions_of_lists_are_not_made(item):
    client = Client()
    body = b"[" + item * 2_500_000 + b"1]"
    tracemalloc.start()
    status, said, _ = client.post("/v1/observations", body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert status == 413
    assert "2500001 opening brackets" in said["error"]
    assert peak < 5 * len(body)
