"""Connecting to the upstream, why it did not work, and what the client is told then."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable

from exporter.receivers.proxy.address import Address

REASONS = {
    "refused": "refused the connection",
    "unreachable": "cannot be reached",
    "unresolved": "has a name that does not resolve",
    "open_files": "could not be asked: no open files are left to this proxy",
}
"""What a 502 says of the upstream."""

UPSTREAM_FAILURES = (*REASONS, "connect_timeout", "silent", "reset", "closed_early")
"""Why an upstream did not respond: nobody listens, no route or another socket error, its name has no
address, no file left to us for a connection, no connection within the time allowed, no first byte within
the time allowed, a connection that it broke off, or one that it ended before the end of a response."""

_STATUS_LINES = {502: b"502 Bad Gateway", 504: b"504 Gateway Timeout"}


async def connect(
    loop: asyncio.AbstractEventLoop, address: Address, factory: Callable[[], asyncio.BaseProtocol]
) -> asyncio.BaseTransport:
    """Connect to an address; a name is resolved now, and its addresses are tried in turn. An OSError is the
    last address's, or the resolver's."""
    if address.path:
        return (await loop.create_unix_connection(factory, address.path))[0]
    hosts = [address.host]
    if not _is_literal(address.host):
        found = await loop.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        hosts = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for host in hosts[:-1]:
        with contextlib.suppress(OSError):
            return (await loop.create_connection(factory, host, address.port))[0]
    return (await loop.create_connection(factory, hosts[-1], address.port))[0]


def failure_reason(error: Exception) -> str:
    """Which of :data:`UPSTREAM_FAILURES` an error of :func:`connect` is."""
    if isinstance(error, asyncio.TimeoutError):
        return "connect_timeout"
    if isinstance(error, socket.gaierror):
        return "unresolved"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "open_files"
    if isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
        return "refused"
    return "unreachable"


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def response_of_ours(status: int, reason: str) -> bytes:
    """The response with ``status`` 502 or 504; ``reason`` is a short ASCII text without line ends."""
    body = f"inference-exporter: the upstream {reason}\n".encode()
    head = b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (_STATUS_LINES[status], len(body)) + body


def speaks_http1(data: bytes | bytearray) -> bool:
    """Whether a response in HTTP/1 would be understood by a client that began with ``data``."""
    return data[:1].isalpha() and not data.startswith(b"PRI * HTTP/2")
