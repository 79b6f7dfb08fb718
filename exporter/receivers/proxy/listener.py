"""The socket that clients connect to."""

from __future__ import annotations

import contextlib
import logging
import resource
import socket
from pathlib import Path

from exporter.receivers.proxy.address import Address

logger = logging.getLogger(__name__)

_BACKLOG = 4096
_FILES_PER_CONNECTION = 2
_SPARE_FILES = 128  # for everything else: probes, names that are looked up, the analyzer


def listening_socket(address: Address) -> socket.socket:
    """A socket that listens on ``address`` and does not block; OSError if the address is in use, not ours or
    not allowed."""
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


def connections_allowed(wanted: int) -> int:
    """How many client connections the limit of open files leaves room for, ``wanted`` at most.

    The soft limit is raised as far as the hard one allows. Whoever comes beyond it waits in the kernel's
    queue, as one who was accepted and could not be served would get an error.
    """
    needed = _FILES_PER_CONNECTION * wanted + _files_open() + _SPARE_FILES
    soft = allow_open_files(needed)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        logger.info("up to %d connections at a time", wanted)
        return wanted
    spare = min(_SPARE_FILES, soft // 4)
    allowed = min(wanted, max(1, (soft - _files_open() - spare) // _FILES_PER_CONNECTION))
    logger.warning(
        "up to %d connections at a time instead of %d, since only %d open files are allowed: raise the limit "
        "(ulimit -n)",
        *(allowed, wanted, soft),
    )
    return allowed


def allow_open_files(wanted: int) -> int:
    """Raise the soft limit of open files towards ``wanted``, as far as may be; gives what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            return limit
    return soft


def _files_open() -> int:
    """How many files this process has open."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            return len(list(Path(folder).iterdir()))
    return _SPARE_FILES
