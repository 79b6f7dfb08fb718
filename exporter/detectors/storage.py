"""Detector files: one npz of plain arrays, versioned, checksummed and written atomically.

Nothing in a file is ever executed: arrays are read with ``allow_pickle=False`` and the settings are
JSON. A file is written beside its place, flushed to the disk and moved over it in one step, so a
crash leaves the old file or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import DetectorFileError

FORMAT_VERSION = 1
_SETTINGS = "settings"
_CHECKSUM = "sha256"


def write(path: str | os.PathLike[str], kind: str, settings: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write ``settings`` (JSON values) and ``arrays`` (NumPy, no objects) to ``path``."""
    target = Path(path)
    text = json.dumps({"kind": kind, "format": FORMAT_VERSION, **settings}, sort_keys=True)
    content: dict[str, NDArray[Any]] = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content[_SETTINGS] = np.frombuffer(text.encode(), dtype=np.uint8)
    content[_CHECKSUM] = _digest(content)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, allow_pickle=False, **content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    _sync_folder(target.parent)


def read(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Settings and arrays of a file that :func:`write` made.

    Raises
    ------
    DetectorFileError
        If the file is corrupt, truncated, of another kind or from a newer version.
    FileNotFoundError
        If there is none.
    """
    data = Path(path).read_bytes()
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array, not an archive")
            content = {name: archive[name] for name in archive.files}
        settings = json.loads(content[_SETTINGS].tobytes().decode())
        version, found = settings["format"], settings["kind"]
    except (ValueError, KeyError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DetectorFileError(f"{path}: not a detector file, or damaged ({error}); fit it again") from error
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise DetectorFileError(
            f"{path}: format version {version!r}; this version reads up to {FORMAT_VERSION}: "
            "upgrade inference-exporter or fit again"
        )
    if found != kind:
        raise DetectorFileError(f"{path}: holds {found!r}, not {kind!r}; give the right file")
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
