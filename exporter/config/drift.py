"""The section ``drift``: one entry for each detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from exporter.config.base import Section
from exporter.config.types import (
    Device,
    Digest,
    Duration,
    LabelText,
    Number,
    Rule,
    Whole,
    alternative,
)

# The engine cannot calibrate for less.
_SHORTEST_RUN = 10.0


class LearnConfig(Section):
    """Learn the reference from the first embeddings of the stream."""

    learn: Whole = Field(
        ge=40, le=100_000, description="Embeddings to learn from: four times the longest window at least."
    )


class SampleConfig(Section):
    """Thin the stream in time before it is tested."""

    max_per_second: Number = Field(
        gt=0, description="Tests a second at most; what comes beyond is counted as sampled out."
    )


Reference = Annotated[
    Annotated[LearnConfig, Tag("<learn>")] | Annotated[Path, Tag("<path>")],
    alternative("<learn>", "<path>", "<path>"),
]
Window = Annotated[
    Annotated[Whole, Tag("<one>")] | Annotated[tuple[Whole, ...], Tag("<several>")],
    alternative("<one>", "<several>", "<one>"),
]


class DriftConfig(Section):
    """One detector: its reference, its windows, and how often it may raise a false alarm."""

    detector: Literal["mmd", "alibi"] = Field(
        default="mmd", description="`mmd` is our own; `alibi` is one that alibi-detect saved."
    )
    name: LabelText = Field(
        default="", max_length=64, description="Value of the `detector` label; that of `detector` by default."
    )
    reference: Reference = Field(
        default=LearnConfig(learn=1000),
        description="What is normal: `.npz`, `.npy`, `.csv` or `.parquet`, the output of `fit`, what "
        "alibi-detect saved, or `{learn: N}`.",
    )
    window: Window = Field(
        default=50, description="Observations in a test: one length, or several calibrated together."
    )
    expected_run_length: Number | None = Field(
        default=None,
        ge=_SHORTEST_RUN,
        description="Mean number of tests between false alarms; 10,000 by default.",
    )
    false_alarm_interval: Duration | None = Field(
        default=None, description="The same in time; needs `sample.max_per_second`."
    )
    sample: SampleConfig | None = None
    device: Device = Field(
        default="auto", description="Where it computes: `auto`, `cpu`, `cuda` or `cuda:N`."
    )
    bandwidth: Number | None = Field(
        default=None, gt=0, description="Sigma of the kernel; by default from the median distance."
    )
    seed: Whole | None = Field(default=None, ge=0, description="Makes the calibration repeatable.")
    checkpoint: Path | None = Field(
        default=None,
        description="File that keeps the running detector, so that a restart goes on from there.",
    )
    checkpoint_interval: Duration = Field(default=60.0, description="Least time between two writes of it.")
    trust_pickles: bool = Field(
        default=False, description="alibi: whether a pinned directory may be unpickled, which can run code."
    )
    sha256: Digest | None = Field(
        default=None, description="alibi: digest of the directory, as `inference-exporter digest` prints it."
    )

    @model_validator(mode="after")
    def _one_way_to_say_how_often(self) -> DriftConfig:
        if self.false_alarm_interval is None:
            return self
        if self.expected_run_length is not None:
            raise Rule(
                "false_alarm_interval",
                self.false_alarm_interval,
                "expected_run_length says the same; remove one of the two",
            )
        if self.sample is None:
            raise Rule(
                "false_alarm_interval",
                self.false_alarm_interval,
                "only with a sampling rate is it known how many tests a second are made; "
                "add sample: {max_per_second: 5}, say",
            )
        if self.run_length < _SHORTEST_RUN:
            raise Rule(
                "false_alarm_interval",
                self.false_alarm_interval,
                f"at {self.sample.max_per_second:g} tests a second these are {self.run_length:g} tests, "
                f"and at least {_SHORTEST_RUN:g} have to lie between false alarms; give a longer interval",
            )
        return self

    @model_validator(mode="after")
    def _windows_are_lengths(self) -> DriftConfig:
        if not self.windows or min(self.windows) < 2 or len(set(self.windows)) != len(self.windows):
            given = self.window if isinstance(self.window, int) else list(self.window)
            raise Rule(
                "window",
                given,
                "a window is a whole number from 2; write one such as 50, or different ones such as [10, 50]",
            )
        need = 4 * self.windows[-1]
        if isinstance(self.reference, LearnConfig) and self.detector == "mmd" and self.reference.learn < need:
            raise Rule(
                "reference.learn",
                self.reference.learn,
                f"a window of {self.windows[-1]} needs {need} embeddings or more; "
                f"give at least that, or a window of at most {self.reference.learn // 4}",
            )
        return self

    @model_validator(mode="after")
    def _what_alibi_needs(self) -> DriftConfig:
        if self.detector == "alibi" and isinstance(self.reference, LearnConfig):
            raise Rule(
                "reference",
                self.reference.model_dump(),
                "detector: alibi cannot learn; give the path of the folder that alibi-detect saved",
            )
        return self

    @property
    def windows(self) -> tuple[int, ...]:
        """The window lengths, ascending."""
        return (self.window,) if isinstance(self.window, int) else tuple(sorted(self.window))

    @property
    def label(self) -> str:
        """What the entry is called: its own name, or the kind of detector."""
        return self.name or self.detector

    def labels(self, windows: Sequence[int]) -> list[str]:
        """The value of the ``detector`` label for each window: several speak for themselves."""
        return [self.label] if len(windows) == 1 else [f"{self.label}_w{window}" for window in windows]

    @property
    def run_length(self) -> float:
        """Mean number of tests between false alarms that the thresholds are calibrated for."""
        if self.false_alarm_interval is not None and self.sample is not None:
            return self.false_alarm_interval * self.sample.max_per_second
        return self.expected_run_length if self.expected_run_length is not None else 10_000.0
