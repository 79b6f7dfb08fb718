"""The answer is sacred, whatever becomes of the helper process."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.identity.rig import Rig, answers_of, differences

pytestmark = pytest.mark.usefixtures("isolated")


@pytest.fixture
def meddler(impatient_rig: Rig) -> Iterator[threading.Event]:
    """Kills every helper that it finds, until it is told to stop."""
    over = threading.Event()

    def kill() -> None:
        while not over.is_set():
            pid = impatient_rig.exporter.runtime.helper.pid
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):  # it is gone meanwhile
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    yield over
    over.set()
    thread.join()


def test_with_a_helper_that_works(rig: Rig, bare: dict[str, bytes], file: Path):
    assert differences(bare, answers_of(rig, file)) == []
    assert rig.sample("prediction_confidence_count", model="m") >= 15
    assert rig.sample("drift_detector_state", model="m", detector="mmd", state="ready") == 1
    assert len(rig.events) == 1
    assert [rig.errors(stage) for stage in ("extract", "detect", "notify")] == [0, 0, 0]
    assert rig.monitor.ledger.balance().balanced


def test_with_helpers_that_die(
    impatient_rig: Rig, bare: dict[str, bytes], file: Path, meddler: threading.Event
):
    assert differences(bare, answers_of(impatient_rig, file)) == []
    meddler.set()
    balance = impatient_rig.monitor.ledger.balance()
    assert balance.balanced
    assert balance.queued == 0
    assert balance.dropped["failed"] + balance.dropped.get("stopped", 0) > 0
    assert impatient_rig.errors("detect") > 0


def test_with_a_helper_that_hangs(impatient_rig: Rig, bare: dict[str, bytes], file: Path):
    impatient_rig.exporter.start()
    os.kill(impatient_rig.exporter.runtime.helper.pid, signal.SIGSTOP)
    assert differences(bare, answers_of(impatient_rig, file)) == []
    balance = impatient_rig.monitor.ledger.balance()
    assert balance.balanced
    assert balance.queued == 0
    assert balance.dropped["stopped"] == balance.observed > 15


def test_with_no_helper_to_be_had(
    rig: Rig, bare: dict[str, bytes], file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "executable", "/does/not/exist")
    assert differences(bare, answers_of(rig, file)) == []
    assert rig.sample("prediction_confidence_count", model="m") >= 15
