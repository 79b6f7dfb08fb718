"""Tensors of the Open Inference Protocol: JSON data and the binary tensor extension."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.decoders.base import as_object, parse_json, request_bytes, response_bytes
from exporter.errors import PayloadError, unreadable
from exporter.http.exchange import Exchange, Headers, header

LENGTH_HEADER = b"inference-header-content-length"
_MAX_RANK = 16
# By the protocol's names, as they lie in binary data; BF16 is the upper half of a float32.
_DTYPES = {"BOOL": "?", "BF16": "<u2", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
_DTYPES |= {f"INT{8 * n}": f"<i{n}" for n in (1, 2, 4, 8)} | {f"UINT{8 * n}": f"<u{n}" for n in (1, 2, 4, 8)}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One named input or output."""

    name: str
    shape: tuple[int, ...]
    values: npt.NDArray[Any] | list[str]
    """Flat, in row-major order: an array, or text for ``BYTES``."""

    @property
    def rows(self) -> int:
        """Length of the first dimension; a scalar is one row."""
        return self.shape[0] if self.shape else 1

    def matrix(self, rows: int) -> npt.NDArray[Any]:
        """The numbers as (rows, width)."""
        return np.asarray(self.values).reshape(rows, -1)


def response_document(exchange: Exchange) -> tuple[dict[str, Any], bytes]:
    """The JSON object of a response, and the binary data behind it (none without the extension)."""
    return _document(response_bytes(exchange), exchange.response_headers, "response")


def request_tensors(exchange: Exchange) -> list[Tensor]:
    """The request's inputs; none where the request was not kept or is not of this protocol."""
    try:
        if not (body := request_bytes(exchange)):
            return []
        document, binary = _document(body, exchange.request_headers, "request")
        return read_tensors(document.get("inputs"), binary)
    except PayloadError:
        return []


def _document(body: bytes, headers: Headers, which: str) -> tuple[dict[str, Any], bytes]:
    declared, length = header(headers, LENGTH_HEADER), len(body)
    if declared is not None:
        if not declared.isdigit() or len(declared) > 18 or int(declared) > length:
            rule = f"it must be a number from 0 to the body's length ({length})"
            raise unreadable(f"{which} has {LENGTH_HEADER.decode()} {declared[:32]!r}; {rule}")
        length = int(declared)
    return as_object(parse_json(body[:length], which), which), body[length:]


def read_tensors(entries: Any, binary: bytes) -> list[Tensor]:
    """The tensors of an ``inputs`` or ``outputs`` list.

    Those with ``parameters.binary_data_size`` take their data from ``binary``, in order.
    """
    if not isinstance(entries, list):
        raise unreadable("inputs and outputs must be lists of tensors")
    rest = io.BytesIO(binary)
    return [_tensor(entry, rest) for entry in entries]


def _tensor(entry: Any, rest: io.BytesIO) -> Tensor:
    if not isinstance(entry, dict):
        raise unreadable("a tensor must be an object with name, datatype, shape and data")
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str) or not isinstance(datatype, str):
        raise unreadable("a tensor needs a name and a datatype, both text")
    try:
        if not isinstance(shape, list) or len(shape) > _MAX_RANK or not all(map(_is_whole, shape)):
            raise ValueError("its shape must be a list of whole numbers from 0")
        parameters = entry.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            values = _from_json(entry.get("data"), datatype)
        elif _is_whole(size):
            values = _from_binary(rest.read(size), size, datatype)
        else:
            raise ValueError(f"binary_data_size {size!r} must be a whole number from 0")
        if len(values) != (count := math.prod(shape)):
            raise ValueError(f"it has {len(values)} elements; its shape {shape} needs {count}")
    except (TypeError, ValueError, OverflowError) as error:
        raise unreadable(f"tensor {name[:64]!r}: {error}") from None
    return Tensor(name, tuple(shape), values)


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def _from_json(data: Any, datatype: str) -> npt.NDArray[Any] | list[str]:
    if not isinstance(data, list):
        raise ValueError("it has no data")
    if datatype == "BYTES":
        return [str(item) for item in _flat(data)]
    dtype = "<f4" if datatype == "BF16" else _dtype(datatype)
    try:
        with np.errstate(all="ignore"):
            return np.asarray(data, dtype=dtype).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"it is not {datatype}: {error}") from None


def _flat(data: list[Any]) -> list[Any]:
    for _ in range(_MAX_RANK):
        if not any(isinstance(item, list) for item in data):
            return data
        data = [inner for item in data for inner in (item if isinstance(item, list) else [item])]
    raise ValueError(f"its data are nested deeper than {_MAX_RANK} lists")


def _from_binary(data: bytes, size: int, datatype: str) -> npt.NDArray[Any] | list[str]:
    if len(data) < size:
        raise ValueError("it wants more binary data than there is")
    if datatype == "BYTES":
        return _texts(data)
    dtype = np.dtype(_dtype(datatype))
    if size % dtype.itemsize:
        raise ValueError("it ends in the middle of an element")
    values = np.frombuffer(data, dtype=dtype)
    if datatype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def _texts(data: bytes) -> list[str]:
    """Elements of a ``BYTES`` tensor: each a little-endian uint32 length and that many bytes."""
    texts = []
    position = 0
    while position < len(data):
        start = position + 4
        position = start + int.from_bytes(data[position:start], "little")
        if position > len(data):
            raise ValueError("it ends in the middle of an element")
        texts.append(data[start:position].decode("utf-8", "replace"))
    return texts


def _dtype(datatype: str) -> str:
    dtype = _DTYPES.get(datatype)
    if dtype is None:
        raise ValueError(f"datatype {datatype[:32]!r} is none of the Open Inference Protocol")
    return dtype
