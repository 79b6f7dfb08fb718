from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from itertools import count

import pytest
from fastapi import FastAPI, HTTPException

from examples.traffic import SHAPES, Tally, send_traffic


class Recorder:
    """An app that remembers what it got, and how many requests it had at the same time."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.bodies: list[int] = []
        self.current = 0
        self.peaks: list[tuple[float, int]] = []
        self.app.post("/predict")(self._predict)

    async def _predict(self, body: dict[str, int]) -> dict[str, object]:
        self.current += 1
        self.peaks.append((time.monotonic(), self.current))
        try:
            await asyncio.sleep(0.02)
        finally:
            self.current -= 1
        self.bodies.append(body["n"])
        if body["n"] % 5 == 4:
            raise HTTPException(400, "every fifth")
        return {"prediction": body["n"] % 5, "probability": 0.5}


def _numbers():
    return ({"n": n} for n in count())


def test_the_shapes_are_those_of_a_ramp_and_of_errors() -> None:
    assert SHAPES["ramp"] == (1, 2, 3, 5, 3, 2, 1)
    assert SHAPES["errors"] == (1, 3, 5, 10, 5, 3, 1)
    assert len(SHAPES["constant"]) == 1


async def test_exactly_count_requests_are_sent_and_all_are_counted(serving) -> None:
    recorder = Recorder()
    with serving(recorder.app) as client:
        tally = await send_traffic(
            f"{client.base_url}/predict",
            _numbers(),
            steps=(3,),
            seconds=0.1,
            requests_per_worker_second=1000.0,
            count=50,
        )
    assert sorted(recorder.bodies) == list(range(50))
    assert tally.sent == 50
    assert tally.statuses == {200: 40, 400: 10}
    assert tally.answered == 40
    assert tally.mean_probability == pytest.approx(0.5)
    assert set(tally.predictions) == {"0", "1", "2", "3"}
    assert "50 requests, 40 x 200, 10 x 400" in tally.summary()


async def test_each_step_has_its_number_of_workers(serving) -> None:
    recorder = Recorder()
    with serving(recorder.app) as client:
        started = time.monotonic()
        await send_traffic(
            f"{client.base_url}/predict",
            _numbers(),
            steps=(1, 4, 2),
            seconds=1.5,
            requests_per_worker_second=1000.0,
        )
    peaks = [0, 0, 0]
    for at, together in recorder.peaks:
        step = min(2, int((at - started) / 0.5))
        peaks[step] = max(peaks[step], together)
    assert max(peaks) == 4
    assert peaks[0] == 1


async def test_a_worker_keeps_to_its_rate(serving) -> None:
    recorder = Recorder()
    with serving(recorder.app) as client:
        tally = await send_traffic(
            f"{client.base_url}/predict",
            _numbers(),
            steps=(2,),
            seconds=1.0,
            requests_per_worker_second=10.0,
        )
    assert 2 <= tally.sent <= 20


async def test_a_service_that_is_not_there_is_counted_as_failures() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    tally = await send_traffic(f"http://127.0.0.1:{port}/predict", _numbers(), seconds=0.1, count=4)
    assert tally.statuses == {}
    assert tally.failures["ConnectError"] == tally.sent
    assert tally.sent >= 4
    assert tally.mean_probability != tally.mean_probability  # NaN


def test_a_tally_says_nothing_of_probabilities_that_it_has_not() -> None:
    assert Tally().summary() == "0 requests"


def test_the_command_says_when_nothing_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    command = [sys.executable, "-m", "examples.digits.traffic", "--url", url, "--seconds", "0.2"]
    done = subprocess.run(
        [*command, "--shape", "errors", "--phase", "errors"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"nothing answered at {url}" in done.stderr
    assert "workers 1, 3, 5, 10, 5, 3, 1" in done.stdout
