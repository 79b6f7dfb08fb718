"""Listening, and an ASGI application served from a thread of its own."""

from __future__ import annotations

import socket
import sys
import threading
import time
from typing import Any

from exporter.errors import ConfigError
from exporter.receivers.proxy.address import Address
from exporter.receivers.proxy.listener import listening_socket

_START_SECONDS = 10.0


class ServerThread:
    """Serves an ASGI application on a socket that listens, until :meth:`stop`, which closes it."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        import uvicorn

        self.listener = listener
        # h11, since the other one takes heads of any length.
        config = uvicorn.Config(app, http="h11", log_level="warning", access_log=False, lifespan="off")
        config.timeout_graceful_shutdown = 2
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="inference-exporter-admin", daemon=True
        )

    @property
    def address(self) -> str:
        """Where it listens, with the port that was taken."""
        return address_of(self.listener)

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
        self.listener.close()


def listening(listen: str, key: str) -> socket.socket:
    """A socket that listens on ``HOST:PORT`` (0 takes a free port) or ``unix:/path``; else a ConfigError."""
    try:
        return listening_socket(Address.parse(listen))
    except OSError as error:
        raise cannot_listen(key, listen, error) from error


def address_of(listener: socket.socket) -> str:
    """Where a socket listens, as it is written in a configuration."""
    name = listener.getsockname()
    return str(Address(*name[:2]) if isinstance(name, tuple) else Address(path=name))


def cannot_listen(key: str, listen: str, error: OSError) -> ConfigError:
    """What to say where the address that ``key`` gives cannot be listened on."""
    return ConfigError(
        f"{key}: {listen!r} cannot be listened on ({error.strerror or error}); "
        "give a free address of this host, HOST:PORT"
    )


def private_listener() -> socket.socket:
    """A socket that this host alone can reach, and that leaves no file behind."""
    if sys.platform != "linux":
        return socket.create_server(("127.0.0.1", 0))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(b"")  # a name of the kernel's choosing
    listener.listen()
    return listener
