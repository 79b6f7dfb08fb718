"""Images out of requests: found, decoded, and prepared for a network.

Decoding is where untrusted pictures meet a large library: only common formats are tried, and a
picture's size is judged from its header, before a pixel is unpacked.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.config import ImageConfig
from exporter.decoders.addresses import parse_path, walk
from exporter.decoders.base import parse_json, request_bytes, request_json
from exporter.errors import PayloadError, unreadable
from exporter.http.exchange import Exchange, header

IMAGE_NAMES = ("image", "images", "image_base64", "image_b64", "img", "b64", "instances", "inputs", "data")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
_BOUNDARY = re.compile(rb'boundary="?([^";,]{1,70})"?', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="([^"]*)"', re.IGNORECASE)


def image_finder(config: ImageConfig) -> Callable[[Exchange], list[bytes]]:
    """A function that returns the encoded images of a request, in order; none where it has none.

    It raises :class:`PayloadError` where the request was not kept, is not what ``config.source`` says, or
    holds more than ``config.max_images``; a source that cannot be parsed is a :class:`ConfigError` at once.
    """
    find, most = _finder(config.source), config.max_images

    def images(exchange: Exchange) -> list[bytes]:
        found = find(exchange)
        if (n := len(found)) > most:
            raise unreadable(f"the request has {n} images; capture.embedder.image.max_images is {most}")
        return found

    return images


def _finder(source: str) -> Callable[[Exchange], list[bytes]]:
    if source == "auto":
        return _by_content_type
    if source == "body":
        return lambda exchange: [body] if (body := request_bytes(exchange)) else []
    if source == "multipart" or source.startswith("multipart:"):
        name = source.partition(":")[2].encode() or None
        return lambda exchange: _parts(exchange, name)
    steps = parse_path("capture.embedder.image.source", source.removeprefix("request."))
    return lambda exchange: _encoded(walk(request_json(exchange), steps))


def prepare(data: bytes, config: ImageConfig) -> npt.NDArray[np.float32]:
    """An encoded picture as the network's input.

    The shorter side is resized to ``resize``, the middle ``crop`` x ``crop`` cut out, values scaled to
    0..1 and normalised by ``mean`` and ``std``: (channels, crop, crop) or, with ``layout: nhwc``,
    (crop, crop, channels), float32. Raises :class:`PayloadError` for what is not a picture, or has more
    than ``max_pixels``.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            width, height = picture.size
            if width * height > config.max_pixels:
                limit = f"capture.embedder.image.max_pixels is {config.max_pixels}"
                raise PayloadError("body_too_large", f"the image has {width} x {height} pixels; {limit}")
            resampling = Image.Resampling[config.interpolation.upper()]
            pixels = _resized(picture.convert("RGB" if config.channels == 3 else "L"), config, resampling)
    except PayloadError:
        raise
    except Exception as error:  # decoders raise many kinds of exception at a damaged file
        raise unreadable(f"not an image that can be decoded: {error}") from None
    array: npt.NDArray[np.float32] = np.asarray(pixels, dtype=np.float32) / np.float32(255.0)
    array = array.reshape(config.crop, config.crop, config.channels)
    array -= np.asarray(config.mean, dtype=np.float32)
    array /= np.asarray(config.std, dtype=np.float32)
    return np.ascontiguousarray(array if config.layout == "nhwc" else array.transpose(2, 0, 1))


def _resized(picture: Any, config: ImageConfig, resampling: Any) -> Any:
    width, height = picture.size
    shorter = config.resize
    if shorter is None and min(width, height) < config.crop:
        shorter = config.crop
    if shorter is not None:
        scale = shorter / min(width, height)
        # A picture a thousand times as wide as high would become a giant: only its middle is of use.
        width, height = (min(8 * shorter, max(shorter, int(side * scale))) for side in (width, height))
        picture = picture.resize((width, height), resampling)
    left, top = (width - config.crop) // 2, (height - config.crop) // 2
    return picture.crop((left, top, left + config.crop, top + config.crop))


def _by_content_type(exchange: Exchange) -> list[bytes]:
    content_type = (header(exchange.request_headers, b"content-type") or b"").lower()
    if content_type.startswith(b"multipart/"):
        return _parts(exchange, None)
    body = request_bytes(exchange)
    if not body:
        return []
    if content_type.startswith(b"image/") or body[:1] not in b"{[":
        return [body]
    return _encoded(_named(parse_json(body, "request")))


def _named(item: Any) -> Any:
    """What an object has under a usual name; anything else is what it is."""
    if not isinstance(item, dict):
        return item
    return next((item[name] for name in IMAGE_NAMES if name in item), None)


def _encoded(value: Any) -> list[bytes]:
    """Base64 text, or a list of it, or of objects ``{"b64": ...}``, as bytes."""
    images = []
    for item in value if isinstance(value, list) else [value]:
        text = _named(item)
        if not isinstance(text, str):
            return []
        try:
            images.append(base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text))
        except ValueError:
            raise unreadable("the request's image is not base64") from None
    return images


def _parts(exchange: Exchange, name: bytes | None) -> list[bytes]:
    """The uploads of a multipart body: those called ``name``, or all with a file name or an image type."""
    content_type = header(exchange.request_headers, b"content-type") or b""
    boundary = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith(b"multipart/") or boundary is None:
        raise unreadable("the request is not multipart with a boundary")
    images: list[bytes] = []
    for part in (b"\r\n" + request_bytes(exchange)).split(b"\r\n--" + boundary[1])[1:]:
        if part.startswith(b"--"):
            break
        head, separator, content = part.partition(b"\r\n\r\n")
        if separator and _is_upload(head, name):
            images.append(content)
    return images


def _is_upload(head: bytes, name: bytes | None) -> bool:
    if name is not None:
        found = _NAME.search(head)
        return found is not None and found[1] == name
    lower = head.lower()
    return b"filename=" in lower or b"content-type: image/" in lower
