"""What the data plane allows itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """Bounds of the data plane. Times are in seconds."""

    # Client connections at a time, as far as the limit of open files allows; further ones wait in the
    # kernel's queue.
    max_connections: int = 10_000
    # For resolving the upstream's name and connecting to it; then the client gets a 502 or 504.
    connect_seconds: float = 5.0
    # An upstream that has taken bytes, and is silent for so long before its first byte on this connection,
    # is answered for by a 504. Later silence is left to the client, as without a proxy.
    first_byte_seconds: float = 300.0
    # A connection on which no byte moves for so long is closed,
    idle_seconds: float = 3600.0
    # and one whose upstream has ended earlier.
    half_closed_seconds: float = 60.0
    # For a client to read a response of ours, and for bytes under way to arrive before a reset.
    linger_seconds: float = 2.0
    # Without an observer, a connection is between exchanges when it has been quiet for so long.
    drain_quiet_seconds: float = 1.0
    # Between two probes of the upstream while it has no traffic; 0 for no probes.
    probe_seconds: float = 2.0
