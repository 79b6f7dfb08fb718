from __future__ import annotations

import math
import struct

import numpy as np
import orjson
import pytest

from exporter.decoders.auto import read_auto
from exporter.decoders.features import Columns
from exporter.decoders.open_inference_v2 import read_open_inference_v2
from exporter.errors import PayloadError


def tensor(name, datatype, shape, data=None, **parameters):
    entry = {"name": name, "datatype": datatype, "shape": shape}
    if data is not None:
        entry["data"] = data
    if parameters:
        entry["parameters"] = parameters
    return entry


def binary(document, *blobs):
    head = orjson.dumps(document)
    return head + b"".join(blobs), ((b"inference-header-content-length", str(len(head)).encode()),)


def texts(*items):
    return b"".join(struct.pack("<I", len(item.encode())) + item.encode() for item in items)


def test_a_classifier_with_probabilities(exchange):
    request = {"inputs": [tensor("input-0", "FP32", [2, 3], [[1, 2, 3], [4, 5, 6]])]}
    response = {
        "model_name": "wine",
        "id": "a1",
        "outputs": [
            tensor("predict", "INT64", [2, 1], [2, 0]),
            tensor("predict_proba", "FP64", [2, 3], [0.1, 0.2, 0.7, 0.5, 0.25, 0.25]),
        ],
    }
    for read in (read_open_inference_v2, read_auto):
        readings = read(exchange(response, request))
        assert [reading["predicted_class"] for reading in readings] == [2, 0]
        assert [reading["confidence"] for reading in readings] == [0.7, 0.5]
        assert [reading["request_id"] for reading in readings] == ["a1:0", "a1:1"]
        np.testing.assert_array_equal(readings[1]["embedding"], [4, 5, 6])
        np.testing.assert_array_equal(readings[1]["features"], [4, 5, 6])


def test_probabilities_alone_give_the_class(exchange):
    response = {"id": "x", "outputs": [tensor("p", "FP32", [1, 4], [0.1, 0.6, 0.2, 0.1])]}
    (reading,) = read_auto(exchange(response))
    assert reading["predicted_class"] == 1
    assert reading["confidence"] == pytest.approx(0.6)
    assert reading["request_id"] == "x"


def test_logits_become_probabilities(exchange):
    response = {"outputs": [tensor("logits", "FP32", [1, 2], [0.0, math.log(3.0)])]}
    (reading,) = read_auto(exchange(response))
    assert reading["predicted_class"] == 1
    assert reading["confidence"] == pytest.approx(0.75)


def test_named_vectors_and_numbers(exchange):
    response = {
        "outputs": [
            tensor("sentence_embedding", "FP32", [2, 2], [0.5, 0.5, 3.0, -4.0]),
            tensor("score", "FP32", [2], [0.25, 0.75]),
            tensor("label", "BYTES", [2], ["cat", "dog"]),
        ]
    }
    first, second = read_auto(exchange(response))
    assert (first["predicted_class"], first["confidence"]) == ("cat", 0.25)
    np.testing.assert_array_equal(second["embedding"], [3.0, -4.0])


def test_regression_keeps_double_precision(exchange):
    response = {"outputs": [tensor("predict", "FP64", [2, 1], [1234567.891, -2.5])]}
    assert [reading["value"] for reading in read_auto(exchange(response))] == [1234567.891, -2.5]


def test_a_model_without_batch_dimension_is_one_instance(exchange):
    request = {"inputs": [tensor("x", "FP32", [1, 2], [1, 2])]}
    response = {"outputs": [tensor("p", "FP32", [3], [0.2, 0.3, 0.5])]}
    (reading,) = read_auto(exchange(response, request))
    assert reading["predicted_class"] == 2


def test_classification_extension(exchange):
    response = {"outputs": [tensor("c", "BYTES", [2, 2], ["0.9:7:mug", "0.1:2:cup", "0.8:3", "0.1:1"])]}
    first, second = read_auto(exchange(response))
    assert (first["predicted_class"], first["confidence"]) == ("mug", 0.9)
    assert (second["predicted_class"], second["confidence"]) == ("3", 0.8)


def test_documents_inside_bytes(exchange):
    response = {"outputs": [tensor("output", "BYTES", [1, 1], ['{"label": "POSITIVE", "score": 0.98}'])]}
    (reading,) = read_auto(exchange(response))
    assert (reading["predicted_class"], reading["confidence"]) == ("POSITIVE", 0.98)


def test_columns_of_a_table_become_features(exchange):
    request = {
        "inputs": [
            tensor("age", "INT64", [2, 1], [31, 45]),
            tensor("city", "BYTES", [2, 1], ["Bonn", "Riga"]),
            tensor("income", "FP64", [2], [1.5, 2.5]),
        ]
    }
    response = {"outputs": [tensor("predict", "BOOL", [2], [True, False])]}
    first, second = read_auto(exchange(response, request))
    assert first["predicted_class"] is True
    assert second["features"] == {"age": 45, "city": "Riga", "income": 2.5}
    assert Columns().vector(second["embedding"]).tolist() == [45, 2.5]
    request["inputs"].reverse()
    other = read_auto(exchange(response, request))[1]
    assert Columns().vector(other["embedding"]).tolist() == [45, 2.5]


