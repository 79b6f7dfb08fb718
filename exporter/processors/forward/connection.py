"""A kept HTTP connection to a collector, over TCP or a Unix socket."""

from __future__ import annotations

import http.client
import socket
from urllib.parse import urlsplit

_MAX_RESPONSE_BYTES = 65_536


class Connection:
    """Posts over one connection, made when it is needed and made again when it was lost.

    Parameters
    ----------
    url
        As the configuration takes it: ``http://HOST:PORT``, ``https://HOST:PORT`` or ``unix:/path``.
    timeout_seconds
        For connecting, and for each wait for bytes of the response.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self.url = url
        self._prefix = ""
        self._connection: http.client.HTTPConnection
        if url.startswith("unix:"):
            self._connection = _UnixConnection(url.removeprefix("unix:"), timeout_seconds)
            return
        parts = urlsplit(url)
        connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = connection(parts.hostname or "", parts.port, timeout=timeout_seconds)
        self._prefix = parts.path.rstrip("/")

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Post a body; returns the response's status, headers (names in lower case) and body.

        Raises
        ------
        OSError, http.client.HTTPException
            If there is no response, or none that the ingest API would give.
        """
        is_new = self._connection.sock is None
        try:
            try:
                return self._post(path, body, headers)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                if is_new:
                    raise
                # The collector had closed an idle connection; the key makes a repeat harmless.
                self.close()
                return self._post(path, body, headers)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it, if it is open."""
        self._connection.close()

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        self._connection.request("POST", self._prefix + path, body, headers)
        response = self._connection.getresponse()
        data = response.read(_MAX_RESPONSE_BYTES)
        if response.read(1):
            raise http.client.HTTPException("the response is longer than the ingest API's are")
        return response.status, {name.lower(): value for name, value in response.getheaders()}, data


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
