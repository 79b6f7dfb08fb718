from __future__ import annotations

import pytest

from exporter.decoders.torchserve import read_torchserve
from exporter.errors import PayloadError


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ({"tabby": 0.4, "lynx": 0.3, "tiger": 0.1}, {"predicted_class": "tabby", "confidence": 0.4}),
        ([{"tabby": 0.4, "lynx": 0.3}], {"predicted_class": "tabby", "confidence": 0.4}),
        (7, {"predicted_class": 7}),
        ([7], {"predicted_class": 7}),
        ("Positive", {"predicted_class": "Positive"}),
        (b"Negative\n", {"predicted_class": "Negative"}),
        (b"3", {"predicted_class": 3}),
        (0.25, {"value": 0.25}),
        ([0.25, 0.75], {"predicted_class": 1, "confidence": 0.75}),
        ([[0.25, 0.75]], {"predicted_class": 1, "confidence": 0.75}),
        ([4.0, -2.0, 9.0], {"embedding": [4.0, -2.0, 9.0]}),
        ({"predictions": [5]}, {"predicted_class": 5}),
        (
            {"outputs": [{"name": "p", "datatype": "INT64", "shape": [1], "data": [5]}]},
            {"predicted_class": 5},
        ),
        ({"prediction": "cat", "score": 0.5}, {"predicted_class": "cat", "confidence": 0.5}),
        (
            {"prediction": {"label": "cat", "score": 0.5}, "box": [9.0, 2.0]},
            {"predicted_class": "cat", "confidence": 0.5},
        ),
        ({"pooled": [9.0, 2.0]}, {"embedding": [9.0, 2.0]}),
    ],
)
def test_an_response(exchange, response, expected):
    assert read_torchserve(exchange(response)) == [expected]


def test_features_and_id(exchange):
    headers = ((b"x-request-id", b"t-1"),)
    (reading,) = read_torchserve(exchange([2], {"data": [1.0, 2.0]}, headers=headers))
    assert reading == {
        "predicted_class": 2,
        "features": [1.0, 2.0],
        "embedding": [1.0, 2.0],
        "request_id": "t-1",
    }


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"<html>\x00</html>",
        b"x" * 200,
        b"{broken",
        None,
        {},
        [],
        {"code": 404, "type": "x", "message": "y"},
    ],
)
def test_what_no_handler_responses_is_refused(exchange, response):
    with pytest.raises(PayloadError):
        read_torchserve(exchange(response))
