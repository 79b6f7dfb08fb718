"""Content encodings undone, with a cap on what comes out: a small body can decode to gigabytes."""

from __future__ import annotations

import importlib
import re
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

from exporter.errors import PayloadError, unreadable

MAX_LAYERS = 3
MAX_MEMBERS = 4096
_PIECE_BYTES = 16 * 1024
_ZEROS = re.compile(rb"\0*")
_ZSTD_WINDOW = 8 * 1024 * 1024  # the most that RFC 9659 lets a sender of content use


def decode(body: bytes, content_encoding: bytes, max_bytes: int) -> bytes:
    """Undo a ``content-encoding`` header (RFC 9110, section 8.4), the encoding applied last first.

    At no moment are more than ``max_bytes`` + 1 decoded bytes of a layer held. The header names ``gzip``,
    ``deflate``, ``br``, ``zstd``, ``identity``, or up to ``MAX_LAYERS`` of them separated by commas.

    Raises
    ------
    PayloadError
        ``body_too_large`` beyond the cap; ``unreadable`` for data that is not what the header says or
        has more than ``MAX_MEMBERS`` gzip or zlib members, an unknown encoding, or one whose library is
        not installed.
    """
    names = [name for part in content_encoding.lower().split(b",") if (name := part.strip())]
    if len(names) > MAX_LAYERS:
        raise unreadable(f"content-encoding has {len(names)} layers; at most {MAX_LAYERS} are undone")
    for name in reversed(names):
        if name == b"identity":
            continue
        decoder = _DECODERS.get(name)
        if decoder is None:
            known = ", ".join(key.decode() for key in _DECODERS)
            raise unreadable(f"content-encoding {name[:32]!r} is not one of {known}")
        body = decoder(body, max_bytes)
        if len(body) > max_bytes:
            raise PayloadError("body_too_large", f"body decodes to more than max_body_bytes ({max_bytes})")
    return body


def _inflate(body: bytes, max_bytes: int, *, wbits: int, name: str) -> bytes:
    """Inflate all members of a body, stopping one byte beyond the cap.

    What zlib leaves unused behind the end of a member is a copy. Pieces of ``_PIECE_BYTES`` bound it,
    since a body can be all ends; ``MAX_MEMBERS`` bounds how often it is made.
    """
    view = memoryview(body)
    parts: list[bytes] = []
    room = max_bytes + 1
    position = members = 0
    try:
        while position < len(view) and room > 0:
            members += 1
            if members > MAX_MEMBERS:
                raise unreadable(f"body has more than {MAX_MEMBERS} {name} members")
            decoder = zlib.decompressobj(wbits)
            while not decoder.eof and room > 0:
                piece = view[position : position + _PIECE_BYTES]
                if not piece:
                    raise unreadable(f"body ends in the middle of its {name} data")
                data = decoder.decompress(piece, room)
                position += len(piece) - len(decoder.unused_data)
                parts.append(data)
                room -= len(data)
            padding = _ZEROS.match(body, position)
            position = padding.end() if padding is not None else position
    except zlib.error as error:
        raise unreadable(f"body is not valid {name}: {error}") from None
    return b"".join(parts)


def _deflate(body: bytes, max_bytes: int) -> bytes:
    """Zlib data, as the RFC has it, or the bare deflate stream that some servers send instead."""
    wrapped = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    wbits = zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS
    return _inflate(body, max_bytes, wbits=wbits, name="deflate")


def _brotli(body: bytes, max_bytes: int) -> bytes:
    brotli = _library("brotli", "br")
    decoder = brotli.Decompressor()
    parts: list[bytes] = []
    room = max_bytes + 1
    try:
        while room > 0 and not decoder.is_finished():
            data = decoder.process(body, output_buffer_limit=room)
            if not data and not body:
                raise unreadable("body ends in the middle of its br data")
            body = b""
            parts.append(data)
            room -= len(data)
    except (brotli.error, TypeError) as error:
        raise unreadable(f"body is not valid br: {error}") from None
    return b"".join(parts)


def _zstd(body: bytes, max_bytes: int) -> bytes:
    zstandard = _library("zstandard", "zstd")
    decoder = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    try:
        with decoder.stream_reader(body, read_across_frames=True) as reader:
            return bytes(reader.read(max_bytes + 1))
    except zstandard.ZstdError as error:
        raise unreadable(f"body is not valid zstd: {error}") from None


def _library(module: str, encoding: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        needed = f"body is encoded as {encoding}, which needs the package {module}"
        raise unreadable(f"{needed}; install inference-exporter[encodings]") from None


_gzip = partial(_inflate, wbits=16 + zlib.MAX_WBITS, name="gzip")
_DECODERS: dict[bytes, Callable[[bytes, int], bytes]] = {
    b"gzip": _gzip,
    b"x-gzip": _gzip,
    b"deflate": _deflate,
    b"br": _brotli,
    b"zstd": _zstd,
}
