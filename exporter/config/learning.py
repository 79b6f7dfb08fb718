"""What a reference is learned from, where it is learned: the value of ``drift[].reference``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Tag, model_validator

from exporter.config.base import Section
from exporter.config.types import Duration, Rule, Whole, alternative

# Of fewer, the error of a reference's mean cannot be told.
_FEWEST_STRETCHES = 5


class StretchesConfig(Section):
    """Learn the reference from stretches of the stream that are spread over a period."""

    rows: Whole = Field(
        default=2000,
        ge=40,
        le=100_000,
        description="Embeddings of the lasting reference: four times the longest window at least.",
    )
    over: Duration = Field(
        default=86_400.0, description="The period over which they are spread: a whole cycle of the traffic."
    )
    stretch: Whole = Field(
        default=100,
        ge=1,
        le=10_000,
        description="How many that follow each other are taken at a time, and resampled together.",
    )
    provisional: Whole = Field(
        default=1000,
        ge=0,
        le=100_000,
        description="Embeddings of the provisional reference, the first that come; none with 0.",
    )

    @property
    def stretches(self) -> int:
        """How many stretches the period is cut into."""
        return self.rows // self.stretch

    @model_validator(mode="after")
    def _several_stretches(self) -> StretchesConfig:
        if self.stretches < _FEWEST_STRETCHES:
            most = self.rows // _FEWEST_STRETCHES
            rule = f"{self.rows} rows have to be {_FEWEST_STRETCHES} stretches or more; give at most {most}"
            raise Rule("stretch", self.stretch, rule)
        if self.rows % self.stretch:
            near = self.rows // self.stretch * self.stretch
            rule = f"they have to be whole stretches of {self.stretch}; give {near} or {near + self.stretch}"
            raise Rule("rows", self.rows, rule)
        return self


class LearnConfig(Section):
    """Learn the reference from the stream."""

    learn: Annotated[
        Annotated[StretchesConfig, Tag("<stretches>")]
        | Annotated[Whole, Field(ge=40, le=100_000), Tag("<first>")],
        alternative("<stretches>", "<first>", "<first>"),
    ] = Field(
        description="How many of the first embeddings to learn from, four times the longest window at least; "
        "or `{rows: 2000, over: 1d}`: stretches that are spread over a period."
    )

    @property
    def fewest(self) -> dict[str, int]:
        """The rows of each reference that is learned, by the key that says how many."""
        if isinstance(self.learn, int):
            return {"learn": self.learn}
        provisional = {"learn.provisional": self.learn.provisional} if self.learn.provisional else {}
        return {"learn.rows": self.learn.rows, **provisional}
