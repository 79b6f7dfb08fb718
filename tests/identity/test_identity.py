"""The answer is sacred: the same bytes in the same order, with and without the hook, whatever fails in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.http.exchange import Exchange
from tests.identity.rig import Rig, answers_of, differences
from tests.identity.service import Log, create_app, everything, served

HANG_SECONDS = 30.0


class Failure(Exception):
    """What the stages below raise."""


@pytest.fixture
def hang() -> Iterator[Callable[..., Any]]:
    """Something that does not come back before the test is over."""
    over = threading.Event()

    def wait(*_: Any, **__: Any) -> None:
        over.wait(HANG_SECONDS)

    yield wait
    over.set()


def broken(*_: Any, **__: Any) -> Any:
    raise Failure("broken on purpose")


def test_every_kind_of_answer_is_the_same_with_the_hook(rig: Rig, bare: dict[str, bytes], file: Path):
    assert differences(bare, answers_of(rig, file)) == []
    # And it was on: all that could be read was read, tested, announced and saved.
    assert rig.sample("prediction_confidence_count", model="m") >= 15
    assert rig.watch.state == "ready"
    assert len(rig.events) == 1
    assert rig.sample("drift_checkpoint_timestamp_seconds", model="m", detector="mmd") > 0
    assert [rig.errors(stage) for stage in ("extract", "detect", "notify")] == [0, 0, 0]
    assert rig.monitor.ledger.balance().balanced


def test_the_comparison_sees_a_middleware_that_meddles(bare: dict[str, bytes], file: Path):
    """Negative control: three small sins, each of which must show."""

    class Meddling:
        def __init__(self, app: Any, sin: str) -> None:
            self.app, self.sin = app, sin

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def meddle(message: Any) -> None:
                if self.sin == "header" and message["type"] == "http.response.start":
                    message = {**message, "headers": [*message["headers"], (b"x-seen", b"1")]}
                if self.sin == "body" and message.get("body"):
                    message = {**message, "body": message["body"].replace(b"a", b"A")}
                if self.sin == "pieces" and message.get("more_body") and message.get("body"):
                    half = len(message["body"]) // 2
                    await send({**message, "body": message["body"][:half]})
                    message = {**message, "body": message["body"][half:]}
                await send(message)

            await self.app(scope, receive, meddle)

    for sin, where in (("header", "json"), ("body", "json"), ("pieces", "stream")):
        log: Log = []
        app = create_app(log, file)
        app.add_middleware(Meddling, sin=sin)
        with served(app) as port:
            assert where in differences(bare, everything(port, log)), sin


RECORDING = ("__init__", "request_chunk", "response_start", "response_chunk", "finish")


@pytest.mark.parametrize("method", RECORDING)
def test_recording_fails(
    method: str, rig: Rig, bare: dict[str, bytes], file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Exchange, method, broken)
    assert differences(bare, answers_of(rig, file)) == []
    assert rig.errors("extract") > 10


def test_submitting_fails(rig: Rig, bare: dict[str, bytes], file: Path):
    rig.exporter.runtime.submit = broken
    assert differences(bare, answers_of(rig, file)) == []
    assert rig.errors("extract") > 10


def test_queueing_fails(rig: Rig, bare: dict[str, bytes], file: Path):
    rig.monitor.worker.offer = broken
    assert differences(bare, answers_of(rig, file)) == []
    assert rig.errors("extract") > 10


def test_reading_fails(rig: Rig, bare: dict[str, bytes], file: Path):
    rig.pipeline.extractor.read = broken
    assert differences(bare, answers_of(rig, file)) == []
    balance = rig.monitor.ledger.balance()
    assert rig.errors("extract") == balance.dropped["failed"] > 10
    assert balance.balanced


def test_recording_metrics_fails(rig: Rig, bare: dict[str, bytes], file: Path):
    rig.predictions.metrics.count_class = broken
    assert differences(bare, answers_of(rig, file)) == []
    assert rig.errors("extract") > 0
    assert rig.watch.state == "ready"
    assert rig.monitor.ledger.balance().balanced


def test_detecting_fails(rig: Rig, bare: dict[str, bytes], file: Path):
    rig.watch._detector.update = broken
    assert differences(bare, answers_of(rig, file)) == []
    assert rig.errors("detect") == 1
    assert rig.sample("drift_detector_state", model="m", detector="mmd", state="failed") == 1
    assert rig.sample("prediction_confidence_count", model="m") >= 15
    assert rig.monitor.ledger.balance().balanced


def test_notifying_fails(rig: Rig, bare: dict[str, bytes], file: Path):
    rig.before_event = broken
    assert differences(bare, answers_of(rig, file)) == []
    assert rig.errors("notify") == 1
    assert rig.watch.state == "ready"


def test_the_checkpoint_fails(rig: Rig, bare: dict[str, bytes], file: Path):
    rig.watch._detector.save = broken
    assert differences(bare, answers_of(rig, file)) == []
    assert rig.sample("drift_checkpoint_failures_total", model="m", detector="mmd") > 0
    assert rig.watch.state == "ready"


def test_bringing_the_metrics_up_to_date_fails(rig: Rig, bare: dict[str, bytes], file: Path):
    rig.exporter.runtime.instruments.before_collect(broken)
    assert differences(bare, answers_of(rig, file)) == []
    assert rig.sample("prediction_confidence_count", model="m") >= 15


def test_starting_and_stopping_fail(rig: Rig, bare: dict[str, bytes], file: Path):
    rig.exporter.runtime.start = broken
    rig.exporter.runtime.stop = broken
    assert differences(bare, answers_of(rig, file)) == []
    assert rig.monitor.worker.drain(60)
    assert rig.errors("extract") == 2
    assert rig.watch.state == "ready"


@pytest.mark.parametrize("stage", ["read", "metrics", "detect", "notify", "checkpoint"])
def test_a_stage_off_the_request_path_hangs(
    stage: str, impatient_rig: Rig, bare: dict[str, bytes], file: Path, hang: Callable[..., Any]
):
    match stage:
        case "read":
            impatient_rig.pipeline.extractor.read = hang
        case "metrics":
            impatient_rig.predictions.metrics.count_class = hang
        case "detect":
            impatient_rig.watch._detector.update = hang
        case "notify":
            impatient_rig.before_event = hang
        case "checkpoint":
            impatient_rig.watch._detector.save = hang
    assert differences(bare, answers_of(impatient_rig, file)) == []
    balance = impatient_rig.monitor.ledger.balance()
    assert balance.balanced
    assert balance.observed > 15
    assert balance.queued == 0
    assert balance.dropped["stopped"] > 0
