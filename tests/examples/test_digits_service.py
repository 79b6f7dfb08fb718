from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from examples.digits.images import to_base64_png
from examples.digits.network import DigitNet
from examples.digits.service import MAX_BODY_BYTES, create_app
from examples.digits.traffic import BAD_PAYLOADS, payloads, pictures


@pytest.fixture(scope="module")
def client(artefacts: Path, serving) -> Iterator[httpx.Client]:
    with serving(create_app(artefacts)) as client:
        yield client


def _metric(client: httpx.Client, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return 0.0


def _until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_digits_are_read(client: httpx.Client) -> None:
    right = 0
    for picture, label in islice(pictures("clean"), 40):
        answer = client.post("/predict", json={"image": to_base64_png(picture)})
        assert answer.status_code == 200
        body = answer.json()
        assert set(body) == {"prediction", "probability"}
        assert 0.0 <= body["probability"] <= 1.0
        right += body["prediction"] == str(label)
    assert right >= 34


def test_a_request_without_an_image_is_422(client: httpx.Client) -> None:
    for body in ({}, {"image": None}, {"image": ""}, {"image": 7}):
        assert client.post("/predict", json=body).status_code == 422


@pytest.mark.parametrize("body", BAD_PAYLOADS[1:])
def test_an_undecodable_image_is_400_and_says_why(client: httpx.Client, body: dict[str, str]) -> None:
    answer = client.post("/predict", json=body)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("image is")


def test_a_body_that_is_too_long_is_413_and_one_just_short_enough_is_not(client: httpx.Client) -> None:
    frame = len(b'{"image":""}')
    for size, status in ((MAX_BODY_BYTES + 1, 413), (MAX_BODY_BYTES, 400)):
        body = b'{"image":"' + b"a" * (size - frame) + b'"}'
        answer = client.post("/predict", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == status, answer.text


def test_each_answer_is_in_the_metrics_with_one_forward_pass(
    artefacts: Path, serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = 0
    forward = DigitNet.forward

    def counted(self: DigitNet, pictures: object) -> object:
        nonlocal passes
        passes += 1
        return forward(self, pictures)

    monkeypatch.setattr(DigitNet, "forward", counted)
    with serving(create_app(artefacts)) as client:
        _until(lambda: _metric(client, "drift_detector_state", state="filling") == 1)
        given = [client.post("/predict", json=body).json() for body in islice(payloads("clean", 9), 60)]
        _until(lambda: _metric(client, "inference_exporter_processed_total") == 60)
        assert passes == 60
        assert _metric(client, "prediction_confidence_count", model="digits") == 60
        assert _metric(client, "prediction_confidence_sum", model="digits") == pytest.approx(
            sum(answer["probability"] for answer in given)
        )
        for digit in {answer["prediction"] for answer in given}:
            expected = sum(answer["prediction"] == digit for answer in given)
            assert _metric(client, "predicted_class_total", class_name=digit) == expected
        # A window of 50 fills with the 50th embedding, which is the first to be tested.
        assert _metric(client, "drift_test_stat_count", model="digits") == 11
        assert _metric(client, "drift_events_total", model="digits") == 0
