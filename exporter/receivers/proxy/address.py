"""Where a socket listens or connects: a host and a port, or a Unix socket."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """``host`` and ``port``, or ``path`` for a Unix socket.

    ``host`` may be a name; it is resolved anew for each connection, so a service that moves is found.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``127.0.0.1:8000``, ``[::1]:8000``, ``name:8000``, ``http://name:8000`` or ``unix:/path``.

        Raises
        ------
        ValueError
            The text is none of these.
        """
        if text.startswith("unix:"):
            path = text.removeprefix("unix:").removeprefix("//")
            if path:
                return cls(path=path)
        else:
            parts = urlsplit(text if "://" in text else f"//{text}")
            try:
                port = parts.port
            except ValueError:
                port = None
            if port is None:
                port = _DEFAULT_PORTS.get(parts.scheme)
            if parts.hostname and port is not None and parts.path in ("", "/"):
                return cls(host=parts.hostname, port=port)
        raise ValueError(
            f"{text!r} is not an address: write HOST:PORT, http://HOST:PORT or unix:/path/to/socket"
        )

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
