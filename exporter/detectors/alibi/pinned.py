"""A directory of files, pinned by one SHA-256: what was hashed is what is opened.

The digest is the SHA-256 of the lines that ``sha256sum`` prints for all files below the directory,
sorted by the bytes of their relative paths; hidden files count, empty folders do not. So it can be
checked without this package::

    cd DIR && find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.errors import DetectorFileError

_CHUNK_BYTES = 1 << 20


def directory_digest(directory: str | os.PathLike[str]) -> str:
    """SHA-256 of all files of a directory, 64 lower-case hex digits; nothing is interpreted.

    A DetectorFileError if it is not a directory, is empty, or holds anything but plain files and folders.
    """
    return _digest(Path(directory), None)


@contextmanager
def pinned_copy(directory: str | os.PathLike[str], sha256: str) -> Iterator[Path]:
    """A private copy of the directory, made only of the bytes that ``sha256`` was checked against.

    Each file is read once, hashed and copied in the same step, so nothing can be exchanged between
    the check and the use. The copy is removed at the end. A DetectorFileError if the digest is another.
    """
    source = Path(directory)
    with tempfile.TemporaryDirectory(prefix="inference-exporter-") as folder:
        copy = Path(folder) / "detector"
        copy.mkdir()
        found = _digest(source, copy)
        if found != sha256.strip().lower():
            shutil.rmtree(copy)
            raise DetectorFileError(
                f"sha256: the files in {source} have the digest {found}, pinned is {sha256}; "
                "they are not opened. If you trust this version of them, pin the new digest"
            )
        yield copy


def _digest(source: Path, copy: Path | None) -> str:
    lines = hashlib.sha256()
    for relative in _files(source):
        content = hashlib.sha256()
        target = Path(os.devnull) if copy is None else copy / relative
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # O_NOFOLLOW: a file replaced by a link since it was listed is an error, not followed.
            with open(source / relative, "rb", opener=_open_plain) as file, target.open("wb") as copied:
                while chunk := file.read(_CHUNK_BYTES):
                    content.update(chunk)
                    copied.write(chunk)
        except OSError as error:
            raise DetectorFileError(
                f"{source / relative}: cannot be read ({error.strerror}); give a readable directory"
            ) from error
        lines.update(f"{content.hexdigest()}  {relative}\n".encode())
    return lines.hexdigest()


def _open_plain(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _files(source: Path) -> list[str]:
    """Relative paths of all files, sorted by their bytes."""
    if not source.is_dir():
        raise DetectorFileError(f"{source}: not a directory; give the directory that save_detector wrote")
    found: list[str] = []
    folders = [source]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise DetectorFileError(
                f"{folder}: cannot be read ({error.strerror}); give a readable directory"
            ) from error
        for entry in entries:
            path = Path(entry.path)
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                folders.append(path)
            elif stat.S_ISREG(mode):
                found.append(_plain_name(path.relative_to(source).as_posix(), path))
            else:
                raise DetectorFileError(
                    f"{path}: a link or special file; only plain files can be pinned: replace it by a copy"
                )
    if not found:
        raise DetectorFileError(f"{source}: holds no files; give the directory that save_detector wrote")
    return sorted(found, key=str.encode)


def _plain_name(relative: str, path: Path) -> str:
    valid_utf8 = relative.encode(errors="replace").decode() == relative
    if not valid_utf8 or set(relative) & set("\\\n\r"):
        raise DetectorFileError(
            f"{str(path)!r}: a file name with a backslash, a line break or invalid UTF-8; rename it"
        )
    return relative
