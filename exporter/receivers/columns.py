"""What ``record_batch`` is given, column by column, as :class:`Rows`; what cannot serve is refused.

A column is refused as a whole where it is none (a text, rows of different lengths, an array of another
shape), and row by row where single values are not valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from array_api_compat import is_torch_array
from numpy.typing import NDArray

from exporter.arrays import on_host
from exporter.decoders.values import MAX_REQUEST_ID_CHARACTERS, class_name, clean
from exporter.receivers.plain import float32
from exporter.receivers.rows import NO_CLASS, Rows

T = TypeVar("T")
RefuseRows = Callable[[str, str, int], None]
"""Called with field, reason and how many rows."""

_NUMERIC = "fiu"
_SCALAR = (str, int, float, bool, type(None))


class WrongLengths(ValueError):
    """Columns that do not belong to the same rows; ``n`` is the length of the longest."""

    def __init__(self, lengths: Mapping[str, int]) -> None:
        self.n = max(lengths.values())
        said = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        super().__init__(f"columns of different lengths: {said}; give each as many rows as the others")


def rows_of(none: Rows, given: Mapping[str, Any], refuse: RefuseRows) -> Rows:
    """Columns as rows of the model and time that ``none`` has; a column that is None is not there.

    Raises
    ------
    WrongLengths
        If the columns have different lengths.
    """
    given = {name: column for name, column in given.items() if column is not None}
    features = given.pop("features", None)
    named = None if features is None else _guarded("features", 1, refuse, lambda: _named(features))
    if features is not None and not named:
        given["features"] = features
    columns = given | {f"features[{name!r}]": column for name, column in (named or {}).items()}
    lengths: dict[str, int] = {}
    for name, column in columns.items():
        if (length := _length(column)) is None:
            refuse(name, "wrong_type", 1)
        else:
            lengths[name] = length
    if len(set(lengths.values())) > 1:
        raise WrongLengths(lengths)
    n = next(iter(lengths.values()), 0)

    def made(name: str, make: Callable[..., T], *arguments: Any) -> T | None:
        column = columns.get(name)
        if column is None or name not in lengths:
            return None
        return _guarded(name, n, refuse, lambda: make(*arguments, column, n, refuse))

    classes, codes = made("predicted_class", _codes) or ((), None)
    numbers = {name: made(name, _numbers, name) for name in ("confidence", "value")}
    by_name = {name: made(f"features[{name!r}]", _feature, name) for name in named or {}}
    return Rows(
        none.model,
        none.timestamp,
        n,
        classes,
        codes,
        {name: found for name, found in numbers.items() if found is not None},
        made("embedding", _embedding),
        made("features", _matrix),
        {name: found for name, found in by_name.items() if found is not None},
        made("request_id", _request_ids),
        none.version,
    )


def _guarded(name: str, n: int, refuse: RefuseRows, work: Callable[[], T]) -> T | None:
    """What ``work`` makes of a column; None if a foreign class raises while it is looked at."""
    try:
        return work()
    except Exception:
        refuse(name, "wrong_type", n)
        return None


def _named(features: Any) -> dict[str, Any]:
    """Columns of features by name, of a mapping or a data frame; none of anything else."""
    if isinstance(features, Mapping) or hasattr(features, "columns"):
        return {str(name): features[name] for name in features}
    return {}


def _length(column: Any) -> int | None:
    """How many rows a column has; None for what is no column."""
    if isinstance(column, str | bytes | bytearray | Mapping):
        return None
    try:
        return len(column)
    except Exception:  # out of a foreign class too
        return None


def _values(column: Any) -> list[Any]:
    """The values of a column of any kind, one by one, as Python's own where they have one."""
    if is_torch_array(column) or hasattr(column, "dtype"):
        array = on_host(column)
        return array.tolist() if array.ndim == 1 else list(array)
    return list(column)


def _array(column: Any) -> NDArray[Any] | None:
    """A column of plain numbers as (n,) or (n, 1) array; None for what has to be looked at row by row."""
    if not hasattr(column, "dtype") and not set(map(type, column)) <= {int, float}:
        return None
    try:
        array = on_host(column) if hasattr(column, "dtype") else np.asarray(column)
    except Exception:  # of one torch has no way to numpy, a long integer has no type
        return None
    if array.dtype.kind not in _NUMERIC or array.ndim not in (1, 2) or array.size != len(array):
        return None
    return array.reshape(-1)


