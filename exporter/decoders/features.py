"""What the model was asked: the rows of a request as features, and as embeddings where there are none.

Rows stand under one of ``REQUEST_NAMES``, or under the only name that there is, as lists or as objects, one
for each instance or bare if there is only one; as columns; as pandas or Seldon split a table; or the request
is itself a list of rows, or one row of named scalars.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from exporter.decoders.base import Reading, request_json
from exporter.decoders.names import REQUEST_ID_NAMES
from exporter.decoders.values import as_vector
from exporter.decoders.vectors import numeric
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange, header

REQUEST_NAMES = (
    "features",
    "instances",
    "inputs",
    "examples",
    "data",
    "dataframe_records",
    "dataframe_split",
)
# Where these hold a list or an object, it is rows; else they are numbers and texts among others.
_MORE_NAMES = ("input_data", "Inputs", "records", "rows", "samples", "items", "input", "texts")
MAX_REQUEST_EMBEDDING = 4096

_MAX_TEXT = 128
_SCALARS = {float, int, str, bool, type(None)}
# A usual name, or any name of a number: images in base64 are not parsed for nothing. The set of one keeps
# the expression without a literal prefix: the search for one is slower than the search for a character,
# and quotes are rare in what is long.
_MARK = re.compile(rb'["](?:(?:%s)"|: ?\[*[-0-9])' % "|".join((*REQUEST_NAMES, *_MORE_NAMES)).encode())
_STEADY = 100


def add_request(readings: list[Reading], exchange: Exchange) -> None:
    """Lay the rows of the request into the readings, if there is one for each.

    A row becomes the features of its reading and, where the response had no embedding and the row has
    numbers, also the embedding: a list as it is, an object for :class:`Columns` to put in order. A
    request that was not kept, or is not JSON, has none.
    """
    document = _request(exchange)
    rows = [] if document is None else _rows(document, len(readings))
    if len(rows) != len(readings):
        return
    for reading, row in zip(readings, rows, strict=True):
        if isinstance(row, list):
            has_numbers = numeric(row)
            if not has_numbers and not _has_number(row):
                continue
        elif isinstance(row, dict) and "b64" not in row:
            has_numbers = bool(number_names(row))
        else:
            continue
        if row:
            reading["features"] = row
            if has_numbers and "embedding" not in reading and len(row) <= MAX_REQUEST_EMBEDDING:
                reading["embedding"] = row


def rows_asked(exchange: Exchange) -> int | None:
    """How many instances a request asks about; None where that cannot be told."""
    document = _request(exchange)
    if document is None:
        content_type = header(exchange.request_headers, b"content-type") or b""
        return 1 if content_type.startswith((b"image/", b"audio/")) else None
    rows = _found(document) if isinstance(document, dict) else document
    if isinstance(rows, dict):
        return len(_by_column(rows)) or 1
    if isinstance(rows, str):
        return 1
    if not isinstance(rows, list) or not rows:
        return None
    # A flat list of numbers may be one row of several, or several rows of one.
    return None if not isinstance(rows[0], (list, dict, str)) and len(rows) > 1 else len(rows)


def _request(exchange: Exchange) -> Any:
    """The request's document; None where it has no rows for sure, and is not worth parsing."""
    body = exchange.request_body
    if not body:
        return None
    unmarked = _MARK.search(body) is None and body[:1] != b"["
    if unmarked and header(exchange.request_headers, b"content-encoding") is None:  # it could hide a mark
        return None
    try:
        return request_json(exchange)
    except PayloadError:
        return None


def from_request(reading: Reading) -> bool:
    """Whether what serves as embedding is what the model was asked, and nothing that it computed."""
    return reading["embedding"] is reading.get("features")


