"""What alibi-detect saved, read without alibi-detect: TOML and plain arrays, nothing is executed.

``save_detector`` writes a directory with ``config.toml`` (the detector's class name and arguments),
``x_ref.npy`` (the reference, after preprocessing) and, where there are any, pickled models and
functions and a ``state`` folder. Only the first two are opened here.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import DetectorFileError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG_FILE = "config.toml"
_MAX_CONFIG_BYTES = 1 << 20
_RBF = "GaussianRBF"


@dataclass(frozen=True, slots=True)
class SavedOnlineMMD:
    """Reference and settings of an ``MMDDriftOnline`` that alibi-detect saved."""

    reference: NDArray[Any]  # (n, d); rows with more axes are flattened, as the kernel there does
    expected_run_length: float  # its ert
    window: int  # its window_size
    bandwidth: float | None  # its sigma; None where it took the median heuristic, which is ours too
    notes: tuple[str, ...]  # what was left behind, in plain words


def read_settings(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings in ``config.toml``; ``"None"``, alibi-detect's way to write None, is None."""
    folder = Path(directory)
    path = folder / CONFIG_FILE
    if not path.is_file():
        for legacy in ("meta.dill", "meta.pickle"):
            if (folder / legacy).is_file():
                raise DetectorFileError(
                    f"{folder}: the legacy layout ({legacy}) is all pickles, which are not read; load it "
                    f"with alibi-detect and save it again with save_detector, which writes {CONFIG_FILE}"
                )
        raise DetectorFileError(
            f"{folder}: no {CONFIG_FILE}; give the directory that alibi-detect's save_detector wrote"
        )
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_CONFIG_BYTES + 1)
        if len(raw) > _MAX_CONFIG_BYTES:
            raise DetectorFileError(f"{path}: larger than 1 MiB; a saved detector's settings are a few lines")
        settings = tomllib.loads(raw.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DetectorFileError(f"{path}: not readable as TOML ({error}); save the detector again") from error
    if not isinstance(settings.get("name"), str):
        raise DetectorFileError(
            f"{path}: name is missing; it must be the detector's class, as MMDDriftOnline"
        )
    return {key: None if value == "None" else value for key, value in settings.items()}


def read_online_mmd(directory: str | os.PathLike[str]) -> SavedOnlineMMD:
    """Reference and settings of a saved ``MMDDriftOnline`` (backend pytorch or tensorflow).

    A saved preprocessing function or model is a pickle and is not read: the embeddings must then
    come from the model itself, through the hook. The running window is not read either.

    Raises
    ------
    DetectorFileError
        If the directory is corrupt, holds another detector, or one with a kernel other than a
        Gaussian RBF of one bandwidth.
    """
    folder = Path(directory)
    settings = read_settings(folder)
    path = folder / CONFIG_FILE
    if settings["name"] != "MMDDriftOnline":
        raise DetectorFileError(
            f"{path}: name is {settings['name']}; only MMDDriftOnline can be read without alibi-detect: "
            "install inference-exporter[alibi] and set trust_pickles: true with the directory's sha256"
        )
    ert = settings.get("ert")
    if not isinstance(ert, (int, float)) or isinstance(ert, bool) or not math.isfinite(ert) or ert <= 1:
        raise DetectorFileError(f"{path}: ert is {ert!r}; it must be a number above 1")
    window = settings.get("window_size")
    if not isinstance(window, int) or isinstance(window, bool) or window < 2:
        raise DetectorFileError(f"{path}: window_size is {window!r}; it must be a whole number from 2")
    notes = []
    if settings.get("preprocess_fn") is not None:
        if not settings.get("x_ref_preprocessed"):
            raise DetectorFileError(
                f"{path}: x_ref_preprocessed is false beside a preprocess_fn, so x_ref holds raw inputs; "
                "load it with alibi-detect and save it again, which stores the embeddings"
            )
        notes.append(
            "its preprocess_fn is a pickle and is not run: the embeddings must come from the same model, "
            "through the hook (InferenceExporter.watch or observe(embedding=...))"
        )
    if (folder / "state").exists():
        notes.append("its running window (state/) is not read: the window starts empty")
    return SavedOnlineMMD(
        reference=_reference(folder, settings.get("x_ref")),
        expected_run_length=float(ert),
        window=window,
        bandwidth=_bandwidth(path, settings),
        notes=tuple(notes),
    )


def read_array(folder: Path, name: Any) -> NDArray[Any]:
    """One ``.npy`` file of a saved detector, which lies inside ``folder`` and holds real numbers."""
    if not isinstance(name, str) or "\0" in name:
        raise DetectorFileError(f"{folder}: x_ref is {name!r}; it must be the name of an .npy file")
    path = folder / name
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links
        inside = False
    if not inside:
        raise DetectorFileError(f"{folder}: x_ref is {name!r}, outside the directory; copy the file into it")
    try:
        # Mapped first: a header that promises more than the file holds fails before memory is taken.
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(mapped, np.ndarray):
            mapped.close()
            raise ValueError("an archive, not an array")
        array = np.array(mapped)
    except (OSError, ValueError, EOFError, OverflowError, SyntaxError) as error:
        message = f"{path}: not readable as a plain .npy array ({error}); save the detector again"
        raise DetectorFileError(message) from error
    if array.dtype.kind not in "fiub":
        raise DetectorFileError(f"{path}: dtype {array.dtype}; it must hold real numbers")
    return array


def _reference(folder: Path, name: Any) -> NDArray[Any]:
    array = read_array(folder, name)
    if array.ndim < 2:
        raise DetectorFileError(f"{folder / name}: shape {array.shape}; it must be (n, d) or more axes")
    return array.reshape(array.shape[0], -1)


def _bandwidth(path: Path, settings: dict[str, Any]) -> float | None:
    sigma, kernel = settings.get("sigma"), settings.get("kernel")
    if kernel is not None:
        source = kernel.get("src") if isinstance(kernel, dict) else kernel
        if not isinstance(source, str) or not source.startswith("@") or not source.endswith(f".{_RBF}"):
            raise DetectorFileError(
                f"{path}: kernel is {source!r}; only a {_RBF} can be read without alibi-detect: "
                "use trust_pickles: true, or save the detector with the default kernel"
            )
    if sigma is None:
        return None  # alibi-detect then infers it, even where the kernel brings its own
    if isinstance(kernel, dict):
        sigma = kernel.get("sigma")
    values = sigma if isinstance(sigma, list) else [sigma]
    if len(values) != 1:
        raise DetectorFileError(
            f"{path}: sigma has {len(values)} values; only one bandwidth can be read without alibi-detect: "
            "use trust_pickles: true, or save the detector with one sigma"
        )
    value = values[0]
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
        raise DetectorFileError(f"{path}: sigma is {value!r}; it must be a positive number")
    return float(value)
