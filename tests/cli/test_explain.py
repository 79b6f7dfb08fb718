"""``inference-exporter explain-threshold`` and ``digest``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from exporter.detectors import OnlineMMD

from .conftest import Run


def test_it_says_what_the_settings_mean(folder: Path, run: Run) -> None:
    code, said, _ = run(
        "explain-threshold", folder / "reference.npz", "--requests-per-second", 50, "--max-per-second", 5,
        "--runs", 10,
    )  # fmt: skip
    assert code == 0
    assert "Each test compares the last 20 observations with a reference of 300." in said
    assert "a false alarm comes once in 2,000 tests on average;" in said
    assert "At 5 tests a second (of 50 requests) that is one false alarm in 6 minutes 40 seconds" in said
    assert ", 6,480 a month." in said
    assert "The window looks back over 4 seconds." in said
    assert "--false-alarm-interval 7d --max-per-second 5" in said
    assert "fewer than half were seen within 2,000 requests." in said


def test_it_says_what_the_reference_leaves_unknown(folder: Path, run: Run) -> None:
    spread = OnlineMMD.load(folder / "reference.npz").report.spread
    code, said, _ = run("explain-threshold", folder / "reference.npz", "--runs", 10)
    assert code == 0
    low, high = f"{2000 / spread:,.0f}", f"{2000 * spread:,.0f}"
    assert f"For two references of 300 rows in three it is between {low} and {high}:" in said
    assert "fit with --confidence 0.9 (a key of drift, too) to have at least 2,000 for nine in ten." in said


def test_a_confidence_is_a_promise(folder: Path, tmp_path: Path, run: Run) -> None:
    sure = tmp_path / "sure.npz"
    code, said, _ = run(
        "fit", folder / "ref.npy", "--out", sure, "--window", 20, "--expected-run-length", 2000,
        "--confidence", 0.9, "--seed", 0,
    )  # fmt: skip
    assert code == 0
    assert "false alarms: for 0.9 of references at most one in 2,000 tests on average" in said
    code, said, _ = run("explain-threshold", sure, "--runs", 10, "--max-per-second", 5)
    assert code == 0
    assert "a false alarm comes at most once in 2,000 tests on average;" in said
    found = OnlineMMD.load(sure).report.calibrated_run_length or 0.0
    assert found > 2200
    assert "That holds for 0.9 of all references of 300 rows of the same traffic" in said
    assert f"for the typical one it is once in {found:,.0f}." in said
    assert "At 5 tests a second that is at most one false alarm in 6 minutes 40 seconds" in said


def test_a_checkpoint_says_how_dependent_its_stream_was(folder: Path, tmp_path: Path, run: Run) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6000, 4)) * np.sqrt(1 - 0.8**2)
    for i in range(1, len(rows)):
        rows[i] += 0.8 * rows[i - 1]
    for name, stream in (("dependent", rows), ("independent", rng.normal(size=(6000, 4)))):
        detector = OnlineMMD.load(folder / "reference.npz")
        detector.update(stream)
        detector.save(tmp_path / f"{name}.npz")
    code, said, _ = run("explain-threshold", tmp_path / "dependent.npz", "--runs", 10)
    assert code == 0
    assert "a window of 20 holds as much as" in said
    assert "a shift is seen later than in the table below" in said
    code, said, _ = run("explain-threshold", tmp_path / "dependent.npz", "--runs", 10, "--json")
    assert 0.0 < json.loads(said)["effective_sample_ratio"][0] < 0.6
    code, said, _ = run("explain-threshold", tmp_path / "independent.npz", "--runs", 10)
    assert "no dependence between neighbours was found in it." in said
    assert "holds as much as" not in said
    code, said, _ = run("explain-threshold", folder / "reference.npz", "--runs", 10)
    assert "The stream that it has seen" not in said


def test_a_confidence_that_is_none_is_refused(folder: Path, run: Run) -> None:
    code, _, error = run("fit", folder / "ref.npy", "--window", 10, "--confidence", 2)
    assert code == 2
    assert "confidence: 2.0; give a share of references from 0.5 to below 1, such as 0.9" in error


def test_without_a_rate_it_gives_examples(folder: Path, run: Run) -> None:
    code, said, _ = run("explain-threshold", folder / "reference.npz", "--runs", 10)
    assert code == 0
    assert "at 1 a second, one in 33 minutes: 1,296 a month" in said
    assert "at 100 a second, one in 20 seconds: 129,600 a month" in said
    assert "a week" not in said


def test_json_is_one_object(folder: Path, run: Run) -> None:
    code, said, _ = run(
        "explain-threshold", folder / "reference.npz", "--runs", 10, "--json", "--max-per-second", 2
    )
    assert code == 0
    result = json.loads(said)
    assert result["seconds_between_false_alarms"] == 1000
    assert result["false_alarms_per_month"] == pytest.approx(2592)
    assert len(result["delays"]) == 15
    largest = next(d for d in result["delays"] if d["shift"] == 2 and d["direction"] == "all dimensions")
    assert largest["seen"] == 1
    assert largest["median_tests"] < 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.npz"], "error: reference: no.npz cannot be read (No such file or directory); make it with"),
        (["{npz}", "--max-per-second", "-1"], "error: --max-per-second: -1; give a number above 0"),
        (["{npz}", "--requests-per-second", "inf"], "error: --requests-per-second: inf; give a number"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    folder: Path, run: Run, arguments: list[str], message: str
) -> None:
    code, said, error = run("explain-threshold", *(a.format(npz=folder / "reference.npz") for a in arguments))
    assert (code, said) == (2, "")
    assert error.startswith(message)
    assert error.count("\n") == 1


def test_the_digest_is_the_line_for_the_configuration(tmp_path: Path, run: Run) -> None:
    (tmp_path / "a").write_text("a")
    code, said, _ = run("digest", tmp_path)
    assert code == 0
    digest = "a0a7ff20b65105dc8a0ffca79bda45e70cd09101b7bf61dc917f0db60170a913"
    assert said == f"sha256: {digest}\n"
    assert run("digest", tmp_path / "no")[0] == 2
