"""Embeddings of images when the service gives none: a model of our own, run in the worker in batches."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from exporter.config import EmbedderConfig
from exporter.embedders.backends import BACKENDS, reason, wrong
from exporter.embedders.images import image_finder, prepare
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange

log = logging.getLogger(__name__)

_loaded: WeakValueDictionary[tuple[object, ...], Embedder] = WeakValueDictionary()

MAX_LENGTH = 65_536
Array = npt.NDArray[np.float32]


class Embedder:
    """Turns the images of requests into embeddings.

    The model is loaded and tried on a blank batch at once, so that a file that cannot serve is an error
    before anything listens: :class:`ConfigError` if the file is missing, not what its digest says, no such
    model or not safe to load, or if its input or output is not what the configuration says. Use it from one
    thread.
    """

    def __init__(self, config: EmbedderConfig) -> None:
        self._config = config
        self._find = image_finder(config.image)
        check_file(config)
        self._run = BACKENDS[config.kind](config)
        self.length = self._length()

    def attach(self, exchanges: Sequence[Exchange]) -> int:
        """Add embeddings to the exchanges that have none but whose requests hold images.

        The images of all exchanges are unpacked, and go through the model, ``max_batch`` at a time: an
        image of a few bytes becomes half a megabyte. Returns how many exchanges have an image that could
        not be found, decoded or embedded.
        """
        rows: dict[int, list[Array]] = {}
        failed: set[int] = set()
        prepared = self._prepared(exchanges, failed)
        while batch := list(islice(prepared, self._config.max_batch)):
            try:
                embedded = self.embed(np.stack([image for _, image in batch]))
                for (owner, _), row in zip(batch, embedded, strict=True):
                    rows.setdefault(owner, []).append(row)
            except Exception:
                log.exception("%d images could not be embedded", len(batch))
                failed.update([owner for owner, _ in batch])
            batch.clear()  # before the next ones are unpacked
        for owner, own in rows.items():
            if owner not in failed and np.isfinite(own).all():
                exchanges[owner].add_embeddings(np.stack(own))
            else:
                failed.add(owner)
        return len(failed)

    def _prepared(self, exchanges: Sequence[Exchange], failed: set[int]) -> Iterator[tuple[int, Array]]:
        """Images that are to be embedded, each with the position of its exchange, unpacked one by one."""
        for index, exchange in enumerate(exchanges):
            if self.has_embedding(exchange):
                continue
            try:
                for image in self._find(exchange):
                    yield index, prepare(image, self._config.image)
            except PayloadError as error:
                log.debug("no embedding for a request: %s", error)
                failed.add(index)

    def has_embedding(self, exchange: Exchange) -> bool:
        """Whether the live model or the service's own word gave an exchange its embedding."""
        return exchange.embeddings is not None or (exchange.notes or {}).get("embedding") is not None

    def embed(self, inputs: Array) -> Array:
        """At most ``max_batch`` prepared images (n, ...) float32 as embeddings (n, length) float32."""
        return _rows(self._run(inputs))

    def _length(self) -> int:
        """Length of the embeddings, found with two blank images."""
        image, path = self._config.image, self._config.path
        side = (image.crop, image.crop)
        shape = (*side, image.channels) if image.layout == "nhwc" else (image.channels, *side)
        try:
            rows = self.embed(np.zeros((2, *shape), dtype=np.float32))
        except Exception as error:
            fix = "make capture.embedder.image say what the model takes"
            message = f"{path} cannot embed images of shape {shape} ({reason(error)}); {fix}"
            raise wrong("path", message) from None
        length = int(rows.shape[1])
        if len(rows) != 2 or not 1 <= length <= MAX_LENGTH:
            rule = f"it must be (2, d) with d from 1 to {MAX_LENGTH}; name another output or layer"
            raise wrong("path", f"{path} gives output of shape {rows.shape} for 2 images; {rule}")
        if self._config.length not in (None, length):
            given = f"{self._config.length} is not what {path} gives, embeddings of length {length}"
            raise wrong("length", f"{given}; correct it, or name another output or layer")
        return length


def _rows(output: Any) -> Array:
    """A model's output as (n, d): positions of an image or tokens of a sequence are averaged."""
    array = np.asarray(output)
    if array.dtype.kind != "f" or array.ndim < 2:
        raise ValueError(f"the output is {array.dtype} of shape {array.shape}, not floats (n, d)")
    if array.ndim in (3, 4):
        array = array.mean(axis=1 if array.ndim == 3 else (2, 3))
    return array.reshape(len(array), -1).astype(np.float32, copy=False)


def check_file(config: EmbedderConfig) -> None:
    """Raise :class:`ConfigError` for a file that is missing, or not what its digest says; loads nothing."""
    path = config.path
    if not path.is_file():
        raise wrong("path", f"{path} is not a file; give the path of the {config.kind} file or weights")
    if config.sha256 is None:
        return
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != config.sha256:
        found = f"{config.sha256} is not the digest of {path}, {digest.hexdigest()}"
        raise wrong("sha256", f"{found}; check where the file came from, then correct the digest")


def embedder_of(config: EmbedderConfig) -> Embedder:
    """The embedder of a section. What takes memory and seconds to load is one for all models that share it,
    and is loaded again once the file is another; raises as :class:`Embedder`.
    """
    try:
        file = config.path.stat()
    except OSError:
        return Embedder(config)  # which says what is wrong
    key = (config, file.st_ino, file.st_size, file.st_mtime_ns)
    found = _loaded.get(key)
    if found is None:
        found = _loaded[key] = Embedder(config)
    return found
