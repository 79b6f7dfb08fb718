"""The decoders by name, and the one that a configuration asks for."""

from __future__ import annotations

from exporter.config import CaptureConfig
from exporter.decoders import auto, headers, kserve_v1, open_inference_v2, openai, torchserve
from exporter.decoders.addresses import FieldMapping
from exporter.decoders.base import Decoder, Reading, identified
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange

DECODERS: dict[str, Decoder] = {
    "auto": auto.read_auto,
    "headers": headers.read_headers,
    "kserve-v1": kserve_v1.read_kserve_v1,
    "open-inference-v2": open_inference_v2.read_open_inference_v2,
    "openai": openai.read_openai,
    "torchserve": torchserve.read_torchserve,
}
"""By the name that ``capture.payload`` gives; ``fields`` is none but the addresses alone."""


def make_reader(config: CaptureConfig) -> Decoder:
    """What ``capture.payload`` names, under ``capture.fields``; :class:`ConfigError` for a bad address."""
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
