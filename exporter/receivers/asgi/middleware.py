"""The hook's middleware: pure ASGI, holding nothing between requests.

Every message goes on as the very object it came as, and every piece of a body before it is looked at; of
them, references are noted. (Headers that can be read but once, an iterator's, go on as a list.) Whatever
fails on our side is handed to ``on_error`` and never reaches the application or the server.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from exporter.http.exchange import Exchange
from exporter.http.paths import PathMatcher
from exporter.receivers.asgi.context import current_exchange

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_RECORDED = "inference_exporter.recorded"


class CaptureMiddleware:
    """Records the exchanges of captured paths.

    Parameters
    ----------
    app
        The application inside.
    matches
        From a path to what captures it, or None; asked with the path as the application's own routes see it,
        without the ``root_path`` that it is mounted at, and then with all of it.
    submit
        Takes each complete exchange; must not wait.
    max_body_bytes
        Of each body that is kept.
    on_startup, on_shutdown
        Called before the application starts, and after it has shut down.
    on_error
        Called inside the ``except`` block of any failure of ours.
    owner
        Whose middleware this is. An exchange that passes several of one owner's, in applications that are
        mounted in one another, is recorded once, by the outermost; by default each is its own.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        matches: PathMatcher,
        submit: Callable[[Exchange], object],
        max_body_bytes: int,
        on_startup: Callable[[], Awaitable[None]],
        on_shutdown: Callable[[], Awaitable[None]],
        on_error: Callable[[], None],
        owner: object = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.app = app
        self._matches = matches
        self._submit = submit
        self._max_body_bytes = max_body_bytes
        self._on_startup = on_startup
        self._on_shutdown = on_shutdown
        self._on_error = on_error
        self._owner = owner if owner is not None else self
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] == "http" and (exchange := self._begin(scope)) is not None:
            await self._http(exchange, scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _begin(self, scope: Scope) -> Exchange | None:
        """The record of a request, or None for one that is not captured."""
        try:
            path = scope["path"]
            root = scope.get("root_path")
            if root:
                path = within(root, path)
            if not self._matches(path) and not (root and self._matches(scope["path"])):
                return None
            recorded = scope.get(_RECORDED, ())
            if self._owner in recorded:
                return None
            scope[_RECORDED] = (*recorded, self._owner)
            headers = scope["headers"]
            if not isinstance(headers, list | tuple):
                headers = scope["headers"] = list(headers)
            return Exchange(
                scope["method"],
                path,
                scope.get("query_string", b""),
                # A copy: the application may change its own.
                tuple(headers),
                max_body_bytes=self._max_body_bytes,
                started=self._clock(),
            )
        except Exception:
            self._on_error()
            return None

    async def _http(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        done = False

        async def recording_receive() -> Message:
            message = await receive()
            try:
                if message["type"] == "http.request":
                    body = message.get("body")
                    if body:
                        exchange.request_chunk(body)
            except Exception:
                self._on_error()
            return message

        def recording_send(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.body":
                return send_body(message)
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                if not isinstance(headers, list | tuple):
                    headers = list(headers)
                    message = {**message, "headers": headers}
                try:
                    exchange.response_start(message["status"], tuple(headers))
                except Exception:
                    self._on_error()
            # Its own awaitable: a coroutine of ours around it would cost the request more than the note.
            return send(message)

        async def send_body(message: Message) -> None:
            nonlocal done
            await send(message)
            try:
                body = message.get("body")
                if body:
                    exchange.response_chunk(body)
                if not message.get("more_body") and not done:
                    done = True
                    self._finish(exchange, aborted=False)
            except Exception:
                self._on_error()

        token = current_exchange.set(exchange)
        try:
            await self.app(scope, recording_receive, recording_send)
        finally:
            current_exchange.reset(token)
            if not done:
                self._finish(exchange, aborted=True)

    def _finish(self, exchange: Exchange, *, aborted: bool) -> None:
        """Hand over what may have been a prediction."""
        try:
            exchange.finish(self._clock(), aborted=aborted)
            if exchange.predicts:
                self._submit(exchange)
        except Exception:
            self._on_error()

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_and_start() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self._on_startup()
                except Exception:
                    self._on_error()
            return message

        async def stop_and_send(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                try:
                    await self._on_shutdown()
                except Exception:
                    self._on_error()
            await send(message)

        await self.app(scope, receive_and_start, stop_and_send)


def within(root: str, path: str) -> str:
    """The path below the one that an application is mounted at, whether or not the server left it in."""
    rest = path.removeprefix(root.rstrip("/"))
    return rest if rest != path and (not rest or rest.startswith("/")) else path
