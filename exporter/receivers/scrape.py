"""``/metrics`` without a web framework: for a WSGI application, and for a process that has no server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from exporter.errors import ConfigError
from exporter.version import __version__

Render = Callable[[str], tuple[str, bytes]]
"""From the ``Accept`` header to content type and body of a scrape."""
StartResponse = Callable[..., Any]

_CLIENT_SECONDS = 30
_PAGE = (
    b"<!doctype html><html lang=en><title>inference-exporter</title><h1>inference-exporter %s</h1>"
    b"<p><a href=/metrics>Metrics</a></html>\n" % __version__.encode()
)


def scrape_response(render: Render, environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Respond to a scrape."""
    content_type, body = render(environ.get("HTTP_ACCEPT", ""))
    start_response("200 OK", [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


class MetricsServer:
    """Serves ``/metrics``, ``/-/healthy`` and a small page at ``/``, from threads of its own, until closed.

    Parameters
    ----------
    render
        What a scrape gets.
    host, port
        Where to listen; port 0 is a free one.

    Raises
    ------
    ConfigError
        If nobody can listen there.
    """

    def __init__(self, render: Render, host: str, port: int) -> None:
        self._render = render
        try:
            self._server = _Server((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"serve: nobody can listen on {host}:{port} ({error}); give another port, or 0 for a free one"
            ) from error
        self._server.set_app(self._respond)
        self.host = host
        self.port: int = self._server.server_port
        thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="inference-exporter-scrape", daemon=True
        )
        thread.start()

    @property
    def url(self) -> str:
        """Where the metrics are."""
        return f"http://{self.host}:{self.port}/metrics"

    def close(self) -> None:
        """Listen no more; may be called again."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _respond(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            status, kind, body = "405 Method Not Allowed", "text/plain", b"GET or HEAD\n"
        elif path == "/metrics":
            return scrape_response(self._render, environ, start_response)
        elif path == "/-/healthy":
            status, kind, body = "200 OK", "text/plain", b"OK\n"
        elif path == "/":
            status, kind, body = "200 OK", "text/html", _PAGE
        else:
            status, kind, body = "404 Not Found", "text/plain", b"see /metrics\n"
        headers = [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [b"" if method == "HEAD" else body]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_address = True

    def server_bind(self) -> None:
        # Not by HTTPServer, which asks the system's resolver for the name of the address.
        import socketserver

        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[0], self.server_address[1]  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is nobody's concern."""


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name above
        """Say nothing: scrapes are no events."""
