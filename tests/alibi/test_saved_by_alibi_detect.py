"""Detectors that the real alibi-detect saves, in our engine and in our pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from alibi_detect import cd
from alibi_detect.cd.pytorch import preprocess_drift
from alibi_detect.saving import save_detector
from alibi_detect.utils.pytorch.kernels import GaussianRBF

from exporter.detectors import Detector, OnlineMMD
from exporter.detectors.alibi.detector import AlibiDetector, load_alibi_detector
from exporter.detectors.alibi.pinned import directory_digest
from exporter.detectors.alibi.reader import read_online_mmd
from exporter.errors import DetectorFileError, InvalidEmbedding

ONLINE = {"ert": 60, "window_size": 10, "backend": "pytorch", "n_bootstraps": 300, "verbose": False}
UNIVARIATE = {"ert": 60, "n_bootstraps": 300, "verbose": False}
SMALL = torch.nn.Sequential(torch.nn.Linear(4, 3))
Make = Callable[[np.ndarray], Any]

KINDS: dict[str, Make] = {
    "MMDDriftOnline": lambda x: cd.MMDDriftOnline(x, **ONLINE),
    "LSDDDriftOnline": lambda x: cd.LSDDDriftOnline(x, **ONLINE),
    "CVMDriftOnline": lambda x: cd.CVMDriftOnline(x, window_sizes=[20, 10], **UNIVARIATE),
    "FETDriftOnline": lambda x: cd.FETDriftOnline((x > 0).astype(int), window_sizes=[10], **UNIVARIATE),
    "KSDrift": cd.KSDrift,
    "CVMDrift": cd.CVMDrift,
    "TabularDrift": partial(cd.TabularDrift, correction="fdr"),
    "ChiSquareDrift": lambda x: cd.ChiSquareDrift((x > 0).astype(int)),
    "FETDrift": lambda x: cd.FETDrift((x > 0).astype(int)),
    "MMDDrift": partial(cd.MMDDrift, backend="pytorch"),
    "LSDDDrift": partial(cd.LSDDDrift, backend="pytorch"),
    "ClassifierDrift": lambda x: cd.ClassifierDrift(
        x, torch.nn.Sequential(torch.nn.Linear(4, 2)), backend="pytorch", epochs=20, preds_type="logits",
        learning_rate=0.05, verbose=0,
    ),
    "SpotTheDiffDrift": partial(cd.SpotTheDiffDrift, backend="pytorch", epochs=5, verbose=0),
}  # fmt: skip
BINARY = ("FETDriftOnline", "ChiSquareDrift", "FETDrift")


@pytest.fixture
def reference() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)


def stream(kind: str, n: int = 200, shift: float = 2.0) -> np.ndarray:
    x = np.random.default_rng(1).normal(size=(n, 4))
    x[n // 2 :] += shift
    return (x > 0).astype(float) if kind in BINARY else x


def load(folder: Path, **settings: Any) -> AlibiDetector:
    detector = load_alibi_detector(
        folder, trust_pickles=True, sha256=directory_digest(folder), window=40, **settings
    )
    assert isinstance(detector, AlibiDetector)
    return detector


@pytest.mark.parametrize("kind", KINDS)
def test_every_saved_detector_runs_in_the_pipeline(tmp_path: Path, reference: np.ndarray, kind: str) -> None:
    torch.manual_seed(0)
    save_detector(KINDS[kind](reference), tmp_path)
    detector = load(tmp_path)
    assert isinstance(detector, Detector)
    assert detector.n_features == 4
    data = stream(kind)
    data[7] = np.nan
    parts = [detector.update(part) for part in np.split(data, [1, 8, 90, 91])]
    stats = np.concatenate([part.test_stat for part in parts])
    is_drift = np.concatenate([part.is_drift for part in parts])
    assert np.flatnonzero(np.concatenate([part.refused for part in parts])).tolist() == [7]
    assert np.isnan(stats[7])
    if kind != "SpotTheDiffDrift":  # whose few epochs here learn too little
        assert is_drift[100:].any()
    last = parts[-1]
    assert last.test_stat_by_window.shape == (109, len(detector.windows))
    assert last.threshold_by_window.shape == (len(detector.windows),)
    if kind != "FETDriftOnline":  # which draws lots where a statistic equals its threshold
        assert np.array_equal(last.test_stat > last.threshold, last.is_drift)
    if "Online" in kind:
        assert detector.expected_run_length == 60
        assert not is_drift[:7].all()
    else:
        assert detector.expected_run_length == 40 / 0.05
        assert np.flatnonzero(~np.isnan(stats)).tolist() == [40, 80, 120, 160]  # one row was refused
        assert not is_drift[:40].any()
    evidence = detector.evidence()
    assert evidence.witness.shape == (detector.windows[-1],)
    assert evidence.shifts[0] > 0.5
    detector.reset()
    assert detector.evidence().witness.size == 0
    with pytest.raises(InvalidEmbedding, match="embeddings of length 4"):
        detector.update(np.zeros((2, 5)))


@pytest.mark.parametrize("kind", ["CVMDriftOnline", "FETDriftOnline", "MMDDriftOnline"])
def test_memory_is_constant_and_the_statistics_are_its_own(
    tmp_path: Path, reference: np.ndarray, kind: str
) -> None:
    save_detector(KINDS[kind](reference), tmp_path)
    detector = load(tmp_path)
    detector.update(stream(kind, 300))
    inner = detector._inner
    assert len(inner.test_stats) == 1
    assert len(inner.drift_preds) == 1
    assert len(getattr(inner, "xs", [])) <= detector.windows[-1]
    assert len(detector._recent) == detector.windows[-1]
    if kind != "MMDDriftOnline":  # which splits its reference at random
        untouched = KINDS[kind](reference)
        for row in stream(kind, 300).astype(inner.x_ref.dtype):
            untouched.predict(row)
        assert np.array_equal(inner.test_stats[-1], untouched.test_stats[-1])


def test_the_adapter_gives_alibi_detects_own_numbers(tmp_path: Path, reference: np.ndarray) -> None:
    save_detector(cd.KSDrift(reference), tmp_path)
    data = stream("KSDrift")
    scores = load(tmp_path).update(data)
    theirs = cd.KSDrift(reference).predict(data[80:120].astype(np.float32))["data"]
    assert scores.test_stat[119] == pytest.approx(-np.log10(theirs["p_val"].min()), rel=1e-5)
    assert scores.threshold == pytest.approx(-np.log10(theirs["threshold"]))
    assert scores.is_drift[119] == bool(theirs["is_drift"])


def test_saved_preprocessing_runs_in_the_adapter_only(tmp_path: Path, reference: np.ndarray) -> None:
    function = partial(preprocess_drift, model=SMALL, device=torch.device("cpu"), batch_size=8)
    save_detector(cd.MMDDriftOnline(reference, preprocess_fn=function, **ONLINE), tmp_path)
    theirs = load(tmp_path)
    assert theirs.n_features == 0
    assert theirs.update(stream("MMDDriftOnline")).is_drift.any()
    assert theirs.n_features == 4
    assert theirs.evidence().dimensions.shape == (3,)
    ours = load_alibi_detector(tmp_path, seed=0)
    assert isinstance(ours, OnlineMMD)
    assert ours.n_features == 3


def test_a_picture_detector_takes_flat_embeddings(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).normal(size=(120, 1, 2, 2)).astype(np.float32)
    save_detector(cd.MMDDriftOnline(pictures, **ONLINE), tmp_path)
    assert load(tmp_path).update(stream("MMDDriftOnline")).is_drift.any()
    assert load_alibi_detector(tmp_path, seed=0).n_features == 4


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"sigma": np.array([1.5], dtype=np.float32)},
        {"kernel": GaussianRBF(torch.tensor([1.0]))},
        {"kernel": GaussianRBF(torch.tensor([1.0])), "sigma": np.array([1.5], dtype=np.float32)},
    ],
)
def test_our_engine_takes_over_its_bandwidth(
    tmp_path: Path, reference: np.ndarray, settings: dict[str, Any]
) -> None:
    theirs = cd.MMDDriftOnline(reference, **ONLINE, **settings)
    save_detector(theirs, tmp_path)
    sigma = float(theirs._detector.kernel.sigma)
    saved = read_online_mmd(tmp_path)
    assert (saved.bandwidth is None) == ("sigma" not in settings)
    ours = load_alibi_detector(tmp_path, seed=0)
    assert isinstance(ours, OnlineMMD)
    assert ours.bandwidth == pytest.approx(sigma, rel=1e-3)


def test_ours_and_theirs_agree_on_the_threshold(tmp_path: Path) -> None:
    # The same reference, run length and window: two calibrations of one quantity.
    reference = np.random.default_rng(5).normal(size=(400, 4)).astype(np.float32)
    settings = ONLINE | {"ert": 100, "n_bootstraps": 2000}
    torch.manual_seed(0)
    theirs = cd.MMDDriftOnline(reference, **settings)
    save_detector(theirs, tmp_path)
    ours = load_alibi_detector(tmp_path, seed=0)
    assert float(ours.thresholds[0]) == pytest.approx(float(theirs._detector.thresholds[-1]), rel=0.15)


def test_a_saved_state_is_taken_over_by_the_adapter(tmp_path: Path, reference: np.ndarray) -> None:
    running = cd.MMDDriftOnline(reference, **ONLINE)
    for row in stream("MMDDriftOnline")[:15].astype(np.float32):
        running.predict(row)
    save_detector(running, tmp_path)
    detector = load(tmp_path)
    assert detector._detector.t == 15
    assert "window starts empty" in read_online_mmd(tmp_path).notes[0]


class Canary:
    """A preprocessing function whose pickle touches a file when it is read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.__name__ = "canary"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x

    def __reduce__(self) -> Any:
        return _sing, (self.path,)


