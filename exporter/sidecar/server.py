"""An ASGI application served from a thread of its own.

The admin listener must not share the data plane's event loop: rendering a large scrape takes
milliseconds, and no client of the service may wait for them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import Any

from exporter.errors import ConfigError

_START_SECONDS = 10.0


class ServerThread:
    """Serves ``app`` with uvicorn on a background thread.

    Parameters
    ----------
    app
        Any ASGI application.
    listen
        ``HOST:PORT`` (0 takes a free port) or ``unix:/path``.
    key
        The configuration key that gave ``listen``, for error messages.

    Raises
    ------
    ConfigError
        If the address cannot be listened on; nothing runs then.
    """

    def __init__(self, app: Any, listen: str, *, key: str) -> None:
        import uvicorn

        self._path = Path(listen.removeprefix("unix:")) if listen.startswith("unix:") else None
        self._socket = _bound(listen, key)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run,
            kwargs={"sockets": [self._socket]},
            name="inference-exporter-admin",
            daemon=True,
        )

    @property
    def address(self) -> str:
        """Where it listens, with the port that was taken."""
        if self._path is not None:
            return f"unix:{self._path}"
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def start(self) -> None:
        """Start, and wait until connections are taken."""
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)

    def stop(self) -> None:
        """Answer what is under way, and stop."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_START_SECONDS)
        self._socket.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _bound(listen: str, key: str) -> socket.socket:
    try:
        if listen.startswith("unix:"):
            path = listen.removeprefix("unix:")
            with contextlib.suppress(FileNotFoundError):
                if Path(path).is_socket():
                    Path(path).unlink()
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.bind(path)
            return sock
        host, _, port = listen.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host.strip("[]"), int(port)), family=family)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            f"{key}: {listen!r} cannot be listened on ({reason}); give a free address of this host, HOST:PORT"
        ) from error
