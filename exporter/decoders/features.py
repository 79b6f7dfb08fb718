"""What the model was asked: the rows of a request as features, and as embeddings where there are none.

Rows stand under one of ``REQUEST_NAMES``, as lists or as objects, one for each instance or bare if
there is only one; as columns; as pandas splits a table; or the request is itself a list of rows, or
one row of named scalars.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from exporter.decoders.base import Reading, request_json
from exporter.decoders.items import REQUEST_ID_NAMES, numeric
from exporter.decoders.values import as_vector
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange, header

REQUEST_NAMES = ("features", "instances", "inputs", "examples", "data", "dataframe_records")
SPLIT_NAME = "dataframe_split"
MAX_REQUEST_EMBEDDING = 4096

_MAX_TEXT = 128
_SCALARS = {float, int, str, bool, type(None)}
# A usual name, or any name of a number: images in base64 are not parsed for nothing. The set of one keeps
# the expression without a literal prefix: the search for one is slower than the search for a character,
# and quotes are rare in what is long.
_MARK = re.compile(rb'["](?:(?:%s)"|: ?[-0-9])' % "|".join((*REQUEST_NAMES, SPLIT_NAME)).encode())
_STEADY = 100


def add_request(readings: list[Reading], exchange: Exchange) -> None:
    """Lay the rows of the request into the readings, if there is one for each.

    A row becomes the features of its reading and, where the response had no embedding and the row has
    numbers, also the embedding: a list as it is, an object for :class:`Columns` to put in order. A
    request that was not kept, or is not JSON, has none.
    """
    body = exchange.request_body
    if not body:
        return
    unmarked = _MARK.search(body) is None and body[:1] != b"["
    if unmarked and header(exchange.request_headers, b"content-encoding") is None:  # it could hide a mark
        return
    try:
        rows = _rows(request_json(exchange), len(readings))
    except PayloadError:
        return
    if len(rows) != len(readings):
        return
    for reading, row in zip(readings, rows, strict=True):
        if not row or not (isinstance(row, list) or (isinstance(row, dict) and "b64" not in row)):
            continue
        reading["features"] = row
        has_numbers = numeric(row) if isinstance(row, list) else bool(_number_names(row))
        if has_numbers and "embedding" not in reading and len(row) <= MAX_REQUEST_EMBEDDING:
            reading["embedding"] = row


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
        self._names: list[str] = []
        self._votes = 0

    def vector(self, row: Mapping[str, Any]) -> Any:
        """(d,) float32, or None if the mapping does not have the names of the others."""
        names = sorted(_number_names(row))
        if names != self._names:
            if self._votes > 0:
                self._votes -= 1
                return None
            self._names = names
        self._votes = min(self._votes + 1, _STEADY)
        return as_vector([row[name] for name in names])


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
        columns = transposed(rows)
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
            return rows
    split = document.get(SPLIT_NAME)
    if isinstance(split, dict):
        return _split(split)
    row = {name: value for name, value in document.items() if name not in REQUEST_ID_NAMES}
    return [row] if _is_row(row.values()) else []


def _split(table: dict[str, Any]) -> list[Any]:
    """A table as ``DataFrame.to_dict(orient="split")`` writes it."""
    names, rows = table.get("columns"), table.get("data")
    if not isinstance(names, list) or not isinstance(rows, list) or not {str} >= set(map(type, names)):
        return []
    return [
        dict(zip(names, row, strict=True)) if isinstance(row, list) and len(row) == len(names) else None
        for row in rows
    ]


def _is_row(values: Collection[Any]) -> bool:
    """Whether values are scalars, and a number among them says that they are not mere text."""
    types = set(map(type, values))
    if not types <= _SCALARS or types.isdisjoint((float, int)):
        return False
    return str not in types or max(len(value) for value in values if type(value) is str) <= _MAX_TEXT


def _number_names(row: Mapping[str, Any]) -> list[str]:
    """The names of numbers and truth values; an identifier is neither, whatever its type."""
    numbers = [name for name, value in row.items() if isinstance(value, (float, int)) and type(name) is str]
    return [name for name in numbers if name not in REQUEST_ID_NAMES]
