"""From an entry of the configuration to a detector, whatever stands in its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exporter.config import AlibiConfig, MMDConfig
from exporter.detectors import OnlineMMD
from exporter.drift.detectors import check_detector, load_detector
from exporter.errors import InferenceExporterError
from tests.streams import normal


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fitted") / "fitted.npz"
    OnlineMMD.fit(normal(200), window=5, expected_run_length=50, seed=1).save(path)
    return path


def test_any_damage_to_a_reference_is_an_error_of_ours_or_harmless(fitted: Path, tmp_path: Path):
    """A service that cannot start says why; and a damaged detector is not taken for some arrays."""
    data = fitted.read_bytes()
    path = tmp_path / "fitted.npz"
    config = MMDConfig(reference=path)
    # The end of the archive says what is in it; damage there changes what the file is taken for.
    beginning = np.random.default_rng(0).choice(len(data) - 1200, 150, replace=False)
    refused = 0
    for at in (*beginning, *range(len(data) - 1200, len(data), 4)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            found = load_detector(config)
            check_detector(config)
        except InferenceExporterError:
            refused += 1
        else:
            assert found is not None, "some of its arrays became a reference"
            assert (found[0].expected_run_length, found[1].source) == (50, "loaded")
    assert refused > 100


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_reference_that_was_cut_off_is_an_error_of_ours(fitted: Path, tmp_path: Path, share: float):
    data = fitted.read_bytes()
    (tmp_path / "fitted.npz").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InferenceExporterError, match=r"fitted\.npz.*cannot be read|damaged"):
        check_detector(MMDConfig(reference=tmp_path / "fitted.npz"))


@pytest.fixture
def saved_by_alibi_detect(tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    folder.mkdir()
    np.save(folder / "x_ref.npy", normal(60).astype(np.float32))
    write_settings(folder, ert=60.0)
    return folder


def write_settings(folder: Path, *, ert: float) -> None:
    lines = [
        'name = "MMDDriftOnline"',
        'x_ref = "x_ref.npy"',
        f"ert = {ert}",
        "window_size = 6",
        "sigma = [1.5]",
    ]
    (folder / "config.toml").write_text("\n".join(lines))


def test_a_checkpoint_of_what_alibi_detect_saved_is_taken_up(saved_by_alibi_detect: Path, tmp_path: Path):
    config = AlibiConfig(
        detector="alibi", reference=saved_by_alibi_detect, checkpoint=tmp_path / "kept.npz", window=20
    )
    failures: list[str] = []
    first, _ = load_detector(config) or (None, None)
    assert isinstance(first, OnlineMMD)
    assert (first.windows, first.expected_run_length, first.bandwidth) == ((6,), 60.0, 1.5)
    first.update(normal(7, seed=1))
    first.save(tmp_path / "kept.npz")
    kept, origin = load_detector(config, lambda: failures.append("skipped")) or (None, None)
    assert isinstance(kept, OnlineMMD)
    assert (origin.source, origin.rows) == ("restored", 60)
    assert (kept.n_seen, failures) == (7, [])
    write_settings(saved_by_alibi_detect, ert=90.0)
    again, _ = load_detector(config, lambda: failures.append("skipped")) or (None, None)
    assert isinstance(again, OnlineMMD)
    assert (again.n_seen, again.expected_run_length, failures) == (0, 90.0, ["skipped"])
