"""Open Inference Protocol V2, as KServe, Triton and MLServer speak it over HTTP.

Source: the protocol's REST specification and its classification and binary tensor data extensions.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.decoders.base import Reading, limited, parse_json, with_request_id
from exporter.decoders.features import MAX_REQUEST_EMBEDDING, transposed
from exporter.decoders.items import instances
from exporter.decoders.tensors import Tensor, read_tensors, request_tensors, response_document
from exporter.decoders.vectors import SUM_TOLERANCE
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange

_CLASSIFICATION = re.compile(r"(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?):(\d+)(?::(.*))?", re.DOTALL)
_CONFIDENCE_NAMES = ("confidence", "prob", "score")
_EMBEDDING_NAMES = ("embed", "feature", "hidden", "pooled")


def is_open_inference_v2(document: Any) -> bool:
    """Whether a response bears the protocol's marks: a list of outputs that are named, typed and shaped."""
    outputs = document.get("outputs")
    first = outputs[0] if isinstance(outputs, list) and outputs else None
    return isinstance(first, dict) and "name" in first and "datatype" in first and "shape" in first


def read_open_inference_v2(exchange: Exchange) -> list[Reading]:
    """One reading for each instance of the batch, from all outputs together.

    - Whole numbers, booleans and text, one for each instance, are the class; text may also be a
      ``score:index:label`` of the classification extension, or a JSON response of its own.
    - A float for each instance is the confidence where the output's name says so, else the value.
    - A vector for each instance is an embedding where its name says so; ``logits`` are turned into
      probabilities; a distribution gives class and confidence; any other vector is an embedding.

    The request's inputs become features and, where no output was an embedding, the embedding.
    """
    document, binary = response_document(exchange)
    return read_document(document, binary, exchange)


def read_document(document: dict[str, Any], binary: bytes, exchange: Exchange) -> list[Reading]:
    """As :func:`read_open_inference_v2`, for a response that is parsed already."""
    outputs = read_tensors(document.get("outputs"), binary)
    if not outputs:
        raise PayloadError("no_prediction", "the response has no outputs")
    inputs = request_tensors(exchange)
    rows = outputs[0].rows
    if len(outputs[0].shape) == 1 and rows > 1 and inputs and all(tensor.rows == 1 for tensor in inputs):
        rows = 1  # a model without a batch dimension: one vector for one instance
    limited(rows)
    readings: list[Reading] = [{} for _ in range(rows)]
    fields: dict[str, Any] = {}
    for output in outputs:
        fits = output.rows == rows or (rows == 1 and len(output.shape) == 1)
        if fits and len(output.values):
            for name, column in _columns(output, rows).items():
                fields.setdefault(name, column)
    if not fields:
        raise PayloadError("no_prediction", "no output has a class, a number or a vector for each instance")
    if "arg_max" in fields:
        fields.setdefault("predicted_class", fields.pop("arg_max"))
    for name, column in fields.items():
        for reading, item in zip(readings, column, strict=True):
            reading[name] = item
    if inputs:
        _add_inputs(readings, inputs)
    return with_request_id(readings, exchange, document.get("id"))


def _columns(output: Tensor, rows: int) -> dict[str, Any]:
    """The fields that one output gives, each a column with one item for each row."""
    if isinstance(output.values, list):
        return _text_columns(output.values, rows)
    matrix, name = output.matrix(rows), output.name.lower()
    if output.values.dtype.kind != "f":
        return {"predicted_class": matrix[:, 0].tolist()} if matrix.shape[1] == 1 else {}
    if matrix.shape[1] == 1:
        field = "confidence" if any(part in name for part in _CONFIDENCE_NAMES) else "value"
        return {field: matrix[:, 0].tolist()}
    if len(output.shape) > 2 and matrix.shape[1] > MAX_REQUEST_EMBEDDING:
        return {}
    if any(part in name for part in _EMBEDDING_NAMES):
        return {"embedding": matrix}
    if "logit" in name:
        with np.errstate(all="ignore"):
            matrix = _softmax(matrix)
    elif not _distributions(matrix):
        return {"embedding": matrix}
    confidence = np.minimum(matrix.max(axis=1), 1.0).tolist()
    return {"arg_max": matrix.argmax(axis=1).tolist(), "confidence": confidence}


def _distributions(matrix: Any) -> bool:
    with np.errstate(all="ignore"):
        inside = (matrix >= 0.0).all() and (matrix <= 1.0 + SUM_TOLERANCE).all()
        sums = matrix.sum(axis=1, dtype=np.float64)
        return bool(inside and (np.abs(sums - 1.0) <= SUM_TOLERANCE).all())


def _softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Rows of logits (n, k) as rows of probabilities (n, k) float64."""
    powers: npt.NDArray[np.float64] = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def _text_columns(texts: list[str], rows: int) -> dict[str, Any]:
    """Class and confidence from text: a label, a classification result, or a document.

    Where an instance has several texts, the first one ranks highest.
    """
    firsts = texts[:: len(texts) // rows]
    ranked = [match for text in firsts if (match := _CLASSIFICATION.fullmatch(text))]
    if len(ranked) == len(firsts):
        confidence = [float(match[1]) for match in ranked]
        return {"predicted_class": [match[3] or match[2] for match in ranked], "confidence": confidence}
    if len(texts) != rows:
        return {}
    if all(text[:1] in ("{", "[") for text in firsts):
        return _document_columns(firsts)
    return {"predicted_class": firsts}


def _document_columns(texts: list[str]) -> dict[str, Any]:
    try:
        found = [instances(parse_json(text.encode(), "output")) for text in texts]
    except PayloadError:
        return {"predicted_class": texts}
    if any(len(readings) != 1 for readings in found):
        return {}
    names = ("predicted_class", "confidence", "value", "embedding")
    columns = {name: [reading.get(name) for (reading,) in found] for name in names}
    return {name: column for name, column in columns.items() if None not in column}


def _add_inputs(readings: list[Reading], inputs: list[Tensor]) -> None:
    rows = len(readings)
    inputs = [tensor for tensor in inputs if len(tensor.values) and tensor.rows == rows]
    if len(inputs) == 1 and not isinstance(inputs[0].values, list):
        matrix = inputs[0].matrix(rows)
        if matrix.shape[1] <= MAX_REQUEST_EMBEDDING:
            for reading, row in zip(readings, matrix, strict=True):
                reading["features"] = row
                reading.setdefault("embedding", row)
        return
    columns = {tensor.name: tensor.values for tensor in inputs if len(tensor.values) == rows}
    numbers = not all(isinstance(values, list) for values in columns.values())
    lists = {name: v if isinstance(v, list) else v.tolist() for name, v in columns.items()}
    for reading, named in zip(readings, transposed(lists), strict=bool(lists)):
        reading["features"] = named
        if numbers:
            reading.setdefault("embedding", named)
