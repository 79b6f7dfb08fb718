"""A service with one of each sort of answer, a real server for it, and clients that keep every byte."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import uvicorn
from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

FAR = 9.0
ANSWER = {"prediction": "cat", "probability": 0.9, "value": 1.5}
Log = list[str]


class Boom(Exception):
    """What the handlers below raise."""


def create_app(log: Log, file: Path) -> FastAPI:
    """The service; ``log`` notes what its handlers lived through, in order."""
    app = FastAPI()
    number = itertools.count()

    def answer() -> dict[str, object]:
        return {**ANSWER, "embedding": [FAR, FAR + next(number)]}  # a repeat would not be tested

    @app.post("/predict")
    async def predict(request: Request) -> JSONResponse:
        log.append(f"predict {len(await request.body())}")
        return JSONResponse(answer())

    @app.post("/predict/thread")
    def thread() -> JSONResponse:
        return JSONResponse(answer(), headers={"x-served-by": "thread"})

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for index in range(5):
                yield f"piece {index} ".encode() * 50
                await asyncio.sleep(0.001)

        return StreamingResponse(pieces(), media_type="text/plain")

    @app.get("/sse")
    async def sse() -> StreamingResponse:
        async def events() -> AsyncIterator[str]:
            for index in range(4):
                yield f"event: token\ndata: {index}\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    @app.get("/file")
    async def download() -> FileResponse:
        return FileResponse(file)

    @app.head("/head")
    async def head() -> Response:
        return Response(headers={"content-length": "123", "x-method": "head"})

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> JSONResponse:
        tasks.add_task(log.append, "background ran")
        return JSONResponse({"prediction": "later"})

    @app.get("/raise")
    async def fail() -> None:
        raise Boom("before the answer")

    @app.get("/raise/midway")
    async def midway() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"the beginning"
            await asyncio.sleep(0.01)
            raise Boom("in the middle of the answer")

        return StreamingResponse(pieces())

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 64
                    await asyncio.sleep(0.001)
            finally:
                log.append("endless was cut off")

        return StreamingResponse(pieces())

    @app.post("/upload")
    async def upload(request: Request) -> JSONResponse:
        sizes = [len(piece) async for piece in request.stream()]
        return JSONResponse({"prediction": "upload", "value": sum(sizes)})

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        for _ in range(2):
            text = await socket.receive_text()
            log.append(f"ws {text}")
            await socket.send_text(text[::-1])
        await socket.close(4000, "enough")

    return app


@contextlib.contextmanager
def served(app: FastAPI) -> Iterator[int]:
    """The port of a real uvicorn that serves an app from a thread of its own."""
    config = uvicorn.Config(
        app,
        port=0,
        log_level="critical",
        date_header=False,
        server_header=False,
        ws="websockets-sansio",
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive(), "the server ended"
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(120)
        assert not thread.is_alive()


def ask(port: int, head: str, body: bytes = b"") -> bytes:
    """Every byte of the answer to one request, on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        text = f"{head} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(text.encode() + body)
        return _rest(connection)


def _rest(connection: socket.socket) -> bytes:
    received = bytearray()
    while piece := connection.recv(65536):
        received += piece
    return bytes(received)


def keep_alive(port: int) -> bytes:
    """Answers to requests that come one after the other, two of them pipelined, on one connection."""
    one = b"POST /predict HTTP/1.1\r\nhost: test\r\ncontent-length: 2\r\n\r\n{}"
    last = one.replace(b"host: test", b"host: test\r\nconnection: close")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for _ in range(12):
            connection.sendall(one)
        connection.sendall(one + last)
        return _rest(connection)


def chunked_upload(port: int) -> bytes:
    """An answer to a request whose body comes in chunks."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(
            b"POST /upload HTTP/1.1\r\nhost: test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for size in (1, 1000, 70_000):
            connection.sendall(f"{size:x}\r\n".encode() + b"y" * size + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        return _rest(connection)


def leave_early(port: int, log: Log) -> bytes:
    """The first bytes of an endless answer, from which the client then goes away."""
    before = log.count("endless was cut off")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nhost: test\r\n\r\n")
        received = bytearray()
        while len(received) < 500:
            received += connection.recv(500 - len(received))
    deadline = time.monotonic() + 20
    while log.count("endless was cut off") == before and time.monotonic() < deadline:
        time.sleep(0.005)
    return bytes(received)


def websocket(port: int) -> bytes:
    """Handshake and frames of an echo, as they came."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(
            b"GET /ws HTTP/1.1\r\nhost: test\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
        )
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(4096)
        for text in (b"hello", b"again"):
            mask = os.urandom(4)
            masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(text))
            connection.sendall(bytes([0x81, 0x80 | len(text)]) + mask + masked)
        while b"enough" not in received:
            received += connection.recv(4096)
    return re.sub(rb"(?im)^date: .*\r\n", b"", received)


def everything(port: int, log: Log) -> dict[str, bytes]:
    """What each sort of request brings, byte for byte."""
    requests: dict[str, Callable[[], bytes]] = {
        "json": lambda: ask(port, "POST /predict", b'{"x": 1}'),
        "not json": lambda: ask(port, "POST /predict", b"\xff\x00 not json"),
        "sync endpoint": lambda: ask(port, "POST /predict/thread"),
        "keep-alive": lambda: keep_alive(port),
        "stream": lambda: ask(port, "GET /stream"),
        "sse": lambda: ask(port, "GET /sse"),
        "file": lambda: ask(port, "GET /file"),
        "file range": lambda: ask(port, "GET /file HTTP/1.1\r\nrange: bytes=10-19\r\nx:"),
        "head": lambda: ask(port, "HEAD /head"),
        "background": lambda: ask(port, "GET /background"),
        "upload": lambda: chunked_upload(port),
        "exception": lambda: ask(port, "GET /raise"),
        "exception midway": lambda: ask(port, "GET /raise/midway"),
        "disconnect": lambda: leave_early(port, log),
        "websocket": lambda: websocket(port),
        "not found": lambda: ask(port, "GET /nowhere"),
        "wrong method": lambda: ask(port, "GET /predict"),
    }
    answers = {name: request() for name, request in requests.items()}
    answers["log"] = "\n".join(log).encode()
    return answers
