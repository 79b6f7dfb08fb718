from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from exporter.errors import InvalidReference
from exporter.references.files import load_reference, read_table


def rows(n: int = 60, d: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("window", [10, [5, 15]])
@pytest.mark.parametrize("name", ["r.npy", "r.npz", "many.npz", "r.csv", "names.csv", "bom.csv"])
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, window: int | list[int]) -> None:
    x, path = rows(), tmp_path / name
    if name == "r.npy":
        np.save(path, x)
    elif name == "r.npz":
        np.savez(path, whatever=x)
    elif name == "many.npz":
        np.savez(path, labels=np.arange(60), embeddings=x)
    else:
        header = "a,b,c\n" if name == "names.csv" else "\ufeff" if name == "bom.csv" else ""
        path.write_text(header + "\n".join(",".join(map(repr, row.tolist())) for row in x), encoding="utf-8")
    found = load_reference(path, window=window).rows
    np.testing.assert_array_equal(found, x)
    assert found.dtype == np.float64


def test_an_array_of_an_npz_can_be_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", reference=rows(seed=1), mine=rows(seed=2))
    found = load_reference(tmp_path / "r.npz", window=10, key="mine").rows
    np.testing.assert_array_equal(found, rows(seed=2))
    with pytest.raises(InvalidReference, match="there is no 'yours'"):
        load_reference(tmp_path / "r.npz", window=10, key="yours")
    np.savez(tmp_path / "odd.npz", one=rows(), two=rows())
    with pytest.raises(InvalidReference, match="holds one, two; name the array one of reference"):
        load_reference(tmp_path / "odd.npz", window=10)


@pytest.mark.parametrize("nested", [False, True])
def test_parquet_columns_or_a_column_of_lists(tmp_path: Path, nested: bool) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    x = rows()
    table = {"embedding": x.tolist()} if nested else {f"c{i}": x[:, i] for i in range(3)}
    parquet.write_table(pyarrow.table(table), tmp_path / "r.parquet")
    np.testing.assert_array_equal(load_reference(tmp_path / "r.parquet", window=10).rows, x)
    with pytest.raises(InvalidReference, match="there is no 'x'"):
        load_reference(tmp_path / "r.parquet", window=10, key="x")


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "r.parquet").write_bytes(b"PAR1")
    with pytest.raises(InvalidReference, match="pip install pyarrow"):
        load_reference(tmp_path / "r.parquet", window=10)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.txt", b"1,2", "give a file ending in .npy, .npz, .csv, .parquet"),
        ("r.npy", b"", "cannot be read"),
        ("r.npy", b"\x93NUMPY rubbish", "cannot be read"),
        ("r.npy", pickle.dumps([1, 2]), "cannot be read"),
        ("r.npz", b"PK\x03\x04 cut off", "cannot be read"),
        ("r.csv", b"a,b\n1,x\n", "cannot be read"),
        ("r.csv", b"\xff\xfe\x00", "cannot be read"),
        ("r.csv", b"a,b\n1,2\n3\n", "cannot be read"),
    ],
)
def test_what_is_no_such_file_is_an_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidReference, match=message):
        load_reference(tmp_path / name, window=10)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidReference, match=r"none\.npy does not exist"):
        load_reference(tmp_path / "none.npy")


def with_value(value: float) -> np.ndarray:
    x = rows()
    x[7, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (rows(39), "39 rows; a window of 10 needs at least 40: give more rows or a window of at most 9"),
        (rows().ravel(), r"shape \(180,\)"),
        (np.empty((60, 0)), r"shape \(60, 0\)"),
        (with_value(np.nan), r"1 of 60 rows hold NaN or infinity \(first: row 7\)"),
        (with_value(-np.inf), "1 of 60 rows"),
        (np.ones((60, 3)), "constant"),
        (np.repeat(rows(9), 10, axis=0), "only 9 distinct rows"),
        (rows().astype("U8"), "dtype"),
    ],
)
def test_what_cannot_serve_as_a_reference_is_an_error(tmp_path: Path, x: np.ndarray, message: str) -> None:
    np.save(tmp_path / "r.npy", x)
    with pytest.raises(InvalidReference, match=message):
        load_reference(tmp_path / "r.npy", window=10)


@pytest.mark.parametrize("index", ["", "Unnamed: 0", "Unnamed: 3"])
def test_the_index_of_a_frame_in_a_csv_file_is_no_feature(tmp_path: Path, index: str) -> None:
    x = rows()
    lines = [f"{n}," + ",".join(map(repr, row.tolist())) for n, row in enumerate(x)]
    (tmp_path / "r.csv").write_text("\n".join([f'{index},"width, mm",height,depth', *lines]))
    table = read_table(tmp_path / "r.csv")
    np.testing.assert_array_equal(table.rows, x)
    assert table.columns == ("width, mm", "height", "depth")
    assert table.notes == (f"the column {index!r} is the index of a frame, and is left out",)


@pytest.mark.parametrize("index", ["__index_level_0__", "day"])
def test_the_index_of_a_frame_in_a_parquet_file_is_no_feature(tmp_path: Path, index: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    x = rows()
    table = pyarrow.table({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], index: np.arange(60)})
    # As pandas writes it.
    metadata = {b"pandas": json.dumps({"index_columns": [index], "columns": []}).encode()}
    parquet.write_table(table.replace_schema_metadata(metadata), tmp_path / "r.parquet")
    found = read_table(tmp_path / "r.parquet")
    np.testing.assert_array_equal(found.rows, x)
    assert found.columns == ("a", "b", "c")


def test_a_column_that_looks_like_the_target_is_kept_and_said(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("a,Target\n" + "\n".join(f"{n},1" for n in range(60)))
    table = read_table(tmp_path / "r.csv")
    assert table.columns == ("a", "Target")
    assert table.notes[0].startswith("the column Target is taken as a feature")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_file_of_another_kind_is_said_to_be_so_and_nobody_is_told_to_unpickle_it(
    suffix: str, tmp_path: Path
):
    path = tmp_path / f"reference{suffix}"
    path.write_bytes(b"neither an array nor an archive")
    with pytest.raises(InvalidReference, match=rf"cannot be read \(it is no {suffix} a\w+\); write it again"):
        read_table(path)
