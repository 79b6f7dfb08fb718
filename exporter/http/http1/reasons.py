"""Why a connection is not followed as HTTP/1."""

from __future__ import annotations

from typing import Literal

Kind = Literal["tls", "http2", "upgrade", "malformed", "overrun", "failed"]
KINDS: tuple[Kind, ...] = ("tls", "http2", "upgrade", "malformed", "overrun", "failed")
"""Why a connection is no longer followed: it begins as TLS or HTTP/2 does, it switched protocols
(WebSocket, CONNECT), its bytes are not HTTP/1, more was under way than may be kept, or a fault of ours."""

_TLS_HANDSHAKE = 0x16


class NotFollowedError(Exception):
    """From here on the connection cannot be followed."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind)
        self.kind: Kind = kind


def kind_of(start: bytes) -> Kind:
    """What begins like this where a request should begin, and is none."""
    if start.startswith(b"\x16\x03"):
        return "tls"
    if start.startswith(b"PRI * HTTP/2"):
        return "http2"
    return "malformed"


def is_hopeless(start: bytes, max_bytes: int) -> bool:
    """Whether the start of a request's head, not empty, cannot become one of up to ``max_bytes``."""
    if start[0] == _TLS_HANDSHAKE:
        return len(start) > 1  # the second byte tells it from noise
    return not 65 <= start[0] <= 90 or len(start) > max_bytes  # methods are capital letters
