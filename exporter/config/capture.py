"""The section ``capture``: which exchanges become observations, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ByteSize, Field, model_validator

from exporter.config.base import Section
from exporter.config.types import Buckets, Bytes, Device, Digest, Number, PathPattern, Rule, Whole

Payload = Literal[
    "auto",
    "plain",
    "open-inference-v2",
    "kserve-v1",
    "torchserve",
    "openai",
    "text-generation",
    "seldon",
    "headers",
    "fields",
]

Numbers = Literal["auto", "classes", "values", "probabilities", "embedding"]


class FieldsConfig(Section):
    """Where each field of an observation stands; see "Addresses of fields"."""

    predicted_class: str | None = None
    """Address of the class, or of a list of them."""
    confidence: str | None = None
    """Address of the confidence, 0 to 1."""
    value: str | None = None
    """Address of a regression's output."""
    embedding: str | None = None
    """Address of the embedding, a list of numbers."""
    features: str | None = None
    """Address of numeric features: a list, or a mapping by name."""
    request_id: str | None = None
    """Address of the identifier by which a late label is joined."""


class ImageConfig(Section):
    """Where a request's images are, and how they are prepared for the embedder."""

    source: str = Field(default="auto", min_length=1)
    """`auto` (by content type), `body`, `multipart`, `multipart:NAME`, or a dotted path to base64 in JSON."""
    resize: Whole | None = Field(default=256, ge=1, le=8192)
    """The shorter side becomes so many pixels; with `null`, only what is below `crop` grows."""
    crop: Whole = Field(default=224, ge=1, le=8192)
    """Side of the square cut out of the middle."""
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    """How pixels are computed when the size changes."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for red, green and blue."""
    layout: Literal["nchw", "nhwc"] = "nchw"
    """Order of the model's input: channels first or last."""
    mean: tuple[Number, ...] = (0.485, 0.456, 0.406)
    """Taken from each channel (0 to 1): one, or one for each."""
    std: tuple[Number, ...] = (0.229, 0.224, 0.225)
    """What each channel is then divided by."""
    max_pixels: Whole = Field(default=40_000_000, ge=1)
    """A larger image is refused before it is unpacked."""
    max_images: Whole = Field(default=64, ge=1, le=1024)
    """A request of more images is not embedded, and counted."""

    @model_validator(mode="after")
    def _one_number_for_each_channel(self) -> ImageConfig:
        several = f"it needs 1 number or {self.channels}, one for each channel; write them so"
        for key, given in (("mean", self.mean), ("std", self.std)):
            if len(given) not in (1, self.channels):
                raise Rule(key, given, several)
        if min(self.std) <= 0:
            raise Rule(
                "std", self.std, "a standard deviation is above 0; write such as [0.229, 0.224, 0.225]"
            )
        if self.resize is not None and self.resize < self.crop:
            fix = "raise it or lower crop"
            raise Rule("resize", self.resize, f"it must be at least crop ({self.crop}); {fix}")
        return self


class EmbedderConfig(Section):
    """A model of your own that turns a request's images into embeddings, in the worker."""

    kind: Literal["onnx", "torchscript", "torchvision"]
    """What `path` is read as."""
    path: Path
    """An ONNX or TorchScript file, or the weights of a torchvision `architecture`."""
    sha256: Digest | None = None
    """Digest of the file; another file is refused."""
    architecture: str | None = None
    """torchvision: name of the architecture, such as `mobilenet_v2`."""
    layer: str | None = None
    """torchvision: the submodule whose output is the embedding."""
    classes: Whole = Field(default=1000, ge=1)
    """torchvision: outputs of the weights' last layer."""
    output: str | None = None
    """ONNX: name of the output; the first by default."""
    length: Whole | None = Field(default=None, ge=1)
    """Length of the embedding; checked at the start where it is given."""
    device: Device = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    max_batch: Whole = Field(default=32, ge=1, le=1024)
    """Images in one forward pass."""
    image: ImageConfig = ImageConfig()

    @model_validator(mode="after")
    def _what_torchvision_needs(self) -> EmbedderConfig:
        given = {"architecture": self.architecture, "layer": self.layer}
        for key in given if self.kind == "torchvision" else ():
            if not given[key]:
                names = "architecture: mobilenet_v2 and layer: features"
                raise Rule(key, given[key], f"kind: torchvision needs it; give names such as {names}")
        return self


class CaptureConfig(Section):
    """Which exchanges become observations, and how they are read."""

    paths: tuple[PathPattern, ...] = ("/predict",)
    """Paths captured: exact, `/prefix/*`, or `regex:PATTERN`."""
    payload: Payload = "auto"
    """Protocol of the bodies; `fields` reads nothing but `capture.fields`."""
    numbers: Numbers = "auto"
    """What a list of numbers without a name is; see "How a response is read"."""
    fields: FieldsConfig = FieldsConfig()
    max_body_bytes: Bytes = ByteSize(1024 * 1024)
    """A longer body is not read, and counted."""
    max_classes: Whole = Field(default=200, ge=1, le=10_000)
    """From then on, new classes count as `other`."""
    value_buckets: Buckets = ()
    """Bounds of the histogram `prediction_value`, ascending; -1000 to 1000 by default."""
    embedder: EmbedderConfig | None = None

    @model_validator(mode="after")
    def _fields_need_a_field(self) -> CaptureConfig:
        if self.payload == "fields" and not any(self.fields.model_dump().values()):
            fix = "add one under capture.fields, such as predicted_class: result.label"
            raise Rule("payload", "fields", f"payload: fields needs an address; {fix}")
        return self
