"""The analyzer dies or hangs: the data plane answers, and another takes over where the last one was."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

import exporter.sidecar.analyzer_process
from exporter.config import Config
from exporter.processes.supervisor import Rules
from exporter.receivers.proxy.capture_log import CaptureLog
from exporter.receivers.proxy.stats import ProxyStats
from exporter.sidecar.analyzer_process import AnalyzerProcess
from exporter.sidecar.messages import Open, Report
from tests.servers import get, request, wait_for
from tests.sidecar.inprocess import running

IMPATIENT = Rules(hung_seconds=5.0)
NEVER_AGAIN = Rules(first_pause_seconds=600.0, longest_pause_seconds=600.0)


def test_probes_are_answered_while_there_is_no_analyzer(tmp_path: Path) -> None:
    with running(tmp_path, rules=NEVER_AGAIN) as sidecar:
        os.kill(sidecar.analyzer or 0, signal.SIGKILL)
        wait_for(lambda: sidecar.analyzer is None, what="its end")
        assert get(sidecar.admin, "/-/healthy") == (200, "healthy\n")
        assert get(sidecar.admin, "/-/ready") == (200, "ready\n")
        assert request(sidecar.admin, "HEAD", "/-/ready") == (200, "")
        status, text = get(sidecar.admin, "/metrics")
        assert status == 503
        assert "is being started again" in text
        assert sidecar.say("cat")[0] == 200


def test_probes_are_answered_while_the_analyzer_hangs(tmp_path: Path) -> None:
    with running(tmp_path) as sidecar:
        pid = sidecar.analyzer or 0
        os.kill(pid, signal.SIGSTOP)
        assert get(sidecar.admin, "/-/healthy")[0] == 200
        assert get(sidecar.admin, "/-/ready")[0] == 200
        assert sidecar.say("cat")[0] == 200
        assert sidecar.analyzer == pid  # it still hangs, and none of them waited for it
        os.kill(pid, signal.SIGCONT)
        wait_for(lambda: sidecar.sample("predicted_class_total", class_name="cat") == 1, what="reading on")
        assert sidecar.analyzer == pid


def test_one_that_hangs_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(tmp_path, rules=IMPATIENT) as sidecar:
        first = sidecar.analyzer
        os.kill(first or 0, signal.SIGSTOP)
        for _ in range(5):
            assert sidecar.say("cat")[0] == 200
        assert sidecar.another(first) != first
        assert not Path(f"/proc/{first}").exists()
        wait_for(
            lambda: sidecar.say("dog") and sidecar.sample("predicted_class_total", class_name="dog"),
            what="observing",
        )
    assert "the analyzer hangs" in caplog.text


def test_one_whose_start_hangs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter.sidecar.analyzer_process, "_PROGRAM", "tests.sidecar.sleeper")

    async def start() -> None:
        analyzer = AnalyzerProcess(
            Open(Config()), CaptureLog(), lambda: Report(ProxyStats(), 0, False), Rules(start_seconds=0.5)
        )
        await analyzer.start()

    with pytest.raises(OSError, match="ended or hung before it was ready"):
        asyncio.run(start())


def test_another_one_goes_on_with_what_was_read_again(tmp_path: Path) -> None:
    with running(tmp_path, "model: m\n") as sidecar:
        sidecar.reload("model: m\ncapture: {paths: [/other]}\n")
        name = "inference_exporter_config_reload_success"
        wait_for(
            lambda: (
                sidecar.say("cat", "/other") and sidecar.sample("predicted_class_total", class_name="cat")
            ),
            what="the reload",
        )
        sidecar.reload("model: {{ name }}\n")
        wait_for(lambda: sidecar.sample(name) == 0, what="the refusal")
        first = sidecar.analyzer
        os.kill(first or 0, signal.SIGKILL)
        sidecar.another(first)
        assert sidecar.sample(name) == 0
        sidecar.say("dog", "/predict")
        sidecar.say("fox", "/other")
        wait_for(lambda: sidecar.sample("predicted_class_total", class_name="fox") == 1, what="the new path")
        assert sidecar.sample("predicted_class_total", class_name="dog") is None


def test_a_reload_asked_for_while_there_is_none_is_done_by_the_next(tmp_path: Path) -> None:
    rules = Rules(first_pause_seconds=1.0)
    with running(tmp_path, "model: m\n", rules=rules) as sidecar:
        first = sidecar.analyzer
        os.kill(first or 0, signal.SIGKILL)
        wait_for(lambda: sidecar.analyzer is None, what="its end")
        sidecar.reload("model: m\ncapture: {paths: [/other]}\n")
        sidecar.another(first)
        wait_for(
            lambda: (
                sidecar.say("cat", "/other") and sidecar.sample("predicted_class_total", class_name="cat")
            ),
            what="the new path",
        )
