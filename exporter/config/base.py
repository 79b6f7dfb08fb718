"""What every section of the configuration is."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A section of the configuration: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    plain_key: ClassVar[str | None] = None
    """The key that a plain text in place of the section stands for, if one does."""

    @model_validator(mode="before")
    @classmethod
    def _take_plain(cls, value: Any) -> Any:
        return cls.written_out(value)

    @classmethod
    def written_out(cls, value: Any) -> Any:
        """A plain text as the section that it stands for; anything else as it is."""
        return {cls.plain_key: value} if cls.plain_key is not None and isinstance(value, str) else value
