"""The section ``models``: what is different for one model, or for all whose name a pattern fits."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, ValidationError

from exporter.config.base import Section
from exporter.config.capture import EmbedderConfig, FieldsConfig, Payload
from exporter.config.drift import DetectorEntry
from exporter.config.types import Buckets, Bytes, Duration, Rule, Shown, Whole
from exporter.model import MAX_NAME_CHARACTERS, OTHER, can_be_label

AUTO = "auto"
_VERSION_ADDRESSES = ("header:", "request-header:")
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")

S = TypeVar("S", bound=Section)


def _version(value: str) -> str:
    kind = next((kind for kind in _VERSION_ADDRESSES if value.startswith(kind)), None)
    if kind is not None:
        name = value.removeprefix(kind).strip().lower()
        if not name or not _TOKEN.issuperset(name):
            raise ValueError(f"{kind} is followed by the name of a header; write such as {kind}x-version")
    elif value and not can_be_label(value):
        what = f"a line of at most {MAX_NAME_CHARACTERS} characters that can be printed"
        raise ValueError(f"a version is {what}, auto, or header:NAME; write such as 1.4")
    return value


Version = Annotated[str, AfterValidator(_version)]


class ModelCaptureConfig(Section):
    """How this model's exchanges are read."""

    payload: Payload = "auto"
    """As `capture.payload`."""
    fields: FieldsConfig = FieldsConfig()
    max_classes: Whole = Field(default=200, ge=1, le=10_000)
    """As `capture.max_classes`."""
    value_buckets: Buckets = ()
    """As `capture.value_buckets`."""
    embedder: EmbedderConfig | None = None


class ModelQueueConfig(Section):
    """How much of this model may wait."""

    max_items: Whole = Field(default=10_000, ge=1)
    """As `queue.max_items`."""
    max_bytes: Bytes | None = None
    """A bound of its own, within `queue.max_bytes`."""
    max_batch: Whole = Field(default=256, ge=1, le=65_536)
    """As `queue.max_batch`."""


class ModelLabelsConfig(Section):
    """How long and for how many predictions a late label of this model is waited for."""

    window: Duration = 86_400.0
    """As `labels.window`."""
    max_items: Whole = Field(default=100_000, ge=1, le=10_000_000)
    """As `labels.max_items`."""


class ModelConfig(Section):
    """What is different for this model, or for those whose name fits; what is left out is as for all."""

    version: Version = ""
    """As the key `version` at the top."""
    capture: ModelCaptureConfig = ModelCaptureConfig()
    drift: tuple[DetectorEntry, ...] = ()
    queue: ModelQueueConfig = ModelQueueConfig()
    labels: ModelLabelsConfig = ModelLabelsConfig()


def _names(models: Mapping[str, ModelConfig]) -> Mapping[str, ModelConfig]:
    for name in models:
        if not can_be_label(name) or name == AUTO:
            what = f"a line of 1 to {MAX_NAME_CHARACTERS} characters that can be printed, and not auto"
            raise Rule(
                (),
                name,
                f"the name of a model is {what}; write such as iris or food-*",
            )
    return models


Models = Annotated[dict[str, ModelConfig], Shown("section for each"), AfterValidator(_names)]


def is_read(version: str) -> bool:
    """Whether a key ``version`` says where each exchange has it, and not what it is."""
    return version == AUTO or version.startswith(_VERSION_ADDRESSES)


def is_pattern(name: str) -> bool:
    """Whether a key of ``models`` stands for all names that fit."""
    return any(character in name for character in "*?[")


def fitting(models: Mapping[str, ModelConfig], name: str) -> str | None:
    """The key of ``models`` that a model goes by: its own name, else the first pattern that fits it."""
    if name in models:
        return name
    if name == OTHER:  # no pattern is meant for what is left over
        return None
    return next((key for key in models if is_pattern(key) and fnmatchcase(name, key)), None)


def laid_over(section: S, over: Section, key: tuple[str, ...]) -> S:
    """A section with what another one sets in place of its own; held to the section's own rules.

    ``key`` is where ``over`` stands, for the :class:`Rule` that may be broken.
    """
    given = {name: getattr(over, name) for name in over.model_fields_set}
    own = {name: getattr(section, name) for name in section.model_fields_set}
    try:
        return type(section).model_validate({**own, **given})
    except ValidationError as error:
        item = error.errors(include_url=False)[0]
        broken = item.get("ctx", {}).get("error")
        if isinstance(broken, Rule):
            raise Rule((*key, *broken.path), broken.value, str(broken)) from None
        raise Rule(key, over, item["msg"]) from None
