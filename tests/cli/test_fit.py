"""``inference-exporter fit``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exporter.detectors import OnlineMMD

from .conftest import Run


def test_it_writes_a_detector_and_says_what_it_found(folder: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out.npz"
    code, said, progress = run(
        "fit", folder / "ref.npy", "--out", out, "--window", "10,20", "--seed", 1,
        "--false-alarm-interval", "10m", "--max-per-second", 5,
    )  # fmt: skip
    assert code == 0
    detector = OnlineMMD.load(out)
    assert detector.windows == (10, 20)
    assert detector.expected_run_length == 3000
    assert "300 embeddings of length 4" in said
    assert "window 10: threshold" in said
    assert "window 20: threshold" in said
    assert "one in 3,000 tests on average, one in 10 minutes at 5 tests a second" in said
    assert said.splitlines()[-1] == f"Next: inference-exporter explain-threshold {out} --max-per-second 5"
    assert progress.splitlines() == [f"calibrating: {share}%" for share in (25, 50, 75, 100)]


def test_the_seed_makes_it_repeatable(folder: Path, tmp_path: Path, run: Run) -> None:
    for name in ("a.npz", "b.npz"):
        run("fit", folder / "ref.npy", "--out", tmp_path / name, "--window", 10, "--seed", 3)
    a, b = OnlineMMD.load(tmp_path / "a.npz"), OnlineMMD.load(tmp_path / "b.npz")
    assert np.array_equal(a.thresholds, b.thresholds)


def test_columns_keep_their_names_and_an_index_is_none_of_them(tmp_path: Path, run: Run) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 2))
    lines = [f"{n},{a},{b},1" for n, (a, b) in enumerate(rows)]
    (tmp_path / "frame.csv").write_text("\n".join([",age,income,target", *lines]))
    code, said, _ = run("fit", tmp_path / "frame.csv", "--out", tmp_path / "out.npz", "--window", 10)
    assert code == 0
    assert OnlineMMD.load(tmp_path / "out.npz").feature_names == ("age", "income", "target")
    assert "60 embeddings of length 3" in said
    assert "note: the column '' is the index of a frame, and is left out" in said
    assert "note: the column target is taken as a feature" in said


def test_a_directory_of_alibi_detect_brings_its_own_settings(tmp_path: Path, run: Run) -> None:
    saved = tmp_path / "cd"
    saved.mkdir()
    np.save(saved / "x_ref.npy", np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32))
    (saved / "config.toml").write_text(
        'name = "MMDDriftOnline"\nx_ref = "x_ref.npy"\nert = 60.0\nwindow_size = 6\nsigma = [ 1.5,]\n'
        'x_ref_preprocessed = true\n[preprocess_fn]\nsrc = "preprocess_fn/function.dill"\n'
    )
    code, said, _ = run("fit", saved, "--out", tmp_path / "out.npz", "--seed", 1)
    assert code == 0
    detector = OnlineMMD.load(tmp_path / "out.npz")
    assert (detector.windows, detector.expected_run_length, detector.bandwidth) == ((6,), 60.0, 1.5)
    assert "note: its preprocess_fn is a pickle and is not run" in said
    run("fit", saved, "--out", tmp_path / "out.npz", "--seed", 1, "--window", 8, "--bandwidth", 2)
    detector = OnlineMMD.load(tmp_path / "out.npz")
    assert (detector.windows, detector.expected_run_length, detector.bandwidth) == ((8,), 60.0, 2.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.npy"], "error: reference: no.npy does not exist; give the path of a file"),
        (["{ref}", "--window", "100"], "error: reference: 300 rows; a window of 100 needs at least 400"),
        (["{ref}", "--window", "ten"], "error: --window: 'ten'; give a whole number, or several such as"),
        (["{ref}", "--window", "1"], "error: window: (1,)"),
        (["{ref}", "--out", "detector"], "error: --out: detector; give a file name that ends in .npz"),
        (["{ref}", "--out", "no/x.npz"], "error: --out: no/x.npz; the folder does not exist, create it"),
        (["{ref}", "--false-alarm-interval", "7d"], "error: --false-alarm-interval needs --max-per-second"),
        (
            ["{ref}", "--false-alarm-interval", "7d", "--max-per-second", "1", "--expected-run-length", "99"],
            "error: give --expected-run-length or --false-alarm-interval, not both",
        ),
        (["{ref}", "--false-alarm-interval", "soon"], "error: --false-alarm-interval: 'soon'; give seconds"),
        (["{ref}", "--false-alarm-interval", "0s"], "error: --false-alarm-interval: '0s'; give seconds"),
        (["{ref}", "--max-per-second", "0"], "error: --max-per-second: 0; give a number above 0"),
        (["{ref}", "--bandwidth", "nan"], "error: --bandwidth: nan; give a number above 0"),
        (["{ref}", "--expected-run-length", "inf"], "error: --expected-run-length: inf; give a number"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    folder: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said, error = run("fit", *(a.format(ref=folder / "ref.npy") for a in arguments))
    assert code == 2
    assert said == ""
    assert error.startswith(message)
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
