"""A service without the hook, and what is needed to put one on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exporter.detectors import OnlineMMD
from tests.identity.rig import Rig
from tests.identity.service import Log, create_app, everything, served


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "data.bin"
    path.write_bytes(bytes(range(256)) * 700)
    return path


@pytest.fixture(scope="module")
def bare(file: Path) -> dict[str, bytes]:
    """The answers of the service without the hook."""
    log: Log = []
    with served(create_app(log, file)) as port:
        return everything(port, log)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "detector.npz"
    rows = np.random.default_rng(0).standard_normal((100, 2))
    OnlineMMD.fit(rows, window=5, expected_run_length=1000, seed=0).save(path)
    return path


@pytest.fixture
def rig(reference: Path, tmp_path: Path) -> Rig:
    """One that ends when all is handled, however long that takes within reason."""
    return Rig(reference, tmp_path, drain_seconds=60)


@pytest.fixture
def impatient_rig(reference: Path, tmp_path: Path) -> Rig:
    """One that ends although something hangs in it, or dies again and again."""
    return Rig(reference, tmp_path, drain_seconds=1)