def _codes(column: Any, n: int, refuse: RefuseRows) -> tuple[tuple[str, ...], NDArray[np.uint32]] | None:
    array = _array(column)
    values: Iterable[Any]
    if array is not None:
        values, positions = np.unique(array, return_inverse=True)
        values = values.tolist()
    else:
        try:
            rows = _values(column)
            # 1, 1.0 and True are one to a dictionary.
            keys = rows if set(map(type, rows)) <= {str} else [(type(row), row) for row in rows]
            table: dict[Any, int] = {}
            positions = np.fromiter((table.setdefault(key, len(table)) for key in keys), np.intp, n)
            values = [key[1] if type(key) is tuple else key for key in table]
        except Exception:  # what cannot be told apart names no class
            refuse("predicted_class", "wrong_type", n)
            return None
    names: dict[str, int] = {}
    codes = []
    refused = []
    for position, value in enumerate(values):
        try:
            name = None if value is None else class_name(value)
        except Exception:
            name = None
        codes.append(NO_CLASS if name is None else names.setdefault(name[:], len(names)))
        if name is None and value is not None:
            refused.append(position)
    if refused:
        refuse("predicted_class", "wrong_type", int(np.isin(positions, refused).sum()))
    return (tuple(names), np.array(codes, np.uint32)[positions]) if names else None


def _numbers(name: str, column: Any, n: int, refuse: RefuseRows) -> NDArray[np.float64] | None:
    array = _array(column)
    if array is None:
        return _one_by_one(name, column, n, refuse)
    found = array.astype(np.float64)
    finite = np.isfinite(found)
    if not finite.all():
        refuse(name, "not_finite", int(n - finite.sum()))
    if name == "confidence":
        outside = finite & ((found < 0.0) | (found > 1.0))
        if outside.any():
            refuse(name, "out_of_range", int(outside.sum()))
        finite &= ~outside
    found[~finite] = np.nan
    return found if finite.any() else None


def _one_by_one(name: str, column: Any, n: int, refuse: RefuseRows) -> NDArray[np.float64] | None:
    found = np.full(n, np.nan)
    for row, value in enumerate(_values(column)):
        try:
            fields = clean({name: value}, lambda field, reason: refuse(field, reason, 1))
        except Exception:
            refuse(name, "wrong_type", 1)
        else:
            found[row] = fields.get(name, np.nan)
    return None if np.isnan(found).all() else found


def _embedding(column: Any, n: int, refuse: RefuseRows) -> NDArray[np.float32] | None:
    if isinstance(column, list | tuple) and column and hasattr(column[0], "dtype"):
        rows = [float32(row) for row in column]
        column = rows if all(row is not None for row in rows) else None
        if column is None:
            refuse("embedding", "wrong_type", n)
            return None
    try:
        array = None if not hasattr(column, "dtype") else float32(column)
        if not hasattr(column, "dtype"):
            with np.errstate(over="ignore"):
                array = np.array(column, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        refuse("embedding", "wrong_shape" if "inhomogeneous" in str(error) else "wrong_type", n)
        return None
    if array is None:
        refuse("embedding", "wrong_type", n)
    elif array.ndim != 2 or array.shape[1] == 0:
        refuse("embedding", "wrong_shape", n)
    else:
        return array
    return None


def _matrix(features: Any, n: int, refuse: RefuseRows) -> NDArray[np.float64] | None:
    array = on_host(features) if hasattr(features, "dtype") else np.array(features)
    if array.dtype.kind in "fiub" and array.ndim in (1, 2):
        return np.array(array.reshape(n, -1), dtype=np.float64)
    refuse("features", "wrong_shape" if array.ndim > 2 else "wrong_type", n)
    return None


def _feature(name: str, column: Any, _: int, refuse: RefuseRows) -> NDArray[np.float64] | list[Any]:
    array = _array(column)
    if array is not None:
        return array.astype(np.float64)
    values = _values(column)
    plain = [value if type(value) in _SCALAR else None for value in values]
    odd = sum(value is None for value in plain) - sum(value is None for value in values)
    if odd:
        refuse(f"features[{name!r}]", "wrong_type", odd)
    return plain


def _request_ids(column: Any, _: int, refuse: RefuseRows) -> list[str | None]:
    found: list[str | None] = []
    for value in _values(column):
        if type(value) is str and len(value) <= MAX_REQUEST_ID_CHARACTERS and value.isascii():
            found.append(value)
            continue
        try:
            fields = clean({"request_id": value}, lambda *_: None)
            found.append(fields["request_id"][:] if fields else None)
        except Exception:
            refuse("request_id", "wrong_type", 1)
            found.append(None)
    return found
