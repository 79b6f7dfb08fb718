"""What the data plane counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from exporter.receivers.proxy.upstream import UPSTREAM_FAILURES


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
    responded_502: int = 0
    responded_504: int = 0
    client_resets: int = 0
    closed_idle: int = 0
    closed_drained: int = 0
    accept_paused: int = 0
    tap_failures: int = 0
    upstream_up: bool = False
    upstream_error: str = "not probed yet"
