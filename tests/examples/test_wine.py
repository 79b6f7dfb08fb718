from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice

import httpx
import numpy as np
import pytest

from examples.demo.scrape import parse
from examples.wine.data import load_halves
from examples.wine.service import CONFIG, MAX_BODY_BYTES, create_app, train
from examples.wine.traffic import BAD_PAYLOADS, PHASES, payloads
from exporter import load_config
from exporter.detectors.mmd.online import OnlineMMD


@pytest.fixture(scope="module")
def client(serving) -> Iterator[httpx.Client]:
    with serving(create_app()) as client:
        yield client


def test_the_halves_share_no_wine() -> None:
    train_half, traffic = load_halves()
    rows = {row.tobytes() for half in (train_half, traffic) for row in half.features}
    assert len(rows) == 178


def test_the_model_knows_wines_that_it_has_not_seen() -> None:
    _, traffic = load_halves()
    assert train().score(traffic.features, traffic.labels) > 0.9


def test_wines_are_told_apart(client: httpx.Client) -> None:
    _, wines = load_halves()
    right = 0
    for features, label in zip(wines.features[:30], wines.labels[:30], strict=True):
        answer = client.post("/predict", json={"features": features.tolist()})
        assert answer.status_code == 200
        assert set(answer.json()) == {"prediction", "probability"}
        right += answer.json()["prediction"] == f"class_{label}"
    assert right >= 26


@pytest.mark.parametrize("body", [*BAD_PAYLOADS, {"features": [True] * 13}, {"features": "1234567890123"}])
def test_bodies_that_are_no_analysis_are_422(client: httpx.Client, body: dict[str, object]) -> None:
    assert client.post("/predict", json=body).status_code == 422


def test_infinity_is_422(client: httpx.Client) -> None:
    body = b'{"features": [' + b"1e999, " * 12 + b"1.0]}"
    headers = {"content-type": "application/json"}
    assert client.post("/predict", content=body, headers=headers).status_code == 422


def test_a_body_that_is_too_long_is_413(client: httpx.Client) -> None:
    body = b'{"features": [' + b" " * MAX_BODY_BYTES + b"]}"
    assert client.post("/predict", content=body).status_code == 413


def test_features_of_requests_become_the_reference_and_are_tested(serving) -> None:
    learn = load_config(CONFIG).drift[0].reference.learn
    with serving(create_app()) as client:
        for body in islice(payloads("clean", 1), learn):
            assert client.post("/predict", json=body).status_code == 200
        deadline = time.monotonic() + 90
        while (now := parse(client.get("/metrics").text)).state not in ("filling", "ready"):
            assert time.monotonic() < deadline, now
            time.sleep(0.05)
        assert now.confidence_count == learn
        assert sum(now.classes.values()) == learn
        for body in [*islice(payloads("clean", 2), 80), *islice(payloads("unit-mix-up", 2), 40)]:
            client.post("/predict", json=body)
        while not (now := parse(client.get("/metrics").text)).settled or now.observed < learn + 120:
            assert time.monotonic() < deadline, now
            time.sleep(0.05)
    assert now.active
    assert now.episodes == 1
    assert 0 < now.events <= 40
    assert now.lost == 0


def test_each_drift_is_found_and_clean_traffic_is_not() -> None:
    drift = load_config(CONFIG).drift[0]
    first = np.array([body["features"] for body in islice(payloads("clean", 3), drift.reference.learn)])
    detector = OnlineMMD.fit(first, window=drift.window, expected_run_length=10_000, seed=0)
    for phase in PHASES[:-1]:
        detector.reset()
        clean = np.array([body["features"] for body in islice(payloads("clean", 4), 500)])
        assert not detector.update(clean).is_drift.any()
        stream = np.array([body["features"] for body in islice(payloads(phase, 5), 100)])
        assert detector.update(stream).is_drift.any() == (phase != "clean"), phase


def test_errors_are_drawn_from_all_bad_bodies_and_unknown_phases_are_refused() -> None:
    sent = [str(body) for body in islice(payloads("errors"), 40)]
    assert set(sent) == {str(body) for body in BAD_PAYLOADS}
    with pytest.raises(ValueError, match="choose one of clean"):
        next(payloads("unknown"))


def test_the_wine_service_needs_no_torch() -> None:
    code = "import sys; from examples.wine.service import create_app; create_app()"
    check = "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code + check], check=False).returncode == 0
