"""The two responses that the data plane gives itself, before any byte of the upstream's."""

from __future__ import annotations

_STATUS_LINES = {
    502: b"502 Bad Gateway",
    504: b"504 Gateway Timeout",
}


def response_of_ours(status: int, reason: str) -> bytes:
    """The response with ``status`` 502 or 504; ``reason`` is a short ASCII text without line ends."""
    body = f"inference-exporter: the upstream {reason}\n".encode()
    return b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
        _STATUS_LINES[status],
        len(body),
        body,
    )


def speaks_http1(data: bytes) -> bool:
    """Whether a response in HTTP/1 would be understood by a client that began with ``data``."""
    return data[:1].isalpha() and not data.startswith(b"PRI * HTTP/2")
