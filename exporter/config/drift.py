"""The section ``drift``: one entry for each detector, with the keys that this detector has."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from exporter.config.base import Section
from exporter.config.learning import LearnConfig, StretchesConfig
from exporter.config.types import Device, Digest, Duration, LabelText, Number, Rule, Whole, alternative

# The engine cannot calibrate for less.
_SHORTEST_RUN = 10.0


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


class DetectorConfig(Section):
    """One detector: what is normal, and how often it is asked. Each detector has keys of its own besides."""

    detector: str
    name: LabelText = Field(
        default="", max_length=64, description="Value of the `detector` label; that of `detector` by default."
    )
    reference: Reference
    window: Window = Field(
        default=50, description="Observations in a test: one length, or several calibrated together."
    )
    sample: SampleConfig | None = None
    device: Device = Field(
        default="auto", description="Where it computes: `auto`, `cpu`, `cuda` or `cuda:N`."
    )
    seed: Whole | None = Field(default=None, ge=0, description="Makes the calibration repeatable.")
    checkpoint: Path | None = Field(
        default=None,
        description="File that keeps the running detector, so that a restart goes on from there; "
        "one for each process.",
    )
    checkpoint_interval: Duration = Field(default=60.0, description="Least time between two writes of it.")

    @model_validator(mode="after")
    def _windows_are_lengths(self) -> DetectorConfig:
        if not self.windows or min(self.windows) < 2 or len(set(self.windows)) != len(self.windows):
            given = self.window if isinstance(self.window, int) else list(self.window)
            raise Rule(
                "window",
                given,
                "a window is a whole number from 2; write one such as 50, or different ones such as [10, 50]",
            )
        return self

    @property
    def windows(self) -> tuple[int, ...]:
        """The window lengths, ascending."""
        return (self.window,) if isinstance(self.window, int) else tuple(sorted(self.window))

    @property
    def label(self) -> str:
        """What the entry is called: its own name, or that of its detector."""
        return self.name or self.detector

    def labels(self, windows: Sequence[int]) -> list[str]:
        """The value of the ``detector`` label for each window: several speak for themselves."""
        return [self.label] if len(windows) == 1 else [f"{self.label}_w{window}" for window in windows]

    @property
    def fit_settings(self) -> dict[str, Any]:
        """What the detector's ``fit`` is told beside the reference, by the names of its arguments."""
        return {}

    @property
    def load_settings(self) -> dict[str, Any]:
        """What reading the detector out of its reference is told beside the path."""
        return {"device": self.device}

    @property
    def asked(self) -> set[str]:
        """Those of :attr:`fit_settings` that were given, and are no defaults."""
        given = self.fit_settings.keys() & self.model_fields_set
        return {name for name in given if getattr(self, name) is not None}

    def check_windows(self, windows: Sequence[int]) -> None:
        """Whether a detector with these windows can be what is asked for; a broken :class:`Rule` if not."""


class MMDConfig(DetectorConfig):
    """The online MMD test: its windows, and how often it may raise a false alarm."""

    detector: Literal["mmd"] = Field(
        default="mmd", description="`mmd` is our own; `alibi` is one that alibi-detect saved."
    )
    reference: Reference = Field(
        default=LearnConfig(learn=StretchesConfig()),
        description="What is normal: `.npz`, `.npy`, `.csv` or `.parquet`, the output of `fit`, what "
        "alibi-detect saved, or `{learn: ...}`.",
    )
    expected_run_length: Number | None = Field(
        default=None,
        ge=_SHORTEST_RUN,
        description="Mean number of tests between false alarms; by default what `fit` was told, or 10,000.",
    )
    false_alarm_interval: Duration | None = Field(
        default=None, description="The same in time; needs `sample.max_per_second`."
    )
    confidence: Number = Field(
        default=0.5,
        ge=0.5,
        lt=1,
        description="Share of references with which false alarms are at least that rare: 0.9, say. "
        "At 0.5 they are so on average.",
    )
    bandwidth: Number | None = Field(
        default=None, gt=0, description="Sigma of the kernel; by default from the median distance."
    )

    @model_validator(mode="after")
    def _one_way_to_say_how_often(self) -> MMDConfig:
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
    def _the_reference_is_long_enough(self) -> MMDConfig:
        need = 4 * self.windows[-1]
        fewest = self.reference.fewest if isinstance(self.reference, LearnConfig) else {}
        for key, rows in fewest.items():
            if rows < need:
                raise Rule(
                    f"reference.{key}",
                    rows,
                    f"a window of {self.windows[-1]} needs {need} embeddings or more; "
                    f"give at least that, or a window of at most {rows // 4}",
                )
        # A fitted file may bring another window than the default.
        if isinstance(self.reference, LearnConfig) or "window" in self.model_fields_set:
            self.check_windows(self.windows)
        return self

    def check_windows(self, windows: Sequence[int]) -> None:
        """A run without false alarms has to be as long as the longest window."""
        if self.run_length >= max(windows):
            return
        key = "expected_run_length" if self.false_alarm_interval is None else "false_alarm_interval"
        raise Rule(
            key,
            getattr(self, key),
            f"these are {self.run_length:g} tests, and a window of {max(windows)} needs at least "
            f"{max(windows)} between false alarms; give more, or a shorter window",
        )

    @property
    def run_length(self) -> float:
        """Mean number of tests between false alarms that the thresholds are calibrated for."""
        if self.false_alarm_interval is not None and self.sample is not None:
            return self.false_alarm_interval * self.sample.max_per_second
        return self.expected_run_length if self.expected_run_length is not None else 10_000.0

    @property
    def fit_settings(self) -> dict[str, Any]:
        """Arguments of :meth:`exporter.detectors.OnlineMMD.fit`."""
        return {
            "window": self.window,
            "expected_run_length": self.run_length,
            "confidence": self.confidence,
            "bandwidth": self.bandwidth,
            "device": self.device,
            "seed": self.seed,
        }

    @property
    def asked(self) -> set[str]:
        """As for any detector; a false-alarm interval asks for a run length."""
        interval = {"expected_run_length"} if self.false_alarm_interval is not None else set()
        return super().asked | interval