@pytest.mark.parametrize(
    ("datatype", "blob", "expected"),
    [
        ("FP32", np.array([0.25, 4.5], "<f4").tobytes(), [0.25, 4.5]),
        ("FP64", np.array([0.25, 4.5], "<f8").tobytes(), [0.25, 4.5]),
        ("FP16", np.array([0.25, 4.5], "<f2").tobytes(), [0.25, 4.5]),
        ("BF16", (np.array([0.25, 4.5], "<f4").view("<u4") >> 16).astype("<u2").tobytes(), [0.25, 4.5]),
    ],
)
def test_binary_floats(exchange, datatype, blob, expected):
    document = {"outputs": [tensor("y", datatype, [2], binary_data_size=len(blob))]}
    body, headers = binary(document, blob)
    assert [reading["value"] for reading in read_auto(exchange(body, headers=headers))] == expected


def test_binary_tensors_follow_each_other_in_request_and_response(exchange):
    x = np.arange(6, dtype="<f4")
    request, request_headers = binary(
        {"inputs": [tensor("x", "FP32", [2, 3], binary_data_size=24)]}, x.tobytes()
    )
    classes, scores = texts("ja", "nein"), np.array([0.5, 1.0], "<f4").tobytes()
    body, headers = binary(
        {
            "id": "b",
            "outputs": [
                tensor("label", "BYTES", [2, 1], binary_data_size=len(classes)),
                tensor("count", "INT8", [2, 2], [1, 2, 3, 4]),
                tensor("probability", "FP32", [2, 1], binary_data_size=len(scores)),
            ],
        },
        classes,
        scores,
    )
    first, second = read_open_inference_v2(
        exchange(body, request, headers=headers, request_headers=request_headers)
    )
    assert (first["predicted_class"], first["confidence"]) == ("ja", 0.5)
    np.testing.assert_array_equal(second["embedding"], [3, 4, 5])


@pytest.mark.parametrize(
    ("outputs", "part"),
    [
        ("text", "must be lists"),
        ([7], "must be an object"),
        ([{"name": "a", "datatype": "FP32"}], "shape must be a list"),
        ([tensor("a", "FP32", [-1], [])], "shape must be a list"),
        ([tensor("a", "FP32", [2], [1.0])], "has 1 elements; its shape [2] needs 2"),
        ([tensor("a", "FP32", [2**62], [1.0])], "needs 4611686018427387904"),
        ([tensor("a", "FP8", [1], [1.0])], "datatype 'FP8' is none of"),
        ([tensor("a", "FP32", [1])], "has no data"),
        ([tensor("a", "FP32", [2], [[1.0], [2.0, 3.0]])], "is not FP32"),
        ([tensor("a", "INT8", [1], [10**6])], "is not INT8"),
        ([tensor("a", "FP32", [1], binary_data_size=4)], "wants more binary data"),
        ([tensor("a", "FP32", [1], binary_data_size=-4)], "must be a whole number"),
        ([], "has no outputs"),
        ([tensor("a", "FP32", [0], [])], "no output has"),
        ([tensor("a", "INT32", [1, 3], [1, 2, 3])], "no output has"),
    ],
)
def test_what_is_not_a_tensor_is_refused(exchange, outputs, part):
    with pytest.raises(PayloadError) as caught:
        read_open_inference_v2(exchange({"outputs": outputs}))
    assert part in str(caught.value)


@pytest.mark.parametrize("length", [b"-1", b"x", b"99999999", b"9" * 30, b"3"])
def test_a_wrong_header_length_is_refused(exchange, length):
    headers = ((b"inference-header-content-length", length),)
    with pytest.raises(PayloadError):
        read_auto(exchange({"outputs": [tensor("a", "FP32", [1], [1.0])]}, headers=headers))


def test_bytes_elements_must_be_whole(exchange):
    for blob in (b"\x05", struct.pack("<I", 9) + b"ab"):
        body, headers = binary({"outputs": [tensor("a", "BYTES", [1], binary_data_size=len(blob))]}, blob)
        with pytest.raises(PayloadError, match="ends in the middle"):
            read_auto(exchange(body, headers=headers))


def test_a_broken_request_costs_only_the_features(exchange):
    response = {"outputs": [tensor("predict", "INT64", [1], [3])]}
    for request in (b"{", b"[]", {"inputs": [tensor("x", "FP32", [5], [1])]}):
        (reading,) = read_auto(exchange(response, request))
        assert reading == {"predicted_class": 3}
