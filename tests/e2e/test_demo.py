from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "examples.demo"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def test_the_demonstration_finds_drift_where_it_is_and_ends_by_itself(tmp_path: Path) -> None:
    started = time.monotonic()
    done = subprocess.run(
        [*COMMAND, "--output", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - started < 180
    assert "Drift was found where it was, and nowhere else." in done.stdout
    assert done.stderr == ""
    assert (tmp_path / "drift.png").read_bytes().startswith(b"\x89PNG")
    log = (tmp_path / "service.log").read_text().splitlines()
    assert [line.partition(":")[0] for line in log] == ["drift"]  # its one episode, and no warnings


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Whoever runs the tests in the background may have told their processes to ignore interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_it_stays_up_when_asked_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+") as output:
        process = subprocess.Popen(
            [*COMMAND, "--seconds", "6", "--keep", "--output", str(tmp_path)],
            cwd=ROOT,
            stdout=output,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        try:
            deadline = time.monotonic() + 180
            while "stays up until Ctrl-C" not in (text := (tmp_path / "out").read_text()):
                assert process.poll() is None, text
                assert time.monotonic() < deadline, text
                time.sleep(0.5)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            assert children
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            assert not any(Path(f"/proc/{child}").exists() for child in children)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(30)
