"""The section ``capture``: which exchanges become observations, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ByteSize, Field, model_validator

from exporter.config.base import Section
from exporter.config.types import (
    Buckets,
    Bytes,
    Device,
    Digest,
    Number,
    PathPattern,
    Rule,
    Whole,
)

Payload = Literal["auto", "open-inference-v2", "kserve-v1", "torchserve", "openai", "headers", "fields"]


class FieldsConfig(Section):
    """Where each field of an observation stands.

    A value is a dotted path into the JSON response (``result.label``, ``scores[0]``), the same into the
    request with the prefix ``request.``, a header with ``header:NAME`` (of the response) or
    ``request-header:NAME``, or a JMESPath expression with ``jmespath:``.
    """

    predicted_class: str | None = None
    confidence: str | None = None
    value: str | None = None
    embedding: str | None = None
    features: str | None = None
    request_id: str | None = None


class ImageConfig(Section):
    """Where a request's images are, and how they are prepared for the embedder.

    ``source`` is ``auto`` (by the request's content type), ``body`` for a raw image, ``multipart`` or
    ``multipart:NAME`` for uploads, or a dotted path to base64 text in a JSON request. A request of more
    than ``max_images``, or an image of more than ``max_pixels``, is not embedded, and counted.
    """

    source: str = Field(default="auto", min_length=1)
    resize: Whole | None = Field(default=256, ge=1, le=8192)
    crop: Whole = Field(default=224, ge=1, le=8192)
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    channels: Literal[1, 3] = 3
    layout: Literal["nchw", "nhwc"] = "nchw"
    mean: tuple[Number, ...] = (0.485, 0.456, 0.406)
    std: tuple[Number, ...] = (0.229, 0.224, 0.225)
    max_pixels: Whole = Field(default=40_000_000, ge=1)
    max_images: Whole = Field(default=64, ge=1, le=1024)

    @model_validator(mode="after")
    def _one_number_for_each_channel(self) -> ImageConfig:
        for key, given in (("mean", self.mean), ("std", self.std)):
            if len(given) not in (1, self.channels):
                raise Rule(
                    key, given, f"it needs 1 number or {self.channels}, one for each channel; write them so"
                )
        if min(self.std) <= 0:
            raise Rule(
                "std", self.std, "a standard deviation is above 0; write such as [0.229, 0.224, 0.225]"
            )
        if self.resize is not None and self.resize < self.crop:
            raise Rule(
                "resize", self.resize, f"it must be at least crop ({self.crop}); raise it or lower crop"
            )
        return self


class EmbedderConfig(Section):
    """A model of our own that turns a request's images into embeddings, in the worker.

    ``path`` is the ONNX or TorchScript file, or the weights of a torchvision ``architecture``, whose
    submodule ``layer`` then gives the embedding.
    """

    kind: Literal["onnx", "torchscript", "torchvision"]
    path: Path
    sha256: Digest | None = None
    architecture: str | None = None
    layer: str | None = None
    classes: Whole = Field(default=1000, ge=1)
    output: str | None = None
    length: Whole | None = Field(default=None, ge=1)
    device: Device = "auto"
    max_batch: Whole = Field(default=32, ge=1, le=1024)
    image: ImageConfig = ImageConfig()

    @model_validator(mode="after")
    def _what_torchvision_needs(self) -> EmbedderConfig:
        if self.kind == "torchvision":
            for key, given in (("architecture", self.architecture), ("layer", self.layer)):
                if not given:
                    raise Rule(
                        key,
                        given,
                        "kind: torchvision needs it; give names such as "
                        "architecture: mobilenet_v2 and layer: features",
                    )
        return self


class CaptureConfig(Section):
    """Which exchanges become observations, and how they are read."""

    paths: tuple[PathPattern, ...] = ("/predict",)
    payload: Payload = "auto"
    fields: FieldsConfig = FieldsConfig()
    max_body_bytes: Bytes = ByteSize(1024 * 1024)
    max_classes: Whole = Field(default=200, ge=1, le=10_000)
    value_buckets: Buckets = ()
    embedder: EmbedderConfig | None = None

    @model_validator(mode="after")
    def _fields_need_a_field(self) -> CaptureConfig:
        if self.payload == "fields" and not any(self.fields.model_dump().values()):
            raise Rule(
                "payload",
                "fields",
                "payload: fields needs an address; add one under capture.fields, "
                "such as predicted_class: result.label",
            )
        return self
