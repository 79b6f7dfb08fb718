"""Where an HTTP/1 connection stands, why it may not be followed any more, and how much may be held."""

from __future__ import annotations

from typing import Literal

State = Literal["UNKNOWN", "IDLE", "SEND_BODY", "DONE", "MUST_CLOSE", "SWITCHED_PROTOCOL", "ERROR"]
"""Where a connection stands, in h11's words for its client: ``IDLE`` between transactions, ``SEND_BODY``
while a request is incomplete, ``DONE`` while a complete one waits for the end of its response,
``MUST_CLOSE`` after the last one, ``SWITCHED_PROTOCOL`` and ``ERROR`` when it is followed no longer, and
``UNKNOWN`` while bytes are still unread."""

UNFOLLOWED: frozenset[State] = frozenset({"SWITCHED_PROTOCOL", "ERROR"})

Reason = Literal["tls", "http2", "upgrade", "malformed", "overrun", "failed"]
UNOBSERVED_REASONS: tuple[Reason, ...] = ("tls", "http2", "upgrade", "malformed", "overrun", "failed")
"""Why a connection is no longer followed: it begins as TLS or HTTP/2 does, it switched protocols
(WebSocket, CONNECT), its bytes are not HTTP/1, more was under way than may be kept, or a fault of ours."""

_TLS_HANDSHAKE = 0x16


class NotFollowedError(Exception):
    """From here on the connection cannot be followed."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def reason_for(start: bytes | bytearray) -> Reason:
    """What begins like this where a request should begin, and is none."""
    if start.startswith(b"\x16\x03"):
        return "tls"
    if start.startswith(b"PRI * HTTP/2"):
        return "http2"
    return "malformed"


def is_hopeless(start: bytes | bytearray, max_bytes: int) -> bool:
    """Whether the start of a request's head, not empty, cannot become one of up to ``max_bytes``."""
    if start[0] == _TLS_HANDSHAKE:
        return len(start) > 1  # the second byte tells it from noise
    return not 65 <= start[0] <= 90 or len(start) > max_bytes  # methods are capital letters


class Account:
    """All that the followers of one thread hold, ``n_bytes`` now and ``max_bytes`` at most: parsed heads at
    what they take once parsed, copies of bodies, and the incomplete starts of heads and lines.

    A body that finds no room is not copied. Anything else that finds none ends the following of its
    connection: bodies leave a quarter of the room to it, so that long uploads push nobody out.
    """

    __slots__ = ("_max_for_bodies", "max_body_bytes", "max_bytes", "n_bytes")

    def __init__(self, max_bytes: int, max_body_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.max_body_bytes = max_body_bytes
        self.n_bytes = 0
        self._max_for_bodies = max_bytes - max_bytes // 4

    def has_room_for_body(self, n_bytes: int) -> bool:
        """Whether a body of ``n_bytes`` may be copied."""
        return n_bytes <= self.max_body_bytes and self.n_bytes + n_bytes <= self._max_for_bodies

    def take(self, n_bytes: int) -> None:
        """Hold so many bytes more, or fewer; :class:`NotFollowedError`, "overrun", if there is no room."""
        if n_bytes > 0 and self.n_bytes + n_bytes > self.max_bytes:
            raise NotFollowedError("overrun")
        self.n_bytes += n_bytes
