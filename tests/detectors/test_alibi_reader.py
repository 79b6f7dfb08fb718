"""Reading what alibi-detect saved, without it: files are written here byte for byte as it does."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.detectors import OnlineMMD
from exporter.detectors.alibi.detector import load_alibi_detector
from exporter.detectors.alibi.reader import read_online_mmd, read_settings
from exporter.errors import ConfigError, DetectorFileError, InvalidReference

SETTINGS = """name = "MMDDriftOnline"
x_ref = "x_ref.npy"
preprocess_fn = "None"
input_shape = "None"
data_type = "None"
x_ref_preprocessed = false
backend = "pytorch"
ert = 20.0
window_size = 5
kernel = "None"
sigma = "None"
n_bootstraps = 200
device = "None"
verbose = false

[meta]
version = "0.13.0"
version_warning = false
"""

PREPROCESSED = SETTINGS.replace('preprocess_fn = "None"\n', "").replace(
    "x_ref_preprocessed = false", "x_ref_preprocessed = true"
) + ('\n[preprocess_fn]\nsrc = "preprocess_fn/function.dill"\n\n[preprocess_fn.kwargs]\n')

KERNEL = (
    SETTINGS.replace('kernel = "None"\n', "")
    + '\n[kernel]\nsigma = [ 1.0,]\ntrainable = false\nflavour = "pytorch"\n'
    + 'init_sigma_fn = "@utils.pytorch.kernels.sigma_median"\nsrc = "@utils.pytorch.kernels.GaussianRBF"\n'
)


class Canary:
    """A pickle that touches a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def save(folder: Path, settings: str = SETTINGS, reference: Any = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(settings)
    if reference is None:
        reference = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    np.save(folder / "x_ref.npy", reference)
    return folder


def test_reference_and_settings_come_over(tmp_path: Path) -> None:
    saved = read_online_mmd(save(tmp_path / "cd"))
    assert saved.reference.shape == (60, 4)
    assert saved.reference.dtype == np.float32
    assert (saved.expected_run_length, saved.window, saved.bandwidth, saved.notes) == (20.0, 5, None, ())


def test_it_becomes_our_engine(tmp_path: Path) -> None:
    detector = load_alibi_detector(save(tmp_path / "cd"), seed=1)
    assert isinstance(detector, OnlineMMD)
    assert detector.windows == (5,)
    assert detector.expected_run_length == 20.0
    assert detector.update(np.linspace(5.0, 5.1, 120).reshape(30, 4)).is_drift[-1]


def test_rows_with_more_axes_are_flattened(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).normal(size=(60, 3, 4, 4)).astype(np.float32)
    saved = read_online_mmd(save(tmp_path / "cd", reference=pictures))
    assert np.array_equal(saved.reference, pictures.reshape(60, 48))


@pytest.mark.parametrize(
    ("settings", "bandwidth"),
    [
        (SETTINGS, None),
        (SETTINGS.replace('sigma = "None"', "sigma = [ 1.5,]"), 1.5),
        (SETTINGS.replace('sigma = "None"', "sigma = 1.5"), 1.5),
        (KERNEL, None),  # alibi-detect infers sigma there, whatever the kernel was made with
        (KERNEL.replace('sigma = "None"', "sigma = [ 2.0,]"), 1.0),  # and takes the kernel's own here
    ],
)
def test_the_bandwidth_is_the_one_that_it_used(
    tmp_path: Path, settings: str, bandwidth: float | None
) -> None:
    assert read_online_mmd(save(tmp_path / "cd", settings)).bandwidth == bandwidth


def test_what_is_left_behind_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = save(tmp_path / "cd", PREPROCESSED)
    (folder / "state").mkdir()
    notes = read_online_mmd(folder).notes
    assert len(notes) == 2
    assert "preprocess_fn is a pickle and is not run" in notes[0]
    assert "the window starts empty" in notes[1]
    load_alibi_detector(folder, seed=1)
    assert "preprocess_fn is a pickle and is not run" in caplog.text


def test_nothing_that_is_pickled_is_read(tmp_path: Path) -> None:
    touched = tmp_path / "executed"
    folder = save(tmp_path / "cd", PREPROCESSED)
    for place in ("preprocess_fn/function.dill", "state/state.pt", "meta.dill", "meta.pickle"):
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_bytes(pickle.dumps(Canary(touched)))
    load_alibi_detector(folder, seed=1)
    np.save(folder / "x_ref.npy", np.array([Canary(touched)] * 60, dtype=object), allow_pickle=True)
    with pytest.raises(DetectorFileError, match=r"not readable as a plain .npy array"):
        load_alibi_detector(folder)
    assert not touched.exists()
    pickle.loads((folder / "meta.dill").read_bytes())  # the canary itself is alive
    assert touched.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "MMDDriftOnline"', "", "name is missing; it must be the detector's class"),
        ("MMDDriftOnline", "KSDrift", "name is KSDrift; only MMDDriftOnline can be read without"),
        ("ert = 20.0", "ert = 1.0", "ert is 1.0; it must be a number above 1"),
        ("ert = 20.0", 'ert = "None"', "ert is None; it must be a number above 1"),
        ("ert = 20.0", "ert = inf", "ert is inf; it must be a number above 1"),
        ("ert = 20.0", "ert = true", "ert is True; it must be a number above 1"),
        ("window_size = 5", "window_size = 5.5", "window_size is 5.5; it must be a whole number from 2"),
        ("window_size = 5", "", "window_size is None; it must be a whole number from 2"),
        ('sigma = "None"', "sigma = [1.5, 2.5]", "sigma has 2 values; only one bandwidth"),
        ('sigma = "None"', "sigma = [-1.0]", "sigma is -1.0; it must be a positive number"),
        ('sigma = "None"', 'sigma = "sigma.npy"', "sigma is 'sigma.npy'; it must be a positive number"),
        ('kernel = "None"', 'kernel = "kernel.dill"', "kernel is 'kernel.dill'; only a GaussianRBF"),
        ('x_ref = "x_ref.npy"', "", "x_ref is None; it must be the name of an .npy file"),
        ('x_ref = "x_ref.npy"', 'x_ref = "../secret.npy"', "x_ref is '../secret.npy', outside the directory"),
        ('x_ref = "x_ref.npy"', 'x_ref = "/etc/passwd"', "x_ref is '/etc/passwd', outside the directory"),
        ('x_ref = "x_ref.npy"', 'x_ref = "x.npy"', r"x.npy: not readable as a plain .npy array"),
        ('x_ref = "x_ref.npy"', 'x_ref = "a\\u0000b.npy"', "it must be the name of an .npy file"),
        ("ert = 20.0", "ert = ", "not readable as TOML"),
        ("ert = 20.0", "a = " + "[" * 5000, "not readable as TOML"),
    ],
)
def test_a_wrong_setting_names_the_key_and_the_rule(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SETTINGS
    folder = save(tmp_path / "cd", SETTINGS.replace(old, new, 1))
    with pytest.raises(DetectorFileError, match=message):
        read_online_mmd(folder)


def test_raw_inputs_beside_a_preprocess_fn_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "cd", PREPROCESSED.replace("preprocessed = true", "preprocessed = false"))
    with pytest.raises(DetectorFileError, match="x_ref holds raw inputs; load it with alibi-detect"):
        read_online_mmd(folder)


