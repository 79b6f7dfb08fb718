"""How the data plane shows bytes to an observer, without waiting for it."""

from __future__ import annotations

from typing import Protocol

from exporter.http.http1.states import State


class ConnectionTap(Protocol):
    """Sees the bytes of one connection. Its methods are called on the data path: they only take note.

    ``b""`` stands for the end of a direction (EOF), as it does for :meth:`socket.socket.recv`.
    """

    def from_client(self, data: bytes, /) -> None:
        """Bytes that went from the client to the upstream."""

    def from_upstream(self, data: bytes, /) -> None:
        """Bytes that went from the upstream to the client."""

    def closed(self, *, client_left: bool) -> None:
        """Both directions are over, broken off by the client if it left; what is incomplete stays so."""

    def state(self) -> State:
        """Where the connection stands, asked while draining."""


class Tap(Protocol):
    """Makes one :class:`ConnectionTap` for each connection."""

    def connection_opened(self) -> ConnectionTap:
        """A client has connected."""
