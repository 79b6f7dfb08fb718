"""``inference-exporter replay``."""

from __future__ import annotations

import builtins
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .conftest import Run


def test_a_stream_that_drifts_ends_with_3(folder: Path, run: Run) -> None:
    code, said, progress = run("replay", folder / "drift.npy", "--reference", folder / "reference.npz")
    assert code == 3
    assert "600 observations, 1 with NaN or infinity refused" in said
    assert "window 20: 580 tests against" in said
    assert "Drift: 1 episode; without drift, 0.29 false alarms are to be expected" in said
    assert "the end" in said
    assert "2: +" in said  # the dimension that moved
    assert progress == "replaying: 100%\n"


def test_a_stream_that_does_not_ends_with_0(folder: Path, run: Run) -> None:
    code, said, _ = run("replay", folder / "clean.npy", "--reference", folder / "reference.npz")
    assert code == 0
    assert said.endswith("No drift.\n")


def test_a_window_that_never_fills_is_said(folder: Path, tmp_path: Path, run: Run) -> None:
    np.save(tmp_path / "short.npy", np.zeros((5, 4)))
    code, said, _ = run("replay", tmp_path / "short.npy", "--reference", folder / "reference.npz")
    assert code == 0
    assert "window 20: never filled, no test was made" in said
    code, said, _ = run("replay", tmp_path / "short.npy", "--reference", folder / "reference.npz", "--json")
    assert json.loads(said)["windows"][0]["largest_ratio"] is None


def test_json_is_one_object(folder: Path, tmp_path: Path, run: Run) -> None:
    stream = np.load(folder / "drift.npy")
    lines = [
        json.dumps({"request_id": f"r{i}", "embedding": [None if np.isnan(v) else v for v in row]})
        for i, row in enumerate(stream)
    ]
    (tmp_path / "drift.jsonl").write_text("\n".join(lines) + "\n")
    code, said, _ = run("replay", tmp_path / "drift.jsonl", "--reference", folder / "reference.npz", "--json")
    assert code == 3
    result = json.loads(said)
    assert (result["drift"], result["observations"], result["refused"]) == (True, 600, 1)
    assert result["windows"][0]["tests"] == 580
    (episode,) = result["episodes"]
    assert 300 <= episode["first_row"] <= 315
    assert episode["request_id"] == f"r{episode['first_row']}"
    assert episode["last_row"] == 599
    assert not episode["ended"]
    assert episode["peak_ratio"] == result["windows"][0]["largest_ratio"] > 1
    assert episode["moved_dimensions"][0][0] == 2


def test_every_verdict_can_be_written(folder: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "verdicts.csv"
    run("replay", folder / "drift.npy", "--reference", folder / "reference.npz", "--out", out)
    header, *rows = out.read_text().splitlines()
    assert header == "row,window,test_stat,threshold,is_drift"
    assert len(rows) == 600
    assert rows[0].startswith("0,20,,")
    assert rows[0].endswith(",0")
    assert rows[599].startswith("599,20,0.")
    assert rows[599].endswith(",1")


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_picture_is_drawn(folder: Path, tmp_path: Path, run: Run, ending: str) -> None:
    picture = tmp_path / f"plot.{ending}"
    code, said, _ = run(
        "replay", folder / "drift.npy", "--reference", folder / "reference.npz", "--plot", picture
    )
    assert code == 3
    assert f"Written: {picture}" in said
    assert picture.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
    assert picture.stat().st_size > 5_000


def test_without_matplotlib_the_extra_is_named(
    folder: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "matplotlib" else real(name, *a)
    )
    arguments = ("replay", folder / "drift.npy", "--reference", folder / "reference.npz")
    code, _, error = run(*arguments, "--plot", tmp_path / "plot.png")
    assert code == 2
    assert error.startswith("error: --plot needs matplotlib; pip install 'inference-exporter[plot]'")
    assert run(*arguments)[0] == 3


def test_matplotlib_is_not_needed_without_a_picture(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def guard(name: str, *arguments: Any) -> Any:
        assert not name.startswith("matplotlib")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", guard)
    assert run("replay", folder / "clean.npy", "--reference", folder / "reference.npz")[0] == 0


@pytest.mark.parametrize(
    ("stream", "arguments", "message"),
    [
        ("no.npy", [], "error: stream: no.npy does not exist; give the path of a file"),
        ("no.jsonl", [], "error: stream: no.jsonl cannot be read (No such file or directory)"),
        ("a.txt", [], "error: stream: a.txt; give a file ending in .npy, .npz, .csv, .parquet, .jsonl"),
        ("wide.npy", [], "error: embedding: shape (3, 9); the reference has embeddings of length 4"),
        ("{clean}", ["--reference", "no.npz"], "error: reference: no.npz cannot be read (No such file"),
        ("{clean}", ["--reference", "wide.npy"], "error: reference: wide.npy is no detector file (.npz)"),
        ("{clean}", ["--reference", "raw.npz"], "error: raw.npz: not a detector file, or damaged"),
        ("{clean}", ["--plot", "p.doc"], "error: --plot: p.doc; give a file name that ends in .png, .svg"),
        ("{clean}", ["--plot", "no/p.png"], "error: --plot: no/p.png cannot be written"),
        ("{clean}", ["--out", "no/v.csv"], "error: --out: no/v.csv cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    folder: Path,
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    stream: str,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("wide.npy", np.zeros((3, 9)))
    np.savez("raw.npz", np.zeros((3, 4)))
    if "--reference" not in arguments:
        arguments = ["--reference", str(folder / "reference.npz"), *arguments]
    code, said, error = run("replay", stream.format(clean=folder / "clean.npy"), *arguments)
    assert code == 2
    assert said == ""
    assert error.removeprefix("replaying: 100%\n").startswith(message)
    assert error.removeprefix("replaying: 100%\n").count("\n") == 1
