"""What the data plane allows itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """Bounds of the data plane. Times are in seconds.

    Parameters
    ----------
    max_connections
        Client connections at a time, as far as the limit of open files allows; further ones wait in the
        kernel's queue.
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
        For a client to read a response of ours, and for bytes under way to arrive before a reset.
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
