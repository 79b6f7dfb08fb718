"""Tensors of the Open Inference Protocol: JSON data and the binary tensor extension."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.decoders.base import parse_json
from exporter.errors import unreadable
from exporter.http.exchange import Headers, header

LENGTH_HEADER = b"inference-header-content-length"
_MAX_RANK = 16

_DTYPES: dict[str, str] = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BF16": "<u2",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One named input or output.

    ``values`` is flat, in row-major order: an array, or a list of text for ``BYTES``.
    """

    name: str
    shape: tuple[int, ...]
    values: npt.NDArray[Any] | list[str]

    @property
    def rows(self) -> int:
        """Length of the first dimension; a scalar is one row."""
        return self.shape[0] if self.shape else 1

    def matrix(self, rows: int) -> npt.NDArray[Any]:
        """The numbers as (rows, width)."""
        return np.asarray(self.values).reshape(rows, -1)


def split_document(body: bytes, headers: Headers, which: str) -> tuple[Any, bytes]:
    """The JSON document of a body, and the binary data behind it (empty without the extension)."""
    declared = header(headers, LENGTH_HEADER)
    if declared is None:
        return parse_json(body, which), b""
    if not declared.isdigit() or len(declared) > 18 or int(declared) > len(body):
        raise unreadable(
            f"{which} has {LENGTH_HEADER.decode()} {declared[:32]!r}; "
            f"it must be a number from 0 to the body's length ({len(body)})",
        )
    length = int(declared)
    return parse_json(body[:length], which), body[length:]


def read_tensors(entries: Any, binary: bytes) -> list[Tensor]:
    """The tensors of an ``inputs`` or ``outputs`` list.

    Those with ``parameters.binary_data_size`` take their data from ``binary``, in order.
    """
    if not isinstance(entries, list):
        raise unreadable("inputs and outputs must be lists of tensors")
    tensors = []
    position = 0
    for entry in entries:
        if not isinstance(entry, dict):
            raise unreadable("a tensor must be an object with name, datatype, shape and data")
        name, datatype, shape = entry.get("name"), entry.get("datatype"), _shape(entry.get("shape"))
        if not isinstance(name, str) or not isinstance(datatype, str):
            raise unreadable("a tensor needs a name and a datatype, both text")
        size = _binary_size(entry)
        count = math.prod(shape)
        if size is None:
            values = _from_json(entry.get("data"), datatype, name)
        elif position + size > len(binary):
            raise unreadable(f"tensor {name[:64]!r} wants more binary data than there is")
        else:
            values = _from_binary(binary[position : position + size], datatype, name)
            position += size
        if len(values) != count:
            raise unreadable(
                f"tensor {name[:64]!r} has {len(values)} elements; its shape {list(shape)} needs {count}",
            )
        tensors.append(Tensor(name, shape, values))
    return tensors


def _shape(value: Any) -> tuple[int, ...]:
    fits = isinstance(value, list) and len(value) <= _MAX_RANK
    if not fits or not all(type(length) is int and length >= 0 for length in value):
        raise unreadable("a tensor's shape must be a list of whole numbers from 0")
    return tuple(value)


def _binary_size(entry: dict[str, Any]) -> int | None:
    parameters = entry.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise unreadable(f"binary_data_size {size!r} must be a whole number from 0")
    return size


def _from_json(data: Any, datatype: str, name: str) -> npt.NDArray[Any] | list[str]:
    if not isinstance(data, list):
        raise unreadable(f"tensor {name[:64]!r} has no data")
    if datatype == "BYTES":
        return [str(item) for item in _flat(data)]
    dtype = "<f4" if datatype == "BF16" else _dtype(datatype)
    try:
        with np.errstate(all="ignore"):
            return np.asarray(data, dtype=dtype).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise unreadable(f"tensor {name[:64]!r} is not {datatype}: {error}") from None


def _flat(data: list[Any]) -> list[Any]:
    for _ in range(_MAX_RANK):
        if not any(isinstance(item, list) for item in data):
            return data
        data = [inner for item in data for inner in (item if isinstance(item, list) else [item])]
    raise unreadable(f"a tensor's data are nested deeper than {_MAX_RANK} lists")


def _from_binary(data: bytes, datatype: str, name: str) -> npt.NDArray[Any] | list[str]:
    if datatype == "BYTES":
        return _texts(data, name)
    dtype = np.dtype(_dtype(datatype))
    if len(data) % dtype.itemsize:
        raise unreadable(f"tensor {name[:64]!r} ends in the middle of an element")
    values = np.frombuffer(data, dtype=dtype)
    if datatype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def _texts(data: bytes, name: str) -> list[str]:
    """Elements of a ``BYTES`` tensor: each a little-endian uint32 length and that many bytes."""
    texts = []
    position = 0
    while position < len(data):
        if position + 4 > len(data):
            raise unreadable(f"tensor {name[:64]!r} ends in the middle of a length")
        (length,) = struct.unpack_from("<I", data, position)
        position += 4
        if position + length > len(data):
            raise unreadable(f"tensor {name[:64]!r} ends in the middle of an element")
        texts.append(data[position : position + length].decode("utf-8", "replace"))
        position += length
    return texts


def _dtype(datatype: str) -> str:
    dtype = _DTYPES.get(datatype)
    if dtype is None:
        raise unreadable(f"datatype {datatype[:32]!r} is none of the Open Inference Protocol")
    return dtype
