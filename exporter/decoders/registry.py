"""The decoders by name, and the one that a configuration asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from exporter.config import CaptureConfig
from exporter.decoders import (
    auto,
    headers,
    kserve_v1,
    open_inference_v2,
    openai,
    plain,
    seldon,
    text_generation,
    torchserve,
)
from exporter.decoders.addresses import FieldMapping
from exporter.decoders.base import Decoder, Reading, identified
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange

# Those that meet lists of numbers of which the protocol does not say what they are.
_OF_NUMBERS: dict[str, Callable[..., list[Reading]]] = {
    "auto": auto.read_auto,
    "kserve-v1": kserve_v1.read_kserve_v1,
    "plain": plain.read_plain,
    "torchserve": torchserve.read_torchserve,
}
DECODERS: dict[str, Decoder] = {
    **_OF_NUMBERS,
    "headers": headers.read_headers,
    "open-inference-v2": open_inference_v2.read_open_inference_v2,
    "openai": openai.read_openai,
    "seldon": seldon.read_seldon,
    "text-generation": text_generation.read_text_generation,
}
"""By the name that ``capture.payload`` gives; ``fields`` is none but the addresses alone."""


def make_reader(config: CaptureConfig) -> Decoder:
    """What ``capture.payload`` names, under ``capture.fields``; :class:`ConfigError` for a bad address."""
    mapping = FieldMapping(config.fields)
    if config.payload == "fields":
        return mapping.read
    decoder = DECODERS[config.payload]
    if config.numbers != "auto" and config.payload in _OF_NUMBERS:
        decoder = partial(_OF_NUMBERS[config.payload], numbers=config.numbers)
    if not mapping.addresses:
        return decoder

    def read_both(exchange: Exchange) -> list[Reading]:
        mapped = _if_any(mapping.read, exchange)
        if not mapped:
            return decoder(exchange)
        found = _if_any(decoder, exchange)
        if len(mapped) == 1 and mapped[0].keys() == {"request_id"} and found:
            return identified(found, mapped[0]["request_id"])
        exchange.read_as = "fields"
        if len(found) != len(mapped):
            return mapped
        return [{**reading, **fields} for reading, fields in zip(found, mapped, strict=True)]

    return read_both


def _if_any(read: Decoder, exchange: Exchange) -> list[Reading]:
    try:
        return read(exchange)
    except PayloadError:
        return []
