"""What is refused leaves no trace in the detector."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from starlette.applications import Starlette

from exporter.config import AdminConfig, Config, IngestConfig, MMDConfig, QueueConfig
from exporter.detectors import OnlineMMD
from exporter.observation import Observation
from exporter.processors.drift import Drift
from exporter.runtime import Runtime
from exporter.sidecar.ingest import Ingest
from tests.receivers.ingest.bodies import mutated
from tests.receivers.ingest.test_app import Client

WINDOW = 5


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "detector.npz"
    rows = np.random.default_rng(0).standard_normal((100, 2))
    OnlineMMD.fit(rows, window=WINDOW, expected_run_length=1000, seed=0).save(path)
    return path


class Watched:
    """A runtime with a detector, that keeps what it was given."""

    def __init__(self, fitted: Path) -> None:
        self.runtime = Runtime(
            Config(
                model="food",
                drift=(MMDConfig(reference=fitted, window=WINDOW),),
                queue=QueueConfig(flush_interval_seconds=0.001),
                ingest=IngestConfig(enabled=True),
                admin=AdminConfig(),
            ),
            sidecar=True,
        )
        self.taken: list[Observation] = []
        self.runtime.start()

    def submit(self, observation: Observation, model: str = "food") -> bool:
        if not self.runtime.submit(observation, "ingest"):
            return False
        self.taken.append(observation)
        return True

    def state(self, path: Path) -> dict[str, Any]:
        assert self.runtime.monitor.worker.drain(20)
        detector = self.runtime.pipeline.find(Drift).watches[0].detector
        assert detector is not None
        detector.save(path)
        with np.load(path) as file:
            return {name: file[name] for name in file.files}


def equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are, but for the last bits, which the cutting into batches decides."""
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    return np.allclose(one, other, atol=1e-6, equal_nan=True)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two states are equal, but for their checksums."""
    names = [name for name in one if name != "sha256"]
    return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in names)


def test_hostile_bodies_change_it_as_much_as_the_observations_in_them_that_were_taken(
    fitted: Path, tmp_path: Path
):
    watched, control = Watched(fitted), Watched(fitted)
    ingest = Ingest(watched.runtime)
    ingest.submit = watched.submit
    client = Client()
    client.app = Starlette(routes=ingest.app.routes)
    document = {"predicted_class": "soup", "confidence": 0.5, "embedding": [1.0, 2.0], "request_id": "r1"}
    seeds = [orjson.dumps(document), orjson.dumps([document, document])]
    generator = random.Random(5)
    untouched = watched.state(tmp_path / "a.npz")

    async def send(n: int) -> list[int]:
        statuses = []
        for _ in range(n):
            status, _, _ = await client.request("POST", "/v1/observations", mutated(generator, seeds))
            statuses.append(status)
        return statuses

    statuses = asyncio.run(send(3000))
    assert statuses.count(422) + statuses.count(400) > 500
    for observation in watched.taken:
        assert control.submit(observation)
    hit = watched.state(tmp_path / "b.npz")
    assert same(hit, control.state(tmp_path / "c.npz"))
    # Negative control: the comparison sees what observations do to it.
    assert len(watched.taken) > WINDOW
    assert not same(hit, untouched)
    for each in (watched, control):
        each.runtime.stop()


def test_bodies_of_which_all_are_refused_change_nothing(fitted: Path, tmp_path: Path):
    watched = Watched(fitted)
    ingest = Ingest(watched.runtime)
    client = Client()
    client.app = Starlette(routes=ingest.app.routes)
    before = watched.state(tmp_path / "a.npz")
    bodies = [
        b'{"embedding": [1.0]}',
        b'{"embedding": [1.0, 2.0, 3.0]}',
        b'{"embedding": [[1.0, 2.0]]}',
        b'{"embedding": [NaN, 2.0]}',
        b'{"embedding": [1e999, 2.0]}',
        b'{"embedding": ["a", 2.0]}',
        b"[" * 100_000,
        b"\xff",
    ]
    statuses = [asyncio.run(client.request("POST", "/v1/observations", body))[0] for body in bodies]
    assert set(statuses) <= {400, 422}
    assert same(before, watched.state(tmp_path / "b.npz"))
    watched.runtime.stop()
