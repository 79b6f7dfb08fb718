"""What the data plane counts."""

from __future__ import annotations

from dataclasses import dataclass, field

UPSTREAM_FAILURES = (
    "refused",
    "unreachable",
    "unresolved",
    "connect_timeout",
    "open_files",
    "silent",
    "reset",
    "closed_early",
)
"""Why an upstream did not respond: nobody listens, no route or another socket error, its name has no
address, no connection within the time allowed, no file left to us for a connection, no first byte within
the time allowed, a connection that it broke off, or one that it ended before the end of a response."""


@dataclass(slots=True)
class ProxyStats:
    """Counts since the start, except ``open``. Byte counts lag behind by up to a second.

    Written by the event loop only; any thread may read.
    """

    opened: int = 0
    open: int = 0
    bytes_from_client: int = 0
    bytes_from_upstream: int = 0
    upstream_failures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(UPSTREAM_FAILURES, 0))
    answered_502: int = 0
    answered_504: int = 0
    client_resets: int = 0
    closed_idle: int = 0
    closed_drained: int = 0
    accept_paused: int = 0
    tap_failures: int = 0
    upstream_up: bool = False
    upstream_error: str = "not probed yet"