class Columns:
    """Named features as vectors whose components mean the same in each.

    The numbers and truth values of a mapping, in the order of their names. A mapping that names others
    than most do gives no vector: what is missing, or is null or text for once, would shift all that
    comes after it. Which names most have is a majority vote over the stream (Boyer and Moore, 1981),
    so that neither an odd first request nor a change for good locks it.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        """What the components of the vectors are called."""
        self._votes = 0

    def vector(self, row: Mapping[str, Any], names: list[str] | None = None) -> Any:
        """(d,) float32, or None if the mapping does not have the names of the others.

        ``names`` are its :func:`number_names`, where they are known.
        """
        ordered = tuple(sorted(number_names(row) if names is None else names))
        return None if self.agree(ordered, 1) else as_vector([row[name] for name in ordered])

    def agree(self, names: tuple[str, ...], n: int) -> int:
        """Have ``n`` rows vote that have these names, sorted; how many, the first ones, give no vector."""
        left_out = 0
        if names != self.names:
            left_out = min(n, self._votes)
            self._votes -= left_out
            if left_out == n:
                return n
            self.names = names
        self._votes = min(self._votes + n - left_out, _STEADY)
        return left_out


def transposed(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Columns of equal length as one object for each row; empty where they are not."""
    lists = {name: column for name, column in columns.items() if isinstance(column, list)}
    if len({len(column) for column in lists.values()}) != 1:
        return []
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _rows(document: Any, count: int) -> list[Any]:
    """The rows of a request that asks about ``count`` instances; none where it has no such."""
    rows = _found(document) if isinstance(document, dict) else document
    if isinstance(rows, dict):
        columns = _by_column(rows)
        return columns if len(columns) == count else [rows]
    if not isinstance(rows, list):
        return []
    bare = count == 1 and rows and not isinstance(rows[0], (list, dict)) and _is_row(rows)
    return [rows] if bare else rows


def _found(document: dict[str, Any]) -> Any:
    """Where the rows of a request stand; it may itself be a row of named scalars."""
    for name in REQUEST_NAMES:
        rows = document.get(name)
        if rows is not None:
            return _table(rows)
    for name in _MORE_NAMES:
        rows = document.get(name)
        if isinstance(rows, (list, dict)):
            return _table(rows)
    row = {name: value for name, value in document.items() if name not in REQUEST_ID_NAMES}
    if len(row) == 1 and isinstance(only := next(iter(row.values())), (list, dict)):
        return _table(only)
    return [row] if _is_row(row.values()) else []


def _table(rows: Any) -> Any:
    """Rows of named values, where they are split into names and rows; anything else as it is."""
    if not isinstance(rows, dict):
        return rows
    if len(rows) == 1 and isinstance(only := next(iter(rows.values())), list) and only:
        return only if isinstance(only[0], (list, dict)) else rows
    names = rows.get("columns", rows.get("names"))
    values = rows.get("data", rows.get("ndarray"))
    tensor = rows.get("tensor")
    if values is None and isinstance(tensor, dict):
        values = reshaped(tensor)
    if not isinstance(values, list):
        return rows
    if not isinstance(names, list) or not names or not {str} >= set(map(type, names)):
        return values if "columns" not in rows else []
    return [
        dict(zip(names, row, strict=True)) if isinstance(row, list) and len(row) == len(names) else None
        for row in values
    ]


def reshaped(tensor: dict[str, Any]) -> list[Any] | None:
    """The rows of a Seldon tensor of one or two dimensions."""
    shape, values = tensor.get("shape"), tensor.get("values")
    if not isinstance(values, list) or not isinstance(shape, list) or not {int} >= set(map(type, shape)):
        return None
    if len(shape) != 2 or shape[0] * shape[1] != len(values) or shape[1] < 1:
        return values if len(shape) == 1 else None
    return [values[start : start + shape[1]] for start in range(0, len(values), shape[1])]


def _by_column(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an object that has nothing but columns."""
    return transposed(columns) if {list} >= set(map(type, columns.values())) else []


def _has_number(row: list[Any]) -> bool:
    """Whether a row is more than a list of texts, which may be anything that was asked."""
    return not {str} >= set(map(type, row))


def _is_row(values: Collection[Any]) -> bool:
    """Whether values are scalars, and a number among them says that they are not mere text."""
    types = set(map(type, values))
    if not types <= _SCALARS or types.isdisjoint((float, int)):
        return False
    return str not in types or max(len(value) for value in values if type(value) is str) <= _MAX_TEXT


def number_names(row: Mapping[str, Any]) -> list[str]:
    """The names of numbers and truth values; an identifier is neither, whatever its type."""
    numbers = [name for name, value in row.items() if isinstance(value, (float, int)) and type(name) is str]
    return [name for name in numbers if name not in REQUEST_ID_NAMES]
