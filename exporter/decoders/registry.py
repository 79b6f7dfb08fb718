"""The decoders by name, and the one that a configuration asks for."""

from __future__ import annotations

from exporter.config import CaptureConfig
from exporter.decoders.addresses import FieldMapping
from exporter.decoders.auto import read_auto
from exporter.decoders.base import Decoder, Reading, identified
from exporter.decoders.headers import read_headers
from exporter.decoders.kserve_v1 import read_kserve_v1
from exporter.decoders.open_inference_v2 import read_open_inference_v2
from exporter.decoders.openai import read_openai
from exporter.decoders.torchserve import read_torchserve
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange

DECODERS: dict[str, Decoder] = {
    "auto": read_auto,
    "headers": read_headers,
    "kserve-v1": read_kserve_v1,
    "open-inference-v2": read_open_inference_v2,
    "openai": read_openai,
    "torchserve": read_torchserve,
}
"""By the name that ``capture.payload`` gives; ``fields`` is none but the addresses alone."""


def make_reader(config: CaptureConfig) -> Decoder:
    """The decoder that ``capture.payload`` names, with ``capture.fields``, which win, laid over it.

    Raises
    ------
    ConfigError
        If an address of ``capture.fields`` cannot be parsed.
    """
    mapping = FieldMapping(config.fields)
    if config.payload == "fields":
        return mapping.read
    decoder = DECODERS[config.payload]
    if not mapping.addresses:
        return decoder

    def read_both(exchange: Exchange) -> list[Reading]:
        mapped = _if_any(mapping.read, exchange)
        if not mapped:
            return decoder(exchange)
        found = _if_any(decoder, exchange)
        if len(mapped) == 1 and mapped[0].keys() == {"request_id"} and found:
            return identified(found, mapped[0]["request_id"])
        if len(found) != len(mapped):
            return mapped
        return [{**reading, **fields} for reading, fields in zip(found, mapped, strict=True)]

    return read_both


def _if_any(read: Decoder, exchange: Exchange) -> list[Reading]:
    try:
        return read(exchange)
    except PayloadError:
        return []
