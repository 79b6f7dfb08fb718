"""The receiver around a WSGI application, Flask or Django: a request is noted on its way, and not held up.

Every piece of a response is what the application gave, and goes on when it gave it. Of the request's body is
copied what the application reads, when it reads it. Whatever fails on our side is handed to ``on_error``, and
never reaches the application or the server.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry

from exporter.http.exchange import Exchange
from exporter.http.paths import PathMatcher
from exporter.metrics.contract import method_label
from exporter.metrics.http_instruments import HttpInstruments
from exporter.receivers.asgi.context import current_exchange
from exporter.receivers.scrape import Render, StartResponse, scrape_response
from exporter.receivers.wsgi_input import NotedInput

log = logging.getLogger(__name__)

Environ = dict[str, Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

_INPUT = "wsgi.input"
_COUNTED = "inference_exporter.counted"
_NO_HANDLER = "none"


class CaptureWsgi:
    """Records the exchanges of captured paths, and counts all requests.

    Parameters
    ----------
    app
        The application inside.
    matches
        From a path to what captures it, or None; asked with the path as the application's own routes see it,
        and then with the ``SCRIPT_NAME`` that it is mounted at.
    submit
        Takes each complete exchange; must not wait.
    max_body_bytes
        Of each body that is kept.
    on_error
        Called inside the ``except`` block of any failure of ours.
    instruments
        Where requests are counted, under the pattern that captures their path; each once, by the outermost.
    registry
        What ``instruments`` stand on.
    scrape
        A path, and what a scrape there gets; None leaves all paths to the application.
    alone
        Whether a scrape sees this process alone: where the server has several, the log says so once.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        app: WsgiApp,
        *,
        matches: PathMatcher,
        submit: Callable[[Exchange], object],
        max_body_bytes: int,
        on_error: Callable[[], None],
        instruments: HttpInstruments,
        registry: CollectorRegistry,
        scrape: tuple[str, Render] | None = None,
        alone: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.app = app
        self.on_error = on_error
        self.clock = clock
        self._matches = matches
        self._submit = submit
        self._max_body_bytes = max_body_bytes
        self._instruments = instruments
        self._registry = registry
        self._scrape = scrape
        self._alone = alone

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        scrape = self._scrape
        if scrape and _path(environ) == scrape[0] and environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return scrape_response(scrape[1], environ, start_response)
        try:
            request = self._begin(environ)
        except Exception:
            self.on_error()
            return self.app(environ, start_response)
        return request.run(environ, start_response)

    def finished(self, request: _Request) -> None:
        """Count a request, and hand over what may have been a prediction."""
        exchange, now = request.exchange, self.clock()
        if request.counts:
            self._instruments.count(
                request.handler,
                method_label(request.method),
                f"{request.status // 100 or 5}xx",
                seconds=max(0.0, now - request.started),
                request_bytes=request.request_bytes,
                response_bytes=request.response_bytes,
            )
        if exchange is not None:
            exchange.finish(now, aborted=request.aborted)
            if exchange.predicts:
                self._submit(exchange)

    def _begin(self, environ: Environ) -> _Request:
        if self._alone and environ.get("wsgi.multiprocess"):
            self._alone = False
            log.warning(
                "the server has several processes, and each counts and tests its own requests alone: a "
                "scrape shows whichever answers it. Set PROMETHEUS_MULTIPROC_DIR to an empty folder, or "
                "collector to the address of a sidecar (said once)"
            )
        path = _path(environ)
        pattern = self._matches(path)
        if pattern is None and (root := environ.get("SCRIPT_NAME")):
            pattern = self._matches(_text(root) + path)
        counted = environ.get(_COUNTED, ())
        counts = self._registry not in counted
        if counts:
            environ[_COUNTED] = (*counted, self._registry)
        method, now = environ["REQUEST_METHOD"], self.clock()
        exchange = None
        if pattern is not None:
            exchange = Exchange(
                method,
                path,
                environ.get("QUERY_STRING", "").encode("latin-1", "replace"),
                tuple(_headers(environ)),
                max_body_bytes=self._max_body_bytes,
                started=now,
            )
        return _Request(self, exchange, pattern or _NO_HANDLER, method, now, counts=counts)


