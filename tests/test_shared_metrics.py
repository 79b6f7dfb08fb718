"""Several processes on one scrape: what one of them reaches is shown, whoever is asked."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

ROOT = Path(__file__).parents[1]


_QUIET_WORKER = """
import sys
import numpy as np
from exporter.config import Config, LearnConfig, MMDConfig, QueueConfig
from exporter.observation import Observation
from exporter.runtime import Runtime

if __name__ == "__main__":
    drift = MMDConfig(window=5, reference=LearnConfig(learn=60), expected_run_length=20_000)
    queue = QueueConfig(flush_interval_seconds=0.01)
    runtime = Runtime(Config(model="m", drift=(drift,), queue=queue), isolated=sys.argv[1] == "process")
    runtime.start()
    for row in np.random.default_rng(0).normal(size=(60, 4)):
        runtime.submit(Observation("m", "hook", 0.0, embedding=row), "hook")
    sys.stdin.readline()
    runtime.stop()
"""


@pytest.mark.parametrize("isolation", ["process", "thread"])
def test_what_a_worker_reaches_without_a_request_is_shown_by_the_others(tmp_path: Path, isolation: str):
    """A calibration ends while nobody asks anything of the worker, and its scrapes go elsewhere."""
    worker = subprocess.Popen(
        [sys.executable, "-c", _QUIET_WORKER, isolation],
        cwd=ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
    )
    try:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(tmp_path))
        labels = {"model": "m", "version": "", "detector": "mmd", "state": "filling"}
        shown = eventually(lambda: registry.get_sample_value("drift_detector_state", labels) == 1.0)
        assert shown, "it still calibrates, as far as the others know"
    finally:
        worker.communicate(b"\n", timeout=30)


def eventually(holds: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        # A file may be half written.
        with suppress(ValueError, OSError, struct.error):
            if holds():
                return True
        time.sleep(0.05)
    return False
