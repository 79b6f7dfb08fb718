"""What the data plane allows itself, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field

UPSTREAM_FAILURES = ("refused", "unreachable", "unresolved", "connect_timeout", "silent", "reset")
"""Why an upstream did not answer: nobody listens, no route or another socket error, its name has no
address, no connection within the time allowed, no first byte within the time allowed, or a connection
that it broke off."""


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """Bounds of the data plane. Times are in seconds.

    Parameters
    ----------
    max_connections
        Client connections at a time; further ones wait in the kernel's queue.
    connect_seconds
        For resolving the upstream's name and connecting to it; then the client gets a 502 or 504.
    first_byte_seconds
        An upstream that has taken bytes, and is silent for so long before its first byte on this
        connection, is answered for by a 504. Later silence is left to the client, as without a proxy.
    idle_seconds
        A connection on which no byte moves for so long is closed.
    half_closed_seconds
        A connection whose upstream has ended, and on which no byte moves for so long, is closed.
    linger_seconds
        For a client to read an answer of ours, and for bytes under way to arrive before a reset.
    drain_quiet_seconds
        Without an observer, a connection is between exchanges when it has been quiet for so long.
    probe_seconds
        Between two probes of the upstream while it has no traffic; 0 for no probes.
    """

    max_connections: int = 10_000
    connect_seconds: float = 5.0
    first_byte_seconds: float = 300.0
    idle_seconds: float = 3600.0
    half_closed_seconds: float = 60.0
    linger_seconds: float = 2.0
    drain_quiet_seconds: float = 1.0
    probe_seconds: float = 2.0


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