class AlibiConfig(DetectorConfig):
    """A detector that alibi-detect saved, with what it brings: run length, kernel, and mostly windows."""

    detector: Literal["alibi"]
    reference: Path
    trust_pickles: bool = Field(
        default=False, description="Whether a pinned directory may be unpickled, which can run code."
    )
    sha256: Digest | None = Field(
        default=None, description="Digest of the directory, as `inference-exporter digest` prints it."
    )

    @model_validator(mode="before")
    @classmethod
    def _there_is_a_folder(cls, given: Any) -> Any:
        reference = given.get("reference") if isinstance(given, Mapping) else ""
        if reference is None or isinstance(reference, Mapping | LearnConfig):
            rule = "detector: alibi cannot learn; give the path of the folder that alibi-detect saved"
            raise Rule("reference", reference, rule)
        return given

    @model_validator(mode="after")
    def _alibi_detect_cannot_go_on(self) -> AlibiConfig:
        if self.trust_pickles and self.checkpoint is not None:
            raise Rule(
                "checkpoint",
                str(self.checkpoint),
                "a detector that runs inside alibi-detect cannot be saved while it runs; remove the key",
            )
        return self

    @property
    def load_settings(self) -> dict[str, Any]:
        """Arguments of :func:`exporter.detectors.alibi.detector.load_alibi_detector`."""
        return {
            "window": self.windows[-1],
            "trust_pickles": self.trust_pickles,
            "sha256": self.sha256,
            "device": self.device,
            "seed": self.seed,
        }


_Entries = Annotated[MMDConfig, Tag("<mmd>")] | Annotated[AlibiConfig, Tag("<alibi>")]

DETECTOR_CONFIGS: dict[str, type[DetectorConfig]] = {
    tag.tag.strip("<>"): section for section, tag in map(get_args, get_args(_Entries))
}
"""The settings of each detector in :data:`exporter.detectors.registry.DETECTORS`, by the same key."""


def _detector(entry: Any) -> Any:
    return entry.get("detector", "mmd") if isinstance(entry, Mapping) else getattr(entry, "detector", "mmd")


def _has_its_own_keys(entry: Any) -> Any:
    """Refuse detectors that there are not, and keys that belong to another one than the entry's."""
    given = _detector(entry)
    if not isinstance(given, str) or given not in DETECTOR_CONFIGS:
        near = difflib.get_close_matches(str(given), DETECTOR_CONFIGS, n=1, cutoff=0.5)
        fix = f"did you mean {near[0]}?" if near else "write one of them"
        raise Rule("detector", given, f"it must be one of {', '.join(DETECTOR_CONFIGS)}; {fix}")
    for key in entry if isinstance(entry, Mapping) else ():
        owners = [name for name, section in DETECTOR_CONFIGS.items() if key in section.model_fields]
        if owners and given not in owners:
            rule = f"detector: {given} has no such key, only {', '.join(owners)} has"
            raise Rule(key, entry[key], f"{rule}; remove it, or change detector")
    return entry


DRIFT_BY_DEFAULT = (
    MMDConfig(sample=SampleConfig(max_per_second=5), false_alarm_interval=7 * 86_400.0, confidence=0.9),
)
"""What tests a service whose configuration says nothing of drift."""

DetectorEntry = Annotated[
    _Entries, Discriminator(lambda entry: f"<{_detector(entry)}>"), BeforeValidator(_has_its_own_keys)
]
"""An entry of ``drift``, told apart by its ``detector``."""
