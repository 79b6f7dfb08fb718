"""Forwarding the way people write it: an ASGI app that asks the upstream through an HTTP client.

Run by ``benchmarks.proxy`` under uvicorn, one process: ``aiohttp_app`` and ``fastapi_app``.
"""

from __future__ import annotations

import os
from typing import Any

import aiohttp
import httpx
from fastapi import FastAPI, Request, Response

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8000")
HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"host", b"content-length"}


class AiohttpApp:
    """Pure ASGI over aiohttp's client with its connection pool."""

    def __init__(self) -> None:
        self.session: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self.session.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {k.decode(): v.decode() for k, v in scope["headers"] if k not in HOP_BY_HOP}
        url = UPSTREAM + scope["path"]
        async with self.session.request(scope["method"], url, data=body, headers=headers) as answer:
            content = await answer.read()
            raw = [(k.lower(), v) for k, v in answer.raw_headers if k.lower() not in HOP_BY_HOP]
            raw.append((b"content-length", str(len(content)).encode()))
            await send({"type": "http.response.start", "status": answer.status, "headers": raw})
            await send({"type": "http.response.body", "body": content})


aiohttp_app = AiohttpApp()


def fastapi_app() -> FastAPI:
    """FastAPI over httpx's client with its connection pool."""
    app = FastAPI()
    client = httpx.AsyncClient(limits=httpx.Limits(max_connections=None, max_keepalive_connections=64))

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def forward(path: str, request: Request) -> Response:
        headers = [(k, v) for k, v in request.headers.raw if k not in HOP_BY_HOP]
        answer = await client.request(
            request.method, f"{UPSTREAM}/{path}", content=await request.body(), headers=headers
        )
        return Response(answer.content, answer.status_code, {"content-type": answer.headers["content-type"]})

    return app
