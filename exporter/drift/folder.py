"""What a state folder holds, for whoever wants to see it or throw it away."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.detectors import storage
from exporter.drift.state import KIND, lock
from exporter.errors import ConfigError


@dataclass(frozen=True, slots=True)
class StateEntry:
    """A file of the folder, in numbers; where ``problem`` says why it cannot be read, the rest is empty."""

    path: Path
    problem: str = ""
    model: str = ""
    version: str = ""
    detector: str = ""
    worker: int = 0
    saved: float = 0.0  # seconds since the epoch
    source: str = "none"
    reference_rows: int = 0
    reference_timestamp: float = 0.0  # seconds since the epoch; 0 where it is not known
    learning_rows: int | None = None  # None if nothing is being learned
    in_use: bool = False


def entries(folder: Path, model: str | None = None) -> list[StateEntry]:
    """The files of a state folder, of all models or of one, by name.

    A ConfigError if there is no such folder.
    """
    if not folder.is_dir():
        what = "is a file, and no folder" if folder.exists() else "there is no such folder"
        raise ConfigError(f"{folder}: {what}; give the one that the key state names")
    found = [_entry(path) for path in sorted(folder.glob("*.npz"))]
    return [entry for entry in found if model is None or entry.model == model]


def forget(folder: Path, model: str | None = None) -> list[StateEntry]:
    """Remove the files of a state folder, of all models or of one; gives those that are gone.

    A ConfigError, and nothing is removed, if a running process holds one of them: it would write it again.
    """
    found = entries(folder, model)
    held = [descriptor for descriptor in (lock(entry.path) for entry in found) if descriptor is not None]
    try:
        if len(held) < len(found):
            used = len(found) - len(held)
            raise ConfigError(
                f"{folder}: {used} of its files are in use by a running process; stop that first"
            )
        for entry in found:
            entry.path.unlink(missing_ok=True)
            # A lock stays: whoever has just opened it must not be alone with a file that is gone.
    finally:
        for descriptor in held:
            os.close(descriptor)
    return found


def _entry(path: Path) -> StateEntry:
    held = lock(path)
    if held is not None:
        os.close(held)
    try:
        settings, arrays = storage.read(path, KIND)
        return StateEntry(path, in_use=held is None, **_numbers(settings, arrays))
    except Exception as error:  # a stranger's file fails wherever it is looked at first
        return StateEntry(path, problem=str(error).removeprefix(f"{path}: "), in_use=held is None)


def _numbers(settings: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: str(settings[name]) for name in ("model", "version")},
        "detector": str(settings["label"]),
        "worker": int(settings["worker"]),
        "saved": float(settings["saved"]),
        "source": str(settings["origin"]["source"]),
        "reference_rows": int(settings["origin"]["rows"]),
        "reference_timestamp": float(settings["origin"]["timestamp"]),
        "learning_rows": None if settings["learner"] is None else len(arrays["learned_rows"]),
    }
