"""A fitted detector, recorded streams, and the command line as a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exporter.cli import main as cli
from exporter.detectors import OnlineMMD

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ref.npy`` (300 x 4), ``reference.npz`` fitted on it, ``clean.npy``, ``drift.npy`` (from row 300)."""
    path = tmp_path_factory.mktemp("commands")
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(300, 4))
    np.save(path / "ref.npy", reference)
    OnlineMMD.fit(reference, window=20, expected_run_length=2000, seed=0).save(path / "reference.npz")
    stream = rng.normal(size=(600, 4))
    np.save(path / "clean.npy", stream[:300])
    stream[300:, 2] += 3.0
    stream[5] = np.nan
    np.save(path / "drift.npy", stream)
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Exit code, standard output and standard error of a command."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["inference-exporter", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        streams = capfd.readouterr()
        return int(stop.value.code or 0), streams.out, streams.err

    return call
