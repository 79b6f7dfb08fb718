"""Detector files: one npz of plain arrays, versioned, checksummed and written atomically.

Nothing in a file is ever executed: arrays are read with ``allow_pickle=False`` and the settings are
JSON. A file is written beside its place, flushed to the disk and moved over it in one step, so a
crash leaves the old file or the new one, and at most one half-written file for each process.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import DetectorFileError

FORMAT_VERSION = 1
_SETTINGS = "settings"
_CHECKSUM = "sha256"
_ARCHIVE = b"PK"


def write(
    path: str | os.PathLike[str], engine: str, settings: dict[str, Any], arrays: dict[str, Any], *, mode: int
) -> None:
    """Write ``settings`` (JSON values) and ``arrays`` (NumPy, no objects) to ``path``, with that mode."""
    target = Path(path)
    text = json.dumps({"kind": engine, "format": FORMAT_VERSION, **settings}, sort_keys=True)
    content: dict[str, Any] = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    for name, array in content.items():
        if array.dtype.hasobject:
            raise ValueError(f"{name}: objects, which would have to be pickled")
    content[_SETTINGS] = np.frombuffer(text.encode(), dtype=np.uint8)
    content[_CHECKSUM] = _digest(content)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(temporary, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            temporary.chmod(mode)  # whatever the process's mask says
            np.savez(file, **content)  # NumPy before 2.2 would save allow_pickle=False as one more array
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


def remove_half_written(path: str | os.PathLike[str]) -> None:
    """Remove what killed processes left beside ``path``; for whoever is the only one to write it now."""
    target = Path(path)
    ours = re.compile(re.escape(f".{target.name}.") + r"\d+\.tmp")
    with contextlib.suppress(OSError):
        for beside in target.parent.iterdir():
            if ours.fullmatch(beside.name):
                beside.unlink()


def is_detector_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one that :func:`write` made, be it damaged, and not just some arrays.

    It is looked for the names themselves: the directory of a damaged archive may list some of its arrays.
    """
    try:
        data = Path(path).read_bytes()
    except OSError:
        return False
    return all(f"{name}.npy".encode() in data for name in (_SETTINGS, _CHECKSUM))


def read(path: str | os.PathLike[str], engine: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Settings and arrays of a file that :func:`write` made.

    A DetectorFileError if it is corrupt, truncated, of another engine or from a newer version.
    """
    data = Path(path).read_bytes()
    try:
        if not data.startswith(_ARCHIVE):  # NumPy would take it for a pickle, and advise to allow that
            raise ValueError("it is no .npz archive")
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files}
        settings = json.loads(content[_SETTINGS].tobytes().decode())
        version, found = settings["format"], settings["kind"]
    except Exception as error:  # zipfile, NumPy and JSON raise what they please at damaged bytes
        raise DetectorFileError(f"{path}: not a detector file, or damaged ({error}); fit it again") from error
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise DetectorFileError(
            f"{path}: format version {version!r}; this version reads up to {FORMAT_VERSION}: "
            "upgrade inference-exporter or fit again"
        )
    if found != engine:
        raise DetectorFileError(f"{path}: holds {found!r}, not {engine!r}; give the right file")
    stored = content.pop(_CHECKSUM, np.zeros(0, dtype=np.uint8))
    if not np.array_equal(stored, _digest(content)):
        raise DetectorFileError(f"{path}: checksum does not match; the file is damaged, fit it again")
    del content[_SETTINGS]
    return settings, content


def _digest(content: dict[str, NDArray[Any]]) -> NDArray[np.uint8]:
    digest = hashlib.sha256()
    for name in sorted(content):
        array = content[name]
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(np.ascontiguousarray(array).data)
    return np.frombuffer(digest.digest(), dtype=np.uint8)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system lets a folder be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
