"""Where a socket listens or connects: a host and a port, or a Unix socket."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SCHEMES = ("", *_DEFAULT_PORTS)


@dataclass(frozen=True, slots=True)
class Address:
    """``host`` and ``port``, or ``path`` for a Unix socket. ``host`` may be a name; it is resolved anew for
    each connection, so a service that moves is found."""

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
            with suppress(ValueError):  # a port that is no number, or beyond 65535
                parts = urlsplit(text if "://" in text else f"//{text}")
                port = parts.port
                # An empty port is a variable that was not filled in, and not the default.
                if port is None and not parts.netloc.endswith(":"):
                    port = _DEFAULT_PORTS.get(parts.scheme)
                if parts.hostname and port is not None and parts.scheme in _SCHEMES and _is_bare(parts):
                    return cls(host=parts.hostname, port=port)
        raise ValueError(
            f"{text!r} is not an address: write HOST:PORT, http://HOST:PORT or unix:/path/to/socket"
        )

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _is_bare(parts: SplitResult) -> bool:
    """Whether there is nothing but a host and a port."""
    return parts.path in ("", "/") and not (parts.query or parts.fragment or "@" in parts.netloc)