class _Request:
    """One request on its way through the application."""

    def __init__(
        self,
        capture: CaptureWsgi,
        exchange: Exchange | None,
        handler: str,
        method: str,
        started: float,
        *,
        counts: bool,
    ) -> None:
        self.exchange = exchange
        self.handler = handler
        self.method = method
        self.started = started
        self.counts = counts
        self.status = 0
        self.request_bytes = self.response_bytes = 0
        self.aborted = False
        self._capture = capture
        self._length: int | None = None
        self._finished = False

    def run(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Call the application; what it returns, or something that passes it on."""

        def noting_start_response(status: str, headers: Any, *exc_info: Any) -> Any:
            write = start_response(status, headers, *exc_info)
            self._started(status, headers)

            def noting_write(data: bytes) -> None:
                write(data)
                self.sent(data)

            return noting_write

        if self.counts or self.exchange is not None:
            self.request_bytes = _length(environ.get("CONTENT_LENGTH"))
        if self.exchange is not None and (stream := environ.get(_INPUT)) is not None:
            environ[_INPUT] = NotedInput(stream, self._read)
        try:
            result: Iterable[bytes] = self.within(lambda: self._capture.app(environ, noting_start_response))
        except BaseException:
            self.finish(aborted=True)
            raise
        wrapper: Any = environ.get("wsgi.file_wrapper")
        is_file = isinstance(wrapper, type) and isinstance(result, wrapper)
        if is_file:
            # The server knows it by its class, and sends the file itself.
            self.response_bytes = self._length or 0
            self.finish(aborted=True)
            return result
        if hasattr(result, "__len__"):
            return _SizedResponse(result, self)
        return _Response(result, self)

    def within(self, call: Callable[[], Any]) -> Any:
        """Call with this request as the one that ``observe()`` speaks to."""
        if self.exchange is None:
            return call()
        token = current_exchange.set(self.exchange)
        try:
            return call()
        finally:
            current_exchange.reset(token)

    def sent(self, data: bytes) -> None:
        """Note a piece of the response."""
        try:
            self.response_bytes += len(data)
            if data and self.exchange is not None:
                self.exchange.response_chunk(bytes(data))
        except Exception:
            self._capture.on_error()

    @property
    def is_whole(self) -> bool:
        """Whether as much was sent as was announced."""
        return self._length is not None and self.response_bytes >= self._length

    def finish(self, *, aborted: bool) -> None:
        """Hand the request over, once."""
        if self._finished:
            return
        self._finished = True
        self.aborted = aborted
        try:
            self._capture.finished(self)
        except Exception:
            self._capture.on_error()

    def _started(self, status: str, headers: Any) -> None:
        try:
            self.status = int(status[:3])
            plain = tuple(
                (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
            )
            length = dict(plain).get(b"content-length")
            self._length = None if length is None else _length(length.decode("latin-1"))
            if self.exchange is not None:
                self.exchange.response_start(self.status, plain)
        except Exception:
            self._capture.on_error()

    def _read(self, data: Any) -> None:
        try:
            if data and self.exchange is not None:
                self.exchange.request_chunk(bytes(data))
        except Exception:
            self._capture.on_error()


class _Response:
    """What an application returned, piece by piece as the server asks for it."""

    def __init__(self, result: Iterable[bytes], request: _Request) -> None:
        self._result = result
        self._request = request
        self._pieces: Iterator[bytes] | None = None
        self._n_taken = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        request = self._request
        try:
            if self._pieces is None:
                self._pieces = request.within(lambda: iter(self._result))
            pieces = self._pieces
            data: bytes = request.within(lambda: next(pieces))
        except StopIteration:
            request.finish(aborted=False)
            raise
        except BaseException:
            request.finish(aborted=True)
            raise
        self._n_taken += 1
        request.sent(data)
        return data

    def close(self) -> None:
        """Close what the application returned; it need not have been asked for all of it."""
        close = getattr(self._result, "close", None)
        try:
            if close is not None:
                self._request.within(close)
        finally:
            self._request.finish(aborted=not (self._request.is_whole or self._is_through()))

    def _is_through(self) -> bool:
        return False


class _SizedResponse(_Response):
    """One whose number of pieces is known, from which servers conclude how long the response is."""

    def __len__(self) -> int:
        return len(self._result)  # type: ignore[arg-type]

    def _is_through(self) -> bool:
        return self._n_taken >= len(self)


def _path(environ: Environ) -> str:
    return _text(environ.get("PATH_INFO", ""))


def _text(value: str) -> str:
    """WSGI has bytes as text of their numbers; what they spell is what a path is."""
    return value if value.isascii() else value.encode("latin-1", "replace").decode("utf-8", "replace")


def _headers(environ: Environ) -> Iterator[tuple[bytes, bytes]]:
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            name = key[5:]
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            name = key
        else:
            continue
        yield name.lower().replace("_", "-").encode("latin-1"), value.encode("latin-1", "replace")


def _length(value: Any) -> int:
    """What a message says of its own length; 0 where it says nothing, or nonsense."""
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < 20 else 0