def test_a_link_out_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    folder = save(tmp_path / "cd")
    (folder / "x_ref.npy").rename(tmp_path / "elsewhere.npy")
    (folder / "x_ref.npy").symlink_to(tmp_path / "elsewhere.npy")
    with pytest.raises(DetectorFileError, match="outside the directory"):
        read_online_mmd(folder)


@pytest.mark.parametrize("legacy", ["meta.dill", "meta.pickle"])
def test_the_legacy_layout_is_named(tmp_path: Path, legacy: str) -> None:
    (tmp_path / legacy).touch()
    with pytest.raises(DetectorFileError, match=rf"legacy layout \({legacy}\) is all pickles"):
        read_settings(tmp_path)
    (tmp_path / legacy).unlink()
    with pytest.raises(DetectorFileError, match=r"no config.toml; give the directory"):
        read_settings(tmp_path)


def test_damaged_files_are_one_clear_error(tmp_path: Path) -> None:
    folder = save(tmp_path / "cd")
    whole = (folder / "x_ref.npy").read_bytes()
    for size in (0, 5, 60, 127, 128, len(whole) - 1):
        (folder / "x_ref.npy").write_bytes(whole[:size])
        with pytest.raises(DetectorFileError, match=r"x_ref.npy"):
            read_online_mmd(folder)
    # A header that promises 10^15 rows must not take memory for them.
    header = whole[:128].replace(b"(60, 4)", b"(1000000000000000, 4)")
    (folder / "x_ref.npy").write_bytes(header[:127] + b"\n" + whole[128:])
    with pytest.raises(DetectorFileError, match=r"x_ref.npy"):
        read_online_mmd(folder)
    np.savez(folder / "archive.npz", np.zeros((60, 4)))
    (folder / "archive.npz").rename(folder / "x_ref.npy")
    with pytest.raises(DetectorFileError, match="an archive, not an array"):
        read_online_mmd(folder)
    np.save(folder / "x_ref.npy", np.array(["text"] * 60))
    with pytest.raises(DetectorFileError, match="must hold real numbers"):
        read_online_mmd(folder)
    np.save(folder / "x_ref.npy", np.zeros(60))
    with pytest.raises(DetectorFileError, match=r"shape \(60,\); it must be"):
        read_online_mmd(folder)
    (folder / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DetectorFileError, match="not readable as TOML"):
        read_online_mmd(folder)
    (folder / "config.toml").write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(DetectorFileError, match="larger than 1 MiB"):
        read_online_mmd(folder)


def test_a_reference_that_is_too_small_is_the_engines_own_error(tmp_path: Path) -> None:
    folder = save(tmp_path / "cd", reference=np.random.default_rng(0).normal(size=(12, 4)))
    with pytest.raises(InvalidReference, match="needs at least 20"):
        load_alibi_detector(folder)


def test_trust_needs_a_pinned_digest(tmp_path: Path) -> None:
    folder = save(tmp_path / "cd")
    with pytest.raises(ConfigError, match=r"trust_pickles: true for .*, but sha256 is missing"):
        load_alibi_detector(folder, trust_pickles=True)
    with pytest.raises(DetectorFileError, match="they are not opened"):
        load_alibi_detector(folder, trust_pickles=True, sha256="0" * 64)
