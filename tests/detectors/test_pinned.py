"""The digest of a directory, and that nothing can be exchanged between the check and the use."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from exporter.detectors.alibi.pinned import directory_digest, pinned_copy
from exporter.errors import DetectorFileError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "saved"
    (root / "model" / "deep").mkdir(parents=True)
    (root / "config.toml").write_text("name = 'X'\n")
    (root / "Zebra.npy").write_bytes(b"\x00\x01")
    (root / ".hidden").write_bytes(b"h")
    (root / "ä b.txt").write_text("non-ascii name")
    (root / "model" / "deep" / "model.pt").write_bytes(os.urandom(3 << 20))
    return root


def test_the_digest_is_the_one_that_coreutils_give(folder: Path) -> None:
    recipe = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    printed = subprocess.run(recipe, shell=True, cwd=folder, capture_output=True, text=True, check=True)
    assert directory_digest(folder) == printed.stdout.split()[0]


@pytest.mark.parametrize("change", ["content", "name", "added", "removed", "moved", "hidden"])
def test_every_change_changes_the_digest(folder: Path, change: str) -> None:
    before = directory_digest(folder)
    match change:
        case "content":
            (folder / "Zebra.npy").write_bytes(b"\x00\x02")
        case "name":
            (folder / "Zebra.npy").rename(folder / "zebra.npy")
        case "added":
            (folder / "empty").touch()
        case "removed":
            (folder / "Zebra.npy").unlink()
        case "moved":
            (folder / "Zebra.npy").rename(folder / "model" / "Zebra.npy")
        case "hidden":
            (folder / ".hidden").write_bytes(b"i")
    assert directory_digest(folder) != before


def test_times_modes_and_empty_folders_do_not_change_it(folder: Path) -> None:
    before = directory_digest(folder)
    os.utime(folder / "config.toml", (0, 0))
    (folder / "config.toml").chmod(0o600)
    (folder / "nothing").mkdir()
    assert directory_digest(folder) == before


def test_the_copy_holds_the_checked_bytes_and_goes_away(folder: Path) -> None:
    with pinned_copy(folder, directory_digest(folder)) as copy:
        assert directory_digest(copy) == directory_digest(folder)
        (folder / "config.toml").write_text("exchanged after the check")
        assert (copy / "config.toml").read_text() == "name = 'X'\n"
        assert copy.parent.stat().st_mode & 0o077 == 0
    assert not copy.exists()


def test_a_wrong_digest_yields_nothing(folder: Path) -> None:
    found = directory_digest(folder)
    with pytest.raises(DetectorFileError, match=f"have the digest {found}, pinned is {'0' * 64}"):  # noqa: SIM117
        with pinned_copy(folder, "0" * 64):
            pytest.fail("the copy was handed out")


def test_links_and_special_files_are_refused(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(DetectorFileError, match="link: a link or special file; only plain files"):
        directory_digest(folder)
    (folder / "link").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(DetectorFileError, match="pipe: a link or special file"):
        directory_digest(folder)
    (folder / "pipe").unlink()
    (folder / "folder-link").symlink_to(folder / "model", target_is_directory=True)
    with pytest.raises(DetectorFileError, match="folder-link: a link"):
        directory_digest(folder)


@pytest.mark.parametrize("name", [b"back\\slash", b"line\nbreak", b"bad\xff"])
def test_names_that_tools_would_quote_are_refused(folder: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).touch()
    with pytest.raises(DetectorFileError, match="rename it"):
        directory_digest(folder)


def test_what_is_no_directory_of_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DetectorFileError, match="not a directory; give the directory"):
        directory_digest(tmp_path / "none")
    with pytest.raises(DetectorFileError, match="holds no files"):
        directory_digest(tmp_path)