def _sing(path: str) -> Any:
    Path(path).touch()
    return Canary(path)


def test_nothing_is_executed_without_the_flag_or_with_a_wrong_digest(
    tmp_path: Path, reference: np.ndarray
) -> None:
    sang = tmp_path / "sang"
    folder = tmp_path / "cd"
    save_detector(cd.MMDDriftOnline(reference, preprocess_fn=Canary(str(sang)), **ONLINE), folder)
    right = directory_digest(folder)
    assert not sang.exists()

    load_alibi_detector(folder, seed=0)
    with pytest.raises(DetectorFileError, match="they are not opened"):
        load_alibi_detector(folder, trust_pickles=True, sha256="0" * 64)
    pickle_file = folder / "preprocess_fn" / "function.dill"
    pickle_file.write_bytes(pickle_file.read_bytes() + b" ")
    with pytest.raises(DetectorFileError, match="they are not opened"):
        load_alibi_detector(folder, trust_pickles=True, sha256=right)
    assert not sang.exists()

    pickle_file.write_bytes(pickle_file.read_bytes()[:-1])
    load_alibi_detector(folder, trust_pickles=True, sha256=right)
    assert sang.exists()  # the canary does sing where it may


@pytest.mark.parametrize("value", ["/absolute/model", "../outside", "missing-model", "bert-base-cased"])
def test_what_lies_outside_the_pinned_files_is_refused(
    tmp_path: Path, reference: np.ndarray, value: str
) -> None:
    function = partial(preprocess_drift, model=SMALL, device=torch.device("cpu"), batch_size=8)
    save_detector(cd.MMDDriftOnline(reference, preprocess_fn=function, **ONLINE), tmp_path)
    config = tmp_path / "config.toml"
    config.write_text(config.read_text().replace('src = "preprocess_fn/model"', f"src = {json.dumps(value)}"))
    with pytest.raises(DetectorFileError, match=r"preprocess_fn\.model\.src is .* outside the pinned files"):
        load(tmp_path)


def test_a_detector_that_needs_more_than_the_stream_is_refused(tmp_path: Path, reference: np.ndarray) -> None:
    save_detector(cd.ContextMMDDrift(reference, reference[:, :1], backend="pytorch"), tmp_path)
    with pytest.raises(DetectorFileError, match="ContextMMDDrift needs a context"):
        load(tmp_path)


def test_what_alibi_detect_cannot_load_is_one_clear_error(tmp_path: Path, reference: np.ndarray) -> None:
    save_detector(cd.KSDrift(reference), tmp_path)
    config = tmp_path / "config.toml"
    config.write_text(config.read_text().replace("p_val = 0.05", 'p_val = "often"'))
    with pytest.raises(DetectorFileError, match="alibi-detect cannot load it"):
        load(tmp_path)
