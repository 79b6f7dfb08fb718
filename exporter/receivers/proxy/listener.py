"""The socket that clients connect to."""

from __future__ import annotations

import contextlib
import resource
import socket
from pathlib import Path

from exporter.receivers.proxy.address import Address

_BACKLOG = 4096


def listening_socket(address: Address) -> socket.socket:
    """A socket that listens on ``address`` and does not block.

    Raises
    ------
    OSError
        The address is in use, not ours or not allowed.
    """
    if address.path:
        _remove_stale(address.path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(address.path)
            sock.listen(_BACKLOG)
        except OSError:
            sock.close()
            raise
    else:
        family, _, _, _, name = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.create_server((str(name[0]), address.port), family=family, backlog=_BACKLOG)
    sock.setblocking(False)
    return sock


def _remove_stale(path: str) -> None:
    """Remove the socket file of a process that is gone; one that is served stays and is an error."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
        except OSError:
            return


def allow_open_files(wanted: int) -> None:
    """Raise the soft limit of open files towards ``wanted``, as far as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
