"""A kept HTTP connection to a collector, over TCP or a Unix socket."""

from __future__ import annotations

import http.client
import socket
from urllib.parse import urlsplit

from exporter.errors import ConfigError

_MAX_ANSWER_BYTES = 65_536


class Connector:
    """Posts over one connection, made when it is needed and made again when it was lost.

    Parameters
    ----------
    url
        ``http://HOST:PORT``, ``https://HOST:PORT`` or ``unix:/path/to/socket``.
    timeout_seconds
        For connecting, and for each wait for bytes of the answer.

    Raises
    ------
    ConfigError
        If the URL is of neither form.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self.url = url
        self._timeout_seconds = timeout_seconds
        self._connection: http.client.HTTPConnection | None = None
        self._unix = url.removeprefix("unix:") if url.startswith("unix:") else None
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        valid = bool(self._unix) if self._unix is not None else parts.scheme in ("http", "https")
        if not valid or (self._unix is None and (not parts.hostname or port == -1 or parts.query)):
            raise ConfigError(
                f"collector: {url!r} is not a collector's address; "
                "give http://HOST:PORT, https://HOST:PORT or unix:/path/to/socket"
            )
        self._host, self._port, self._secure = parts.hostname or "", port, parts.scheme == "https"
        self._prefix = "" if self._unix is not None else parts.path.rstrip("/")

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Post a body; returns the answer's status, headers (names in lower case) and body.

        Raises
        ------
        OSError, http.client.HTTPException
            If there is no answer, or none of the ingest API's kind.
        """
        fresh = self._connection is None
        connection = self._connection or self._connect()
        try:
            try:
                connection.request("POST", self._prefix + path, body, headers)
                answer = connection.getresponse()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                if fresh:
                    raise
                # The collector had closed an idle connection; the key makes a repeat harmless.
                self.forget()
                connection = self._connect()
                connection.request("POST", self._prefix + path, body, headers)
                answer = connection.getresponse()
            data = answer.read(_MAX_ANSWER_BYTES)
            if answer.read(1):
                raise http.client.HTTPException("the answer is longer than the ingest API's are")
        except BaseException:
            self.forget()
            raise
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, data

    def forget(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self._unix is not None:
            self._connection = _UnixConnection(self._unix, self._timeout_seconds)
        elif self._secure:
            self._connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_seconds
            )
        else:
            self._connection = http.client.HTTPConnection(
                self._host, self._port, timeout=self._timeout_seconds
            )
        return self._connection


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
